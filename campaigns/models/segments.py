"""Groups of people, described by a rule or listed one by one."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Profile


class Segment(models.Model):
    """One question about customers, whose answer is kept as memberships; or a list of people kept by hand."""

    class Kind(models.TextChoices):
        RULE = "rule", _("rule")
        LIST = "list", _("list")

    class State(models.TextChoices):
        NEW = "new", _("not counted yet")
        READY = "ready", _("up to date")
        FAILED = "failed", _("failed")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.TextField(_("name"))
    description = models.TextField(_("description"), blank=True, default="")
    kind = models.TextField(_("kind"), choices=Kind, default=Kind.RULE, editable=False)
    rule = models.JSONField(_("rule"), default=dict)
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    rule_changed_at = models.DateTimeField(_("rule changed"), db_default=Now(), editable=False)
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


class SegmentVersion(models.Model):
    """What a segment asked from one time to the next change."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    name = models.TextField(_("name"))
    rule = models.JSONField(_("rule"))
    by = models.TextField(_("changed by"), blank=True, default="")
    at = models.DateTimeField(_("since"), db_default=Now())
    restored = models.PositiveIntegerField(_("brings back version"), null=True, blank=True)

    class Meta:
        verbose_name = _("version of a segment")
        verbose_name_plural = _("versions of segments")
        constraints = [
            models.UniqueConstraint(fields=["segment", "number"], name="one_segment_version_per_number")
        ]


class SegmentSize(models.Model):
    """How many people were in a segment at the end of an hour, and how many came and went within it."""

    segment = models.ForeignKey(Segment, models.CASCADE, related_name="sizes")
    hour = models.DateTimeField(_("hour"))
    size = models.PositiveIntegerField(_("people"))
    entered = models.PositiveIntegerField(_("came in"), default=0)
    departed = models.PositiveIntegerField(_("dropped out"), default=0)

    class Meta:
        verbose_name = _("size of a segment")
        verbose_name_plural = _("sizes of segments")
        constraints = [models.UniqueConstraint(fields=["segment", "hour"], name="one_segment_size_per_hour")]


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
