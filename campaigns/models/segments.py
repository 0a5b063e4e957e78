"""Groups of people described by a rule."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Profile


class Segment(models.Model):
    """One question about customers; the answer is kept as memberships."""

    class State(models.TextChoices):
        NEW = "new", _("not counted yet")
        READY = "ready", _("up to date")
        FAILED = "failed", _("failed")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.TextField(_("name"))
    description = models.TextField(_("description"), blank=True, default="")
    rule = models.JSONField(_("rule"), default=dict)
    size = models.PositiveIntegerField(_("people"), default=0)
    state = models.TextField(_("state"), choices=State, default=State.NEW)
    error = models.TextField(_("error"), blank=True, default="")
    evaluated_at = models.DateTimeField(_("last counted"), null=True, blank=True)
    evaluation_ms = models.PositiveIntegerField(_("time to count, ms"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("segment")
        verbose_name_plural = _("segments")
        ordering = ["name"]

    def __str__(self):
        return self.name


class SegmentMembership(models.Model):
    """One person in one segment."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="memberships")
    profile = models.ForeignKey(Profile, models.CASCADE, related_name="segment_memberships")
    entered_at = models.DateTimeField(_("since"))

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [
            models.UniqueConstraint(fields=["segment", "profile"], name="one_membership_per_person")
        ]
