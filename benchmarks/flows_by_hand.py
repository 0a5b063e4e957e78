"""The same work as the engine's, done as Django code is usually written: one run, one transaction after the other."""

import time
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from campaigns.models import Decision, Enrollment, Flow
from crm.models import Profile


def advancing(flow: Flow, runs: int) -> float:
    """Runs per second moved from one wait to the next."""
    steps = {step["key"]: step for step in flow.live_version.definition["steps"]}
    after = dict(zip(steps, [*list(steps)[1:], None], strict=True))
    due = Enrollment.objects.filter(flow=flow, state="active", step="w1", due_at__lte=timezone.now())
    ids = list(due.order_by("due_at").values_list("pk", flat=True)[:runs])
    began = time.perf_counter()
    for pk in ids:
        with transaction.atomic():
            run = Enrollment.objects.select_for_update().get(pk=pk)
            now = timezone.now()
            _decided(run, "w1", "wait:go_on", now, waited_until=run.step_state["until"])
            following = after["w1"]
            if steps[following]["kind"] == "split":
                gold = Profile.objects.get(pk=run.profile_id).attributes.get("plan") == "gold"
                branch = steps[following]["branches"][0 if gold else 1]
                _decided(run, following, "split:go_on", now, branch_name=branch["name"])
                following = branch["steps"][0]["key"]
            run.step, run.due_at = following, now + timedelta(hours=2)
            run.step_state = {"until": run.due_at.isoformat()}
            _decided(run, following, "wait:wait", now, **run.step_state)
            run.save()
    return len(ids) / (time.perf_counter() - began)


def _decided(run: Enrollment, step: str, kind: str, now, **facts) -> None:
    Decision.objects.create(
        enrollment=run,
        flow_id=run.flow_id,
        profile_id=run.profile_id,
        step=step,
        kind=kind,
        detail=facts,
        at=now,
    )
