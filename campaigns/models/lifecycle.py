"""What surrounds a flow's life: whether publishing needs a second person, their answers, and long changes."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.flows import Flow


class FlowSettings(models.Model):
    """What holds for all flows. There is one row."""

    approval_required = models.BooleanField(
        _("a second person approves"),
        default=False,
        help_text=_(
            "A flow goes live only after somebody else who may publish has approved this very draft."
        ),
    )

    class Meta:
        verbose_name = _("settings of flows")
        verbose_name_plural = _("settings of flows")
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="one_row_of_flow_settings")]

    def __str__(self):
        return str(self._meta.verbose_name)

    def save(self, *args, **kwargs):
        """Always the same row."""
        self.pk = 1
        super().save(*args, **kwargs)

    @classmethod
    def load(cls) -> "FlowSettings":
        """The settings; the defaults as long as nobody saved any."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)


class FlowApproval(models.Model):
    """Somebody's wish to publish one revision of a draft, and a second person's answer."""

    class Answer(models.TextChoices):
        WAITING = "", _("waiting")
        APPROVED = "approved", _("approved")
        DECLINED = "declined", _("declined")
        VOID = "void", _("void, as the draft was changed")

    flow = models.ForeignKey(Flow, models.CASCADE, related_name="approvals")
    revision = models.PositiveIntegerField(_("revision"))
    definition = models.JSONField(_("draft"))
    note = models.TextField(_("note"), blank=True, default="")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    asked_at = models.DateTimeField(_("asked"))
    answer = models.TextField(_("answer"), choices=Answer, blank=True, default=Answer.WAITING)
    answer_note = models.TextField(_("note of the answer"), blank=True, default="")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(_("answered"), null=True)

    class Meta:
        verbose_name = _("approval of a flow")
        verbose_name_plural = _("approvals of flows")
        constraints = [
            models.UniqueConstraint(
                fields=["flow"], condition=Q(answer=""), name="one_waiting_approval_per_flow"
            ),
            models.CheckConstraint(
                condition=Q(answer="") | Q(decided_at__isnull=False), name="an_answer_has_a_time"
            ),
        ]


class FlowJob(models.Model):
    """A change of many runs of one flow, made piece by piece in the background."""

    class Kind(models.TextChoices):
        MOVE = "move", _("moving people to a new version")
        END = "end", _("ending runs")
        ENROLL = "enroll", _("enrolling people")

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")

    flow = models.ForeignKey(Flow, models.CASCADE, related_name="jobs")
    kind = models.TextField(_("kind"), choices=Kind)
    state = models.TextField(_("state"), choices=State, default=State.RUNNING)
    details = models.JSONField(default=dict, help_text=_("What is to be done, as its kind asks for it."))
    after = models.BigIntegerField(default=0, help_text=_("The last number that was looked at."))
    total = models.PositiveIntegerField(_("of"), default=0)
    done = models.PositiveIntegerField(_("done"), default=0)
    outcome = models.JSONField(default=dict, help_text=_("How many of each outcome."))
    problem = models.TextField(_("problem"), blank=True, default="")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    started_at = models.DateTimeField(_("started"), db_default=Now())
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("change of runs")
        verbose_name_plural = _("changes of runs")
        constraints = [
            models.CheckConstraint(
                condition=Q(state="running") | Q(ended_at__isnull=False),
                name="a_flow_job_that_ended_has_a_time",
            )
        ]
        indexes = [
            models.Index(fields=["flow", "-id"], name="flow_jobs"),
            models.Index(fields=["id"], condition=Q(state="running"), name="flow_jobs_running"),
        ]
