"""Dry runs of flows over the past."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from campaigns.models.flows import Flow


class Backtest(models.Model):
    """What a flow's draft would have done in the last `days` days before `until`.

    It is worked out in memory; only how far it is (`progress`, 0 to 1) and in the end the `result`
    (campaigns.flows.simulated_counts.Result) are stored. A worker that dies begins it anew, `tries` times at most.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("in work")
        DONE = "done", _("done")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed")

    flow = models.ForeignKey(Flow, models.CASCADE, related_name="backtests", verbose_name=_("flow"))
    definition = models.JSONField(_("definition"))
    days = models.PositiveSmallIntegerField(_("days"))
    until = models.DateTimeField(_("until"))
    state = models.TextField(_("state"), choices=State, default=State.RUNNING)
    progress = models.FloatField(_("progress"), default=0, db_default=0)
    tries = models.PositiveSmallIntegerField(_("tries"), default=0, db_default=0)
    result = models.JSONField(_("result"), null=True)
    seconds = models.FloatField(_("seconds of work"), default=0, db_default=0)
    problem = models.TextField(_("problem"), blank=True, default="", db_default="")
    started_by = models.TextField(_("by"), blank=True, default="", db_default="")
    created_at = models.DateTimeField(_("asked for"), db_default=Now())
    worked_at = models.DateTimeField(_("last worked on"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("dry run of a flow")
        verbose_name_plural = _("dry runs of flows")
        default_permissions = ()  # who may see the flow may see this
        constraints = [
            models.CheckConstraint(
                condition=models.Q(days__gte=1, days__lte=90), name="a_backtest_has_1_to_90_days"
            )
        ]
        indexes = [
            models.Index(fields=["worked_at"], condition=models.Q(state="running"), name="backtests_in_work"),
            models.Index(fields=["flow", "-created_at"], name="backtests_of_a_flow"),
        ]

    def __str__(self):
        return f"{self.flow} · {self.days}"
