"""Moving people who are inside a flow to another version of it.

Who is at a step that the new version has stays there. Steps that it lacks are mapped to others, or to leaving. Nobody
is put on a step that they have passed, or on a message that their run has asked for already: they go to the next step
after it. (Where an older step stands later in the new version they may come to it again; what a step sends, writes or
gives is unique by run and step, so it happens once.) Events that end runs by the new version and came since somebody
entered end theirs at once.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from django.db import connection
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from campaigns.flows import exits, holding, jobs, program, steps
from campaigns.flows.definition import Definition, DefinitionError
from campaigns.flows.holding import Held
from campaigns.flows.program import Program
from campaigns.flows.records import DecisionRow, write_decisions
from campaigns.models import Decision, Enrollment, Flow, FlowJob, FlowVersion
from delivery.models import Delivery

REMOVED = "step removed"
StepMap = dict[str, str | None]


class Place(msgspec.Struct, frozen=True):
    """Where a run goes: a step, or out of the flow for good."""

    step: str = ""
    ends: Literal["", "exited", "completed"] = ""


def before(version_id: int) -> Program:
    """The program of an older version; without steps if it can't be read any more."""
    try:
        return program.of_version(version_id)
    except DefinitionError:
        return program.link(Definition())


def suggested(old: Program, new: Program) -> StepMap:
    """For each step that `new` lacks, the first one after it that `new` has; None: leave the flow."""
    found: StepMap = {}
    for key in old.nodes:
        if key in new.nodes:
            continue
        at: str | None = key
        while at is not None and at not in new.nodes:
            at = old.nodes[at].next
        found[key] = at
    return found


def checked(step_map: Mapping[str, str | None], new: Program) -> StepMap:
    """The map, if people can be put where it says.

    Raises:
        ValueError: it names a step that the new version does not have.
    """
    for target in step_map.values():
        if target is not None and target not in new.nodes:
            raise ValueError(_("There is no step “%s” in the new version.") % target[:40])
    return {key: target for key, target in step_map.items() if key not in new.nodes}


def place(step: str, step_map: Mapping[str, str | None], new: Program, passed: Collection[str]) -> Place:
    """Where somebody who is at `step` of an older version goes, having passed the steps `passed`.

    Whoever is held before the first step ("") stays so, and begins with the first step of the new version.
    """
    if not step or step in new.nodes:
        return Place(step)
    at = step_map.get(step)
    if at is None:
        return Place(ends="exited")
    while at is not None and at in passed:
        at = new.nodes[at].next
    return Place(at) if at is not None else Place(ends="completed")


def start(flow: Flow, to: FlowVersion, step_map: StepMap, user: Any = None) -> FlowJob | None:
    """Ask for everybody in older versions to be moved, in the caller's transaction, which holds the log's cursor.

    An unfinished move to an earlier version is given up for this one. None when nobody is inside an older version.
    """
    FlowJob.objects.filter(flow=flow, kind=FlowJob.Kind.MOVE, state=FlowJob.State.RUNNING).update(
        state=FlowJob.State.CANCELLED, ended_at=to.published_at, details={}
    )
    total = older(flow, to).count()
    if not total:
        return None
    details = {"to": to.pk, "map": step_map}
    return jobs.start(flow, FlowJob.Kind.MOVE, details, total, user)


def older(flow: Flow, to: FlowVersion):
    """The runs inside versions before `to`."""
    return flow.enrollments.filter(state=Enrollment.State.ACTIVE, version__number__lt=to.number)


def piece(job: FlowJob, memory: dict[Any, Any], now: datetime) -> jobs.Piece:
    """Move the next people; see campaigns.flows.jobs."""
    to = FlowVersion.objects.get(pk=job.details["to"])
    held, stuck = next_runs(job.flow, to.number, memory)
    if not held:
        return jobs.Piece(more=stuck, stuck=stuck)
    return jobs.Piece(len(held), _move(held, job.flow, to, job.details["map"], now), more=True)


def next_runs(flow: Flow, before: int, memory: dict[Any, Any]) -> tuple[list[Held], bool]:
    """Some runs inside versions numbered below `before`, held; and, when there are none, whether others hold some.

    Args:
        memory: where the last call was, by version; empty to begin with.
    """
    inside = Enrollment.objects.filter(version=OuterRef("pk"), state=Enrollment.State.ACTIVE)
    versions = FlowVersion.objects.filter(Exists(inside), flow=flow, number__lt=before)
    occupied = list(versions.order_by("pk").values_list("pk", flat=True))
    for pk in occupied:
        since = memory.get(pk)
        held = holding.claim(pk, since)
        if not held and since is not None:
            held = holding.claim(pk)
        memory[pk] = held[-1].due_at if held else None
        if held:
            return held, False
    return [], bool(occupied)


