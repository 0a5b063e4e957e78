"""Which steps of which flows fail, told to the operators and taken back when they work again."""

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from django.utils import timezone

from campaigns.models import Enrollment, Flow
from crm import alerts

if TYPE_CHECKING:
    from django.db.models import QuerySet


_OURS = ("campaigns", "crm", "delivery")


def retry(flow_id: int, now: datetime | None = None) -> int:
    """Let those whom a failing step of a flow holds try again at once, as when it was mended; return how many."""
    return _held(flow_id).update(due_at=now or timezone.now())


def _held(flow_id: int) -> "QuerySet[Enrollment]":
    return Enrollment.objects.filter(flow_id=flow_id, state=Enrollment.State.ACTIVE, step_state__error=True)


def reason(error: BaseException) -> str:
    """What may be told of an error: our own words, or only what kind it is.

    Those of libraries and of the database quote what they choked on, which may be somebody's data or a secret; the
    server's log has them in full.
    """
    kind = type(error)
    ours = kind.__module__.partition(".")[0] in _OURS
    return str(error) if ours and str(error) else kind.__name__


class AtStep(Protocol):
    """Somebody at a step of a flow."""

    flow_id: int
    flow: str
    step: str | None


class Troubles:
    """What failed and what went well within one batch.

    Reported after the batch is stored: it must not hold locks on flows while it waits for people, nor the reverse.
    """

    def __init__(self) -> None:
        self._failed: dict[tuple[int, str], tuple[str, Exception]] = {}
        self._well: set[tuple[int, str]] = set()

    def failed(self, run: AtStep, error: Exception) -> None:
        """The step of this run can't handle it, or others who are there."""
        self._failed[run.flow_id, run.step or ""] = (run.flow, error)

    def went_well(self, run: AtStep) -> None:
        """The step of this run handled all who were there."""
        self._well.add((run.flow_id, run.step or ""))

    def report(self) -> None:
        """Raise alerts, and resolve those of steps where nobody is held any more."""
        for (flow_id, step), (slug, error) in sorted(self._failed.items(), key=lambda item: item[0]):
            Flow.objects.filter(pk=flow_id).update(error=f"{step}: {reason(error)}"[:500])
            alerts.raise_alert(
                f"flow:{flow_id}:{step}",
                f"A step of the flow “{slug}” fails",
                f"People wait at the step “{step}” and are tried again every few minutes. The reason: {reason(error)}",
            )
        for flow_id, step in sorted(self._well - self._failed.keys()):
            held = _held(flow_id).filter(step=step)
            if not held.exists():
                alerts.resolve(f"flow:{flow_id}:{step}")
                Flow.objects.filter(pk=flow_id, error__startswith=f"{step}: ").update(error="")
