"""By which names people are recognised, and who may be the same person."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.outlined import Outlined

CRM_ID, EXTERNAL_ID, EMAIL, PHONE = "crm_id", "external_id", "email", "phone"


def default_order() -> list[str]:
    """From the surest to the weakest."""
    return [CRM_ID, EXTERNAL_ID, EMAIL, PHONE]


class IdentityRules(models.Model):
    """How names lead to people; there is one row at most, and none means the defaults."""

    class Match(models.TextChoices):
        ANY = "any", _("whoever names it")
        PROVEN = "proven", _("only where it is proven")
        ALONE = "alone", _("only where no other name is given")
        NEVER = "never", _("never")

    class Visitors(models.TextChoices):
        CLAIM = "claim", _("as soon as the visitor names that person")
        PROOF = "proof", _("only with a proof")

    order = ArrayField(models.TextField(), verbose_name=_("order"), default=default_order)
    external_id = models.TextField(
        _("A customer number finds a person"), choices=Match, default=Match.ANY, db_default=Match.ANY
    )
    email = models.TextField(
        _("An email finds a person"), choices=Match, default=Match.ANY, db_default=Match.ANY
    )
    phone = models.TextField(
        _("A phone finds a person"), choices=Match, default=Match.ALONE, db_default=Match.ALONE
    )
    visitors = models.TextField(
        _("An anonymous visitor becomes part of a known person"),
        choices=Visitors,
        default=Visitors.CLAIM,
        db_default=Visitors.CLAIM,
    )
    version = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    only = models.BooleanField(default=True, unique=True, editable=False)

    class Meta:
        verbose_name = _("identity rules")
        verbose_name_plural = _("identity rules")

    def __str__(self):
        return str(_("Identity rules"))


class IdentityConflict(Outlined):
    """Two known people whom somebody named in one breath: perhaps one person, perhaps a shared address.

    `names` are the [kind, value] that lead to the one while others led to the other. The numbers of the two
    are no foreign keys: what was decided outlives a merge.
    """

    contact_data = {"names": "names"}

    class State(models.TextChoices):
        OPEN = "open", _("open")
        JOINED = "joined", _("joined")
        APART = "apart", _("kept apart")

    first_id = models.BigIntegerField(_("profile"))
    second_id = models.BigIntegerField(_("other profile"), db_index=True)
    names = models.JSONField(_("names"), default=list, db_default=[])
    source = models.TextField(_("source"), blank=True, default="", db_default="")
    proven = models.BooleanField(
        _("proven"), default=False, db_default=False, help_text=_("No: only a browser claimed it.")
    )
    seen = models.PositiveIntegerField(_("times seen"), default=1, db_default=1)
    first_seen = models.DateTimeField(_("first seen"), db_default=Now())
    last_seen = models.DateTimeField(_("last seen"), db_default=Now())
    state = models.TextField(_("state"), choices=State, default=State.OPEN, db_default=State.OPEN)
    decided_by = models.TextField(_("decided by"), blank=True, default="", db_default="")
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)

    class Meta:
        verbose_name = _("possible duplicate")
        verbose_name_plural = _("possible duplicates")
        constraints = [
            models.UniqueConstraint(fields=["first_id", "second_id"], name="two_people_are_one_conflict"),
            models.CheckConstraint(
                condition=Q(first_id__lt=F("second_id")), name="the_older_profile_of_a_conflict_is_first"
            ),
        ]
        indexes = [
            models.Index(fields=["-last_seen"], condition=Q(state="open"), name="conflict_open"),
        ]

    def __str__(self):
        return f"{self.first_id} – {self.second_id}"
