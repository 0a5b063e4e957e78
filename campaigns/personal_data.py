"""What the campaigns layer knows about one person, for `crm.portability`."""

from django.db.models import F
from django.utils.translation import gettext_lazy as _

from campaigns.models import CrmWrite, Decision, Enrollment, SegmentMembership, WebhookCall
from crm import retention
from crm.portability import Rows, register, rows


def connect() -> None:
    """Called once when the app is ready."""
    from campaigns.segments import usage

    retention.register_uses(usage.event_uses)
    register("flow_runs", _("Runs through flows."), _runs, "campaigns.enrollment")
    register("flow_decisions", _("What flows decided, and why."), _decisions, "campaigns.decision")
    register("webhook_calls", _("Calls that flows made of other systems."), _calls, "campaigns.webhookcall")
    register("crm_writes", _("What flows wrote into CRMs."), _crm_writes, "campaigns.crmwrite")
    register("segments", _("Groups this person is in at present."), _segments, "campaigns.segmentmembership")


def _runs(profile_id: int) -> Rows:
    found = Enrollment.objects.filter(profile_id=profile_id).order_by("entered_at", "pk")
    return rows(
        found.annotate(run=F("pk"), flow_version=F("version__number")),
        *("run", "flow__slug", "flow__name", "flow_version", "run_key", "state", "step", "due_at"),
        *("step_state", "context", "entered_at", "ended_at", "reason"),
    )


def _decisions(profile_id: int) -> Rows:
    found = (
        Decision.objects.filter(profile_id=profile_id).order_by("at", "pk").annotate(run=F("enrollment_id"))
    )
    return rows(found, "run", "flow__slug", "step", "kind", "detail", "at")


def _calls(profile_id: int) -> Rows:
    found = WebhookCall.objects.filter(profile_id=profile_id).order_by("pk").annotate(run=F("enrollment_id"))
    return rows(
        found,
        *("run", "flow__slug", "step", "url", "method", "headers", "body", "state", "attempts"),
        *("status_code", "reply", "error", "asked_at", "finished_at"),
    )


def _crm_writes(profile_id: int) -> Rows:
    found = CrmWrite.objects.filter(profile_id=profile_id).order_by("pk").annotate(run=F("enrollment_id"))
    return rows(
        found,
        *("run", "flow__slug", "step", "connection__slug", "wanted", "state", "error"),
        *("asked_at", "finished_at"),
    )


def _segments(profile_id: int) -> Rows:
    found = SegmentMembership.objects.filter(profile_id=profile_id).order_by("entered_at")
    return rows(found, "segment__slug", "segment__name", "entered_at")
