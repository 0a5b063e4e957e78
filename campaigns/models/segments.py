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
        COUNTING = "counting", _("being counted")
        READY = "ready", _("up to date")
        FAILED = "failed", _("failed")
        STOPPED = "stopped", _("counting was stopped")

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
    plan = models.JSONField(_("plan"), default=dict, blank=True, editable=False)
    # What was asked when everybody was counted last: a fingerprint of the rule and of those it refers to.
    counted_as = models.TextField(default="", blank=True, editable=False)
    counting_since = models.DateTimeField(_("being counted since"), null=True, editable=False)
    stop_asked = models.BooleanField(_("to be stopped"), default=False, editable=False)
    recount_at = models.DateTimeField(_("to be counted anew since"), null=True, editable=False)
    # Up to when everything is taken into account that the passing of time changes.
    passed_until = models.DateTimeField(_("exact as of"), null=True, editable=False)
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

    # Neither key is checked by the database: of a million members that would take longer than storing them. Who is
    # removed while a segment is counted leaves it when the change feed tells so.
    segment = models.ForeignKey(
        Segment, models.CASCADE, db_constraint=False, db_index=False, related_name="memberships"
    )
    profile = models.ForeignKey(
        Profile, models.CASCADE, db_constraint=False, db_index=False, related_name="segment_memberships"
    )
    entered_at = models.DateTimeField(_("since"))

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        constraints = [
            models.UniqueConstraint(fields=["segment", "profile"], name="one_membership_per_person")
        ]
        # Keeping asks for all segments of thousands of people who lie anywhere in the table.
        indexes = [models.Index(fields=["profile", "segment"], name="membership_by_person")]


class SegmentCandidate(models.Model):
    """Somebody who may have come into a segment or dropped out of it, and is to be asked about; for a reason."""

    segment = models.ForeignKey(Segment, models.CASCADE, db_constraint=False, related_name="+")
    profile_id = models.BigIntegerField()
    cause = models.TextField()
    event = models.TextField(blank=True, default="")

    class Meta:
        default_permissions = ()


class SegmentMove(models.Model):
    """How many one statement let into a segment and out of it; a trigger writes it, sizes.py adds it up."""

    segment = models.ForeignKey(Segment, models.CASCADE, db_constraint=False, related_name="+")
    entered = models.PositiveIntegerField(default=0)
    departed = models.PositiveIntegerField(default=0)

    class Meta:
        default_permissions = ()