def _move(
    held: Sequence[Held], flow: Flow, to: FlowVersion, step_map: StepMap, now: datetime
) -> dict[str, int]:
    """Put these runs where they belong in version `to`; return how many stayed at their step, moved and left."""
    new = program.of_version(to.pk)
    placed = _places(held, step_map, new)
    numbers = dict(FlowVersion.objects.filter(flow=flow).values_list("pk", "number"))
    by_end: dict[str, list[Held]] = defaultdict(list)
    staying: list[Held] = []
    for run in held:
        if ends := placed[run.id].ends:
            by_end[ends].append(run)
        else:
            staying.append(run)
    for state, ended in by_end.items():
        holding.end(
            ended,
            flow.slug,
            REMOVED if state == "exited" else "",
            now,
            {"to_version": to.number},
            state=state,
        )
    _write(staying, placed, new, to, now)
    write_decisions(
        [
            DecisionRow(
                *(run.id, run.flow_id, run.profile_id, placed[run.id].step, "moved"),
                {
                    "from_version": numbers[run.version_id],
                    "to_version": to.number,
                    "from_step": run.step,
                    "to_step": placed[run.id].step,
                },
                now,
            )
            for run in staying
        ]
    )
    stayed = sum(placed[run.id].step == run.step for run in staying)
    _end_by_events(staying, placed, flow, to, new, now)
    return {"stayed": stayed, "moved": len(staying) - stayed, "left": len(held) - len(staying)}


def _places(held: Sequence[Held], step_map: StepMap, new: Program) -> dict[int, Place]:
    elsewhere = [run for run in held if run.step and run.step not in new.nodes]
    passed = _passed(elsewhere, new) if elsewhere else {}
    olds = {run.version_id: before(run.version_id) for run in held}
    whole = {pk: {**suggested(old, new), **step_map} for pk, old in olds.items()}
    return {
        run.id: place(run.step, whole[run.version_id], new, passed.get(run.id, frozenset())) for run in held
    }


def _passed(held: Sequence[Held], new: Program) -> dict[int, set[str]]:
    """By run, the steps that decided something about it, and the new version's messages that it has asked for."""
    found: dict[int, set[str]] = defaultdict(set)
    decided = Decision.objects.filter(enrollment_id__in=[run.id for run in held], kind__contains=":")
    for run_id, key in decided.values_list("enrollment_id", "step").distinct():
        found[run_id].add(key)
    messages: dict[str, list[str]] = defaultdict(list)
    for key, node in new.nodes.items():
        if slug := node.step.config.get("message"):
            messages[str(slug)].append(key)
    if messages:
        asked = Delivery.objects.filter(
            profile_id__in=[run.profile_id for run in held],
            origin_type=Delivery.Origin.FLOW,
            origin_id=held[0].flow_id,
            message__slug__in=list(messages),
        )
        for cause, slug in asked.values_list("cause", "message__slug"):
            number = cause.split(":")[1]
            if number.isdecimal():
                found[int(number)].update(messages[slug])
    return found


def _write(
    staying: Sequence[Held], placed: Mapping[int, Place], new: Program, to: FlowVersion, now: datetime
) -> None:
    keeps = _keeper(new)
    rows = []
    for run in staying:
        kept = run.step == placed[run.id].step and keeps(run)
        # Whose step has not begun is held before it, such as until a date: as long as before.
        rows.append(
            {
                "id": run.id,
                "step": placed[run.id].step,
                "state": run.step_state if kept else {},
                "due_at": run.due_at if kept or not run.step_state else now,
            }
        )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_enrollment e
            SET version_id = %s, step = r.step, step_state = r.state, due_at = r.due_at
            FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, step text, state jsonb, due_at timestamptz)
            WHERE e.id = r.id
            """,
            [to.pk, msgspec.json.encode(rows).decode()],
        )


def _keeper(new: Program) -> Callable[[Held], bool]:
    """Whether what a step noted about a run stays true in the new version: it is the same step, or one that says so.

    A step that failed is tried anew at once: the new version may be the cure.
    """
    same: dict[tuple[int, str], bool] = {}

    def keeps(run: Held) -> bool:
        if run.step_state.get("error"):
            return False
        known = same.get((run.version_id, run.step))
        if known is None:
            if not run.step:
                return True
            old = before(run.version_id).nodes.get(run.step)
            node = new.nodes[run.step].step
            kind = steps.registry.get(node.kind)
            known = old is not None and (
                (old.step.kind, old.step.config) == (node.kind, node.config)
                or (old.step.kind == node.kind and bool(kind and kind.keeps_state))
            )
            same[run.version_id, run.step] = known
        return known

    return keeps


def _end_by_events(
    staying: Sequence[Held],
    placed: Mapping[int, Place],
    flow: Flow,
    to: FlowVersion,
    new: Program,
    now: datetime,
) -> None:
    """End who did what ends a run by the new version, at some time since they entered."""
    if not new.definition.exit_on:
        return
    reasons = exits.found([(new.definition, [run.id for run in staying])], now)
    by_reason: dict[str, list[Held]] = defaultdict(list)
    for run in staying:
        if reason := reasons.get(run.id):
            run.step, run.version_id = placed[run.id].step, to.pk
            by_reason[reason].append(run)
    for reason, ended in by_reason.items():
        holding.end(ended, flow.slug, reason, now, {"event": reason})


jobs.register(FlowJob.Kind.MOVE, piece)
