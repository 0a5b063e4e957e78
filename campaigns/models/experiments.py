"""What is being tried out, on whom, and what was decided."""

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.broadcasts import Broadcast
from campaigns.models.flows import Flow
from delivery.models import Message


class Experiment(models.Model):
    """Ways to do one thing, each for some of the people, and the goal by which they are compared.

    `arms` are {"key", "name", "percent"}, the control first; where a broadcast's channel or time is tried out, with
    "channel" and "delay_minutes", and where audiences are, with "segment", whose slug narrows it (empty: everybody). A
    message's arms are its variants, a random step's its branches by name, and a holdout's those who are held out and
    those who are not. An arm that a guard-rail has closed says by which one in "closed". `periods` tell since when
    which shares of people the arms get; of one that learns, `ranges` tell which places, see
    `campaigns.experiments.ranges`. What ends it is kept in `decision` when it is first seen, and is not asked again.
    """

    class Subject(models.TextChoices):
        MESSAGE = "message", _("variants of a message")
        STEP = "step", _("branches of a random split")
        BROADCAST = "broadcast", _("a broadcast")
        AUDIENCE = "audience", _("the audience of a broadcast")
        HOLDOUT = "holdout", _("a holdout")

    class Mode(models.TextChoices):
        MEASURE = "measure", _("only measure")
        WINNER = "winner", _("go on with the winner")
        BANDIT = "bandit", _("give better arms more people while it runs")

    class Metric(models.TextChoices):
        CONVERSION = "conversion", _("people who reach the goal")
        VALUE = "value", _("what they are worth")

    class State(models.TextChoices):
        DRAFT = "draft", _("draft")
        RUNNING = "running", _("running")
        DECIDED = "decided", _("decided")
        STOPPED = "stopped", _("stopped")

    LEFT_OUT = "~"  # behind an arm: those of it whom its audience leaves out

    name = models.TextField(_("name"))
    slug = models.SlugField(_("short name"), unique=True)
    subject = models.TextField(_("what is tried out"), choices=Subject, default=Subject.MESSAGE)
    message = models.ForeignKey(
        Message, models.CASCADE, null=True, blank=True, related_name="experiments", verbose_name=_("message")
    )
    flow = models.ForeignKey(
        Flow, models.CASCADE, null=True, blank=True, related_name="experiments", verbose_name=_("flow")
    )
    step = models.TextField(_("random split"), blank=True, default="", db_default="")
    broadcast = models.ForeignKey(
        Broadcast,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="experiments",
        verbose_name=_("broadcast"),
    )
    arms = models.JSONField(_("arms"), default=list, db_default=[], blank=True)
    mode = models.TextField(_("what happens"), choices=Mode, default=Mode.MEASURE)
    metric = models.TextField(_("compared by"), choices=Metric, default=Metric.CONVERSION)
    goal_event = models.TextField(_("goal"), default="purchase")
    window_hours = models.PositiveIntegerField(
        _("hours that count"),
        default=72,
        validators=[MinValueValidator(1), MaxValueValidator(24 * 90)],
        help_text=_("From when somebody comes into it."),
    )
    value_property = models.TextField(
        _("event property with the amount"), blank=True, default="total", db_default="total"
    )
    guard_rails = models.BooleanField(
        _("watch unsubscribes and complaints"),
        default=True,
        help_text=_("An arm that makes certainly more people leave is not made the winner."),
    )
    smallest = models.FloatField(
        _("smallest difference worth knowing"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0)],
        help_text=_("In points of percent of the people; in money per person where values are compared."),
    )
    fewest_people = models.PositiveIntegerField(default=100, db_default=100, editable=False)
    tuned_for = models.PositiveIntegerField(default=10_000, db_default=10_000, editable=False)
    state = models.TextField(_("state"), choices=State, default=State.DRAFT, editable=False)
    periods = models.JSONField(default=list, db_default=[], editable=False)
    ranges = models.JSONField(default=list, db_default=[], editable=False)
    alarmed_at = models.DateTimeField(_("sizes of the arms wrong since"), null=True, editable=False)
    decision = models.JSONField(_("decision"), null=True, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    decided_at = models.DateTimeField(_("decided at"), null=True, editable=False)
    stopped_at = models.DateTimeField(_("stopped at"), null=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("experiment")
        verbose_name_plural = _("experiments")
        ordering = ["-created_at", "-pk"]
        permissions = [("run_experiment", "Can start, stop and decide experiments")]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="draft") | Q(started_at__isnull=False), name="what_runs_was_started"
            ),
            models.UniqueConstraint(
                fields=["message"],
                condition=Q(state="running", subject="message"),
                name="one_experiment_at_a_time_per_message",
            ),
            models.UniqueConstraint(
                fields=["flow", "step"],
                condition=Q(state="running", subject="step"),
                name="one_experiment_at_a_time_per_step",
            ),
            models.UniqueConstraint(
                fields=["broadcast"],
                condition=Q(state="running", subject__in=["broadcast", "audience"]),
                name="one_experiment_at_a_time_per_broadcast",
            ),
        ]
        indexes = [models.Index(fields=["subject"], condition=Q(state="running"), name="experiment_running")]

    def __str__(self):
        return self.name

    @property
    def key(self) -> str:
        """What exposures name it: a holdout has the name that sending gives it."""
        if self.subject != self.Subject.HOLDOUT:
            return f"experiment:{self.pk}"
        if self.message_id:
            return f"holdout:message:{self.message_id}"
        if self.flow_id:
            return f"holdout:flow:{self.flow_id}"
        return f"holdout:broadcast:{self.broadcast_id}" if self.broadcast_id else "holdout:global"

    @property
    def splits(self) -> bool:
        """Whether the experiment itself divides people, by the channel or the time of a broadcast."""
        return any(arm.get("channel") or arm.get("delay_minutes") for arm in self.arms)

    @property
    def closed(self) -> dict[str, str]:
        """The arms that get nobody any more because they do harm, with the guard-rail that told so."""
        return {arm["key"]: arm["closed"] for arm in self.arms if arm.get("closed")}

    @property
    def names(self) -> dict[str, str]:
        """What the arms are called, by key."""
        return {arm["key"]: str(arm.get("name") or arm["key"].upper()) for arm in self.arms}

    @property
    def shares(self) -> dict[str, Any]:
        """The shares of people that the arms get now, in percent, by key."""
        return {arm["key"]: arm["percent"] for arm in self.arms}
