"""What marketers write."""

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Message(models.Model):
    """One thing to say, in any number of channels, variants and locales."""

    class Tracking(models.TextChoices):
        ACCOUNT = "", _("as the settings of links say")
        ON = "on", _("yes")
        OFF = "off", _("no")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.TextField(_("name"))
    topic = models.SlugField(
        _("topic"),
        blank=True,
        default="",
        help_text=_("People can leave a topic without leaving the channel."),
    )
    important = models.BooleanField(
        _("important"),
        default=False,
        db_default=False,
        help_text=_("Also for those who want only what is important about the topic."),
    )
    confirms = models.BooleanField(
        _("asks for confirmation"),
        default=False,
        db_default=False,
        help_text=_(
            "Carries the link of a double opt-in: only those get it whose yes waits to be confirmed."
        ),
    )
    goal_event = models.TextField(
        _("goal"), blank=True, default="purchase", help_text=_("The event that counts as a conversion.")
    )
    goal_window_hours = models.PositiveIntegerField(
        _("hours after a click that count"), default=72, help_text=_("Later conversions are not credited.")
    )
    goal_value_property = models.TextField(
        _("event property with the amount"),
        blank=True,
        default="total",
        help_text=_("Adds up to the revenue."),
    )
    expires_after_hours = models.PositiveIntegerField(
        _("hours until it is too late"),
        default=24,
        help_text=_("A message that could not go out by then is dropped rather than sent late."),
    )
    transactional = models.BooleanField(
        _("transactional"),
        default=False,
        db_default=False,
        help_text=_(
            "Part of a service, such as a receipt. Once somebody else has approved it, it goes out in spite of quiet "
            "hours, limits and topics, yet never to who has left the channel or whose address is suppressed."
        ),
    )
    transactional_marked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    # A trigger takes the approval back when anything of the message or its contents changes.
    transactional_approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    transactional_approved_at = models.DateTimeField(
        _("approved as transactional"), null=True, editable=False
    )
    adults_only = models.BooleanField(
        _("for adults only"), default=False, db_default=False, help_text=_("Minors get nothing of it.")
    )
    content_group = models.SlugField(
        _("says the same as"),
        blank=True,
        default="",
        db_default="",
        help_text=_("Messages that share this word say the same: sending rules can skip the second one."),
    )
    holdout_percent = models.PositiveSmallIntegerField(
        _("held out"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(90)],
        help_text=_("Percent of people who do not get it, always the same ones, to show what it brings."),
    )
    tracking = models.TextField(
        _("count clicks and opens"), choices=Tracking, blank=True, default="", db_default=""
    )
    version = models.PositiveIntegerField(_("version"), default=0, db_default=0, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["name"]
        permissions = [("approve_transactional", _("Can approve messages as transactional"))]

    def __str__(self):
        return self.name

    @property
    def exempt(self) -> bool:
        """Whether marketing's rules spare it: marked as transactional, and approved as it is now."""
        return self.transactional and self.transactional_approved_at is not None


class MessageContent(models.Model):
    """The words of one message for one channel, variant and locale; its shape is the channel's Config."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="contents")
    channel = models.TextField(_("channel"))
    variant = models.TextField(_("variant"), default="a")
    locale = models.TextField(
        _("language"), blank=True, default="", help_text=_("Empty: for everybody without a better match.")
    )
    content = models.JSONField(_("content"))

    class Meta:
        verbose_name = _("content")
        verbose_name_plural = _("contents")
        constraints = [
            models.UniqueConstraint(
                fields=["message", "channel", "variant", "locale"], name="one_content_per_variant_and_locale"
            )
        ]

    def __str__(self):
        return self.locale or str(_("Everybody"))
