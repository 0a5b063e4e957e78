"""What is computed about people from what they did."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models.profiles import Profile


class ComputedAttribute(models.Model):
    """One figure, text or moment that is computed for every person from their events.

    `config` is what crm.computed.kinds reads. `served` tells that the values are complete: they were computed for
    everybody since the definition last changed. While everybody's are being computed, `reached` is the highest
    profile id that is done, `goal` the highest there was, and (`txid`, `seq`) the place in the log up to which
    the values may be trusted.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        BACKFILLING = "backfilling", _("being computed")
        LIVE = "live", _("kept up to date")
        FAILED = "failed", _("failed")

    slug = models.TextField(
        _("short name"), unique=True, help_text=_("Rules and messages know it as computed.short_name.")
    )
    name = models.TextField(_("name"))
    kind = models.TextField(_("kind"), editable=False)
    config = models.JSONField(_("definition"))
    state = models.TextField(_("state"), choices=State, default=State.DRAFT, editable=False)
    served = models.BooleanField(_("complete"), default=False, editable=False)
    reached = models.BigIntegerField(default=0, editable=False)
    goal = models.BigIntegerField(default=0, editable=False)
    txid = models.BigIntegerField(default=0, editable=False)
    seq = models.BigIntegerField(default=0, editable=False)
    error = models.TextField(_("error"), blank=True, default="", editable=False)
    computed_at = models.DateTimeField(_("computed for everybody"), null=True, editable=False)
    zones_checked_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("computed attribute")
        verbose_name_plural = _("computed attributes")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(slug__regex=r"^[a-z][a-z0-9_]{0,49}$"),
                name="a_computed_attribute_has_a_plain_slug",
            )
        ]

    def __str__(self):
        return self.name

    @property
    def progress(self) -> float:
        """The share of people that are done, from 0 to 1."""
        if self.state != self.State.BACKFILLING:
            return 1.0 if self.served else 0.0
        return min(self.reached / self.goal, 1.0) if self.goal else 0.0


class ComputedValue(models.Model):
    """What one attribute is for one person: a number, a text or a moment.

    `due_at` is the last moment at which it still holds if nothing is recorded, and `zone` the time zone that it was
    computed in, where either matters. Who has no row has the kind's default.
    """

    pk = models.CompositePrimaryKey("profile_id", "attribute_id")
    # Neither key is checked by the database: a million checks would double the time of computing for everybody.
    # What a removed person or attribute leaves behind is swept up; see crm/computed/keeping.py.
    profile = models.ForeignKey(
        Profile, models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    attribute = models.ForeignKey(
        ComputedAttribute, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    number = models.FloatField(null=True)
    text = models.TextField(null=True)
    at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    zone = models.TextField(null=True)

    class Meta:
        verbose_name = _("computed value")
        verbose_name_plural = _("computed values")
        indexes = [
            models.Index(fields=["attribute", "number"], include=["profile"], name="computed_by_number"),
            models.Index(
                fields=["attribute", "text"],
                include=["profile"],
                condition=Q(text__isnull=False),
                name="computed_by_text",
            ),
            models.Index(
                fields=["attribute", "at"],
                include=["profile"],
                condition=Q(at__isnull=False),
                name="computed_by_moment",
            ),
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="computed_due"),
        ]
