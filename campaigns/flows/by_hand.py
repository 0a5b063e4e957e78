"""Letting people into a flow by hand: some who are named, or everybody in a segment, piece by piece."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction

from campaigns.flows import enrolling, jobs
from campaigns.models import Enrollment, Flow, FlowJob, Segment, SegmentMembership
from crm import audit

BATCH = 500
AT_ONCE_SECONDS = 2.0
STARTED = "started"


class Preview(msgspec.Struct):
    """How many people are meant; of them those who are inside, and those who were inside before."""

    people: int
    inside: int
    before: int


def preview(flow: Flow, people: Sequence[int] | None = None, segment: Segment | None = None) -> Preview:
    """Whom enrolling these people, or the members of a segment, would be about. Rules of entry are asked later."""
    runs = flow.enrollments.filter(holdout=False)
    if segment is not None:
        number = SegmentMembership.objects.filter(segment=segment).count()
        runs = runs.filter(profile__in=SegmentMembership.objects.filter(segment=segment).values("profile_id"))
    else:
        number = len(set(people or ()))
        runs = runs.filter(profile__in=list(people or ()))
    inside = runs.filter(state=Enrollment.State.ACTIVE).values("profile").distinct().count()
    return Preview(number, inside, runs.values("profile").distinct().count() - inside)


def start(
    flow: Flow,
    by: Any,
    people: Sequence[int] | None = None,
    segment: Segment | None = None,
    key: str = "",
    now: datetime | None = None,
) -> FlowJob:
    """Enrol people who are named by number, or the members of a segment; a few at once, the rest by the workers.

    Args:
        by: the request or user whose doing it is.
        key: in a flow with a run key, its value.
    """
    user = jobs.person(by)
    details: dict[str, Any] = {"key": key, "by": user.get_username() if user else str(by)}
    if segment is not None:
        details["segment"] = segment.slug
        total = SegmentMembership.objects.filter(segment=segment).count()
    else:
        details["people"] = sorted(set(people or ()))
        total = len(details["people"])
    with transaction.atomic():
        job = jobs.start(flow, FlowJob.Kind.ENROLL, details, total, by)
        audit.record(
            by, "flow.enrolled", flow, people=total, **({"segment": segment.slug} if segment else {})
        )
    jobs.work(AT_ONCE_SECONDS, now, only=job.pk)
    job.refresh_from_db()
    return job


def piece(job: FlowJob, memory: dict[Any, Any], now: datetime) -> jobs.Piece:
    """Enrol the next people, by number; see campaigns.flows.jobs."""
    ids = _next(job)
    if not ids:
        return jobs.Piece()
    # Named after the job, so that somebody who is enrolled by two jobs starts twice where the flow allows it.
    key = job.details.get("key") or f"job:{job.pk}"
    found = enrolling.enroll(job.flow_id, ids, key=key, by=job.details.get("by"), now=now)
    outcome = Counter(found.refused.values())
    if found.started:
        outcome[STARTED] = len(found.started)
    return jobs.Piece(len(ids), dict(outcome), more=True, after=ids[-1])


def _next(job: FlowJob) -> list[int]:
    if (slug := job.details.get("segment")) is None:
        return [pk for pk in job.details["people"] if pk > job.after][:BATCH]
    members = SegmentMembership.objects.filter(segment__slug=slug, profile_id__gt=job.after)
    return list(members.order_by("profile_id").values_list("profile_id", flat=True)[:BATCH])


jobs.register(FlowJob.Kind.ENROLL, piece)
