"""How links in messages are counted, and who followed them."""

import re

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.http.request import validate_host
from django.utils.translation import gettext_lazy as _

from delivery.models.deliveries import Delivery

_ORIGIN = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9-]+(\.[a-z0-9-]+)*\Z")


class LinkSettings(models.Model):
    """What becomes of links in messages. There is one row."""

    short_domain = models.TextField(
        _("own short domain"),
        blank=True,
        default="",
        db_default="",
        help_text=_(
            "Such as https://go.example.com, leading to this server. Empty: the address of this server itself."
        ),
    )
    untracked_channels = ArrayField(
        models.TextField(),
        verbose_name=_("channels without tracked links"),
        blank=True,
        default=list,
        db_default=[],
    )
    track_opens = models.BooleanField(
        _("count opened emails"),
        default=True,
        db_default=True,
        help_text=_("By a tiny picture at the end. What machines fetch is told apart and not counted."),
    )
    own_hosts = ArrayField(
        models.TextField(),
        verbose_name=_("own sites"),
        blank=True,
        default=list,
        db_default=[],
        help_text=_("Such as example.com, with all that ends with it. Their links carry the words below."),
    )
    untouched_hosts = ArrayField(
        models.TextField(),
        verbose_name=_("links that open apps"),
        blank=True,
        default=list,
        db_default=[],
        help_text=_("Sites whose links stay as they are, since a phone opens them in an app."),
    )
    utm_source = models.TextField("utm_source", blank=True, default="", db_default="")
    utm_medium = models.TextField("utm_medium", blank=True, default="", db_default="")
    utm_campaign = models.TextField("utm_campaign", blank=True, default="", db_default="")
    utm_content = models.TextField(
        "utm_content",
        blank=True,
        default="",
        db_default="",
        help_text=_(
            "{message}, {channel} and {variant} stand for the message's short name, its channel and variant."
            " What a link says itself stays. Empty: not added."
        ),
    )
    updated_at = models.DateTimeField(_("changed"), auto_now=True, db_default=Now())

    class Meta:
        verbose_name = _("links")
        verbose_name_plural = _("links")
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="one_row_of_link_settings")]

    def __str__(self):
        return str(_("Links"))

    def save(self, *args, **kwargs):
        """Keep it the only row."""
        self.pk = 1
        super().save(*args, **kwargs)

    def clean(self):
        """Check names and addresses, and that this server answers by the short domain."""
        from django.conf import settings

        from delivery.links.apps import is_app

        self.short_domain = self.short_domain.strip().rstrip("/").lower()
        problems = {}
        if self.short_domain:
            found = _ORIGIN.fullmatch(self.short_domain)
            if not found:
                problems["short_domain"] = _("Write an address such as https://go.example.com.")
            elif not validate_host(found[1], settings.ALLOWED_HOSTS):
                problems["short_domain"] = _(
                    "This server does not answer by that name: see NUDGE_ALLOWED_HOSTS."
                )
        for name in ("own_hosts", "untouched_hosts"):
            hosts = [host.strip().lower() for host in getattr(self, name) if host.strip()]
            setattr(self, name, list(dict.fromkeys(hosts)))
            if name == "untouched_hosts":
                hosts = [host for host in hosts if not is_app(host)]
            if wrong := [host for host in hosts if not _HOST.match(host)]:
                problems[name] = _("“%s” is not the name of a site, such as example.com.") % wrong[0][:80]
        if problems:
            raise ValidationError(problems)

    @classmethod
    def load(cls) -> "LinkSettings":
        """The settings; the usual ones as long as nobody saved any."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)


class LinkHit(models.Model):
    """A link of a message was followed, or an email's picture fetched (`link` is None): as it came, by whatever.

    `rules` is the version of the rules (delivery/links/bots.py) by which it was judged, 0 as long as it was not.
    """

    class Verdict(models.TextChoices):
        PENDING = "", _("not judged yet")
        PERSON = "person", _("a person")
        PROXY = "proxy", _("a person, through a proxy")
        MACHINE = "machine", _("a machine")

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="hits", verbose_name=_("delivery"))
    link = models.PositiveSmallIntegerField(_("link"), null=True)
    at = models.DateTimeField(_("when"))
    user_agent = models.TextField(_("program"), blank=True, default="", db_default="")
    purpose = models.TextField(_("announced purpose"), blank=True, default="", db_default="")
    verdict = models.TextField(_("followed by"), choices=Verdict, blank=True, default="", db_default="")
    reason = models.TextField(_("because"), blank=True, default="", db_default="")
    rules = models.PositiveSmallIntegerField(_("version of the rules"), default=0, db_default=0)
    record = models.UUIDField(_("number of the record"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("followed link")
        verbose_name_plural = _("followed links")
        default_permissions = ()
        indexes = [models.Index(fields=["rules", "at"], name="link_hit_to_judge")]
        constraints = [
            models.UniqueConstraint(
                fields=["record"], condition=Q(record__isnull=False), name="a_record_is_kept_once"
            )
        ]
