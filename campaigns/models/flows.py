"""Lifecycle flows, their versions and the people inside."""

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from crm.models import Profile
from crm.models.outlined import Outlined


class Flow(models.Model):
    """One automation. `draft` is what the builder edits; `live_version` is what runs."""

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        LIVE = "live", _("live")
        PAUSED = "paused", _("paused")
        FINISHING = "finishing", _("finishing")  # nobody enters, whoever is inside goes on
        STOPPED = "stopped", _("stopped")

    slug = models.SlugField(_("short name"), unique=True)
    name = models.TextField(_("name"))
    description = models.TextField(_("description"), blank=True, default="")
    state = models.TextField(_("state"), choices=State, default=State.DRAFT)
    draft = models.JSONField(_("draft"), default=dict)
    revision = models.PositiveIntegerField(_("revision"), default=0)
    live_version = models.ForeignKey(
        "FlowVersion",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("live version"),
    )
    published_at = models.DateTimeField(_("published"), null=True, blank=True)
    listening_since = models.DateTimeField(
        null=True, editable=False, help_text=_("What happened before starts nobody.")
    )
    error = models.TextField(_("error"), blank=True, default="")
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("flow")
        verbose_name_plural = _("flows")
        ordering = ["name"]
        permissions = [
            ("publish_flow", "Can publish, pause and stop flows"),
            ("enroll_flow", "Can enrol people into flows and end their runs"),
        ]

    def __str__(self):
        return self.name


class FlowRevision(models.Model):
    """The draft as it was before an edit; undo goes back through these.

    Those that are `undone` are the drafts that an undo took back: redo goes through them, the next edit deletes them.
    """

    flow = models.ForeignKey(Flow, models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    definition = models.JSONField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField(db_default=Now())
    undone = models.BooleanField(default=False, db_default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["flow", "number"], name="one_revision_per_number")]


class FlowVersion(models.Model):
    """A published definition. It never changes: people finish the version they entered."""

    flow = models.ForeignKey(Flow, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField(_("version"))
    definition = models.JSONField(_("definition"))
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    published_at = models.DateTimeField(_("published"))

    class Meta:
        verbose_name = _("flow version")
        verbose_name_plural = _("flow versions")
        constraints = [models.UniqueConstraint(fields=["flow", "number"], name="one_version_per_number")]

    def __str__(self):
        return f"{self.flow_id} v{self.number}"


class Enrollment(Outlined):
    """One run of one person through one flow. `due_at` is when the engine has to look at it next."""

    contact_data = {"run_key": "text", "step_state": "data", "context": "data"}

    class State(models.TextChoices):
        ACTIVE = "active", _("inside")
        COMPLETED = "completed", _("completed")
        EXITED = "exited", _("left early")

    # By flow, version and profile, others of the indexes find them; each index more slows every step of everybody down.
    flow = models.ForeignKey(
        Flow, models.CASCADE, related_name="enrollments", verbose_name=_("flow"), db_index=False
    )
    version = models.ForeignKey(FlowVersion, models.PROTECT, related_name="enrollments", db_index=False)
    profile = models.ForeignKey(
        Profile, models.CASCADE, related_name="enrollments", verbose_name=_("profile"), db_index=False
    )
    run_key = models.TextField(
        _("run"), help_text=_("Tells two runs of one person apart, such as two carts.")
    )
    state = models.TextField(_("state"), choices=State, default=State.ACTIVE)
    step = models.TextField(_("step"), blank=True, default="", db_default="")
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    step_state = models.JSONField(_("state of the step"), default=dict, db_default={}, blank=True)
    context = models.JSONField(_("what started it"), default=dict, db_default={}, blank=True)
    entered_at = models.DateTimeField(_("entered"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    reason = models.TextField(_("reason"), blank=True, default="", db_default="")
    holdout = models.BooleanField(
        _("held out"), default=False, db_default=False, help_text=_("Got nothing, for comparison.")
    )
    converted_at = models.DateTimeField(_("reached the goal"), null=True, blank=True)
    goal_value = models.DecimalField(
        _("value of the goal"), max_digits=18, decimal_places=4, null=True, blank=True
    )

    class Meta:
        verbose_name = _("enrollment")
        verbose_name_plural = _("enrollments")
        constraints = [
            models.UniqueConstraint(fields=["profile", "flow", "run_key"], name="one_run_per_key"),
            models.CheckConstraint(
                condition=Q(state="active") | Q(ended_at__isnull=False), name="who_left_has_a_time"
            ),
        ]
        indexes = [
            models.Index(
                fields=["version", "due_at"], condition=Q(state="active"), name="enrollment_due_by_version"
            ),
            models.Index(fields=["flow", "state", "step"], name="enrollment_by_step"),
            # For reports about a period. Unlike others it costs steps next to nothing: it knows pages, not rows.
            BrinIndex(fields=["entered_at"], name="enrollment_entered", autosummarize=True),
        ]


class Decision(Outlined):
    """One thing a flow decided about one person, with the facts that decided it.

    A log like that of events, whose rows name others without the database's watch: checking three of them for each row
    took a quarter of the engine's time. Who writes holds what is named, and deleting it deletes these rows, too.
    """

    contact_data = {"detail": "data"}

    enrollment = models.ForeignKey(
        Enrollment, models.CASCADE, related_name="decisions", null=True, db_constraint=False
    )
    flow = models.ForeignKey(Flow, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    profile = models.ForeignKey(
        Profile, models.CASCADE, related_name="decisions", db_constraint=False, db_index=False
    )
    step = models.TextField(_("step"), blank=True, default="", db_default="")
    kind = models.TextField(_("decision"))
    detail = models.JSONField(_("facts"), default=dict, db_default={})
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        indexes = [
            models.Index(fields=["profile", "-at"], name="decision_by_profile"),
            models.Index(fields=["flow", "step", "kind"], name="decision_by_step"),
        ]
