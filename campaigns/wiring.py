"""Connects the campaigns layer to what the layers below announce."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import merge_preview, merging, pg, unmerging

ENROLLMENTS, DECISIONS = "campaigns_enrollment", "campaigns_decision"
MEMBERSHIPS = "campaigns_segmentmembership"
COMING_IN = "campaigns_catchupperson"
CALLS, CRM_WRITES = "campaigns_webhookcall", "campaigns_crmwrite"
GONE = "gone"  # in what a merge writes down: {table: rows that went with the loser}


def connect() -> None:
    """Called once when Django is ready."""
    from campaigns.broadcasts import guards as broadcast_guards
    from campaigns.experiments import assigning
    from campaigns.flows import approval, crm_writes, steps, triggers
    from campaigns.flows import guards as flow_guards
    from campaigns.segments import attribute_use, usage, walks
    from crm import indexed_attributes, signals
    from crm.computed import usage as computed_usage
    from delivery import usage as delivery_usage
    from delivery import walking
    from delivery.policies.guards import register

    steps.load()
    crm_writes.connect()
    triggers.load()
    signals.events_recorded.connect(wake_engine, dispatch_uid="campaigns.wake_engine")
    signals.profiles_merging.connect(move_people, dispatch_uid="campaigns.move_people")
    merge_preview.register(count_people)
    signals.profiles_unmerging.connect(give_back_people, dispatch_uid="campaigns.give_back_people")
    signals.profiles_erased.connect(forget_people, dispatch_uid="campaigns.forget_people")
    approval.connect()
    assigning.connect()
    register(flow_guards.hold_back)
    register(broadcast_guards.hold_back)
    computed_usage.register(usage.computed_uses)
    delivery_usage.register(delivery_usage.MESSAGE, usage.message_uses)
    delivery_usage.register(delivery_usage.POOL, usage.pool_uses)
    indexed_attributes.register(attribute_use.used)
    walking.register("segment", walking.Source(walks.groups, walks.beside))


def wake_engine(names: set[str], **kwargs: object) -> None:
    """Something was stored in the log: let the engine look. Called after commit."""
    from campaigns.flows import engine
    from crm import wake

    wake.on_commit(engine.TASK, engine.QUEUE)


def move_people(pairs: list[tuple[int, int]], moved: dict[int, dict[str, Any]], **kwargs: object) -> None:
    """Re-point enrollments, decisions and memberships of merged profiles.

    Of equal ones the winner's stays, else the oldest; what stays with a loser is deleted with it, and its messages
    are not sent. Somebody who is inside an unkeyed flow twice by the merge goes on in the older run.
    """
    from campaigns.flows import exits
    from campaigns.flows.records import Run

    for table in (CALLS, CRM_WRITES):
        merging.repoint(table, pairs, moved)
    now = timezone.now()
    values: dict[str, Any] = {**merging.columns(pairs), "now": now}
    pairs_sql = "unnest(%(losers)s::bigint[], %(winners)s::bigint[]) AS m(loser, winner)"
    merging.repoint(COMING_IN, pairs, moved)
    with connection.cursor() as cursor:
        for table, same in ((ENROLLMENTS, ("flow_id", "run_key")), (MEMBERSHIPS, ("segment_id",))):
            equal = " AND ".join(f"o.{column} = t.{column}" for column in same)
            columns = ", ".join(f"t.{column}" for column in same)
            for loser, rows in _repointed(
                f"WITH moved AS (UPDATE {table} u SET profile_id = pick.winner FROM ("
                f" SELECT DISTINCT ON (m.winner, {columns}) t.id, m.winner, m.loser"
                f" FROM {pairs_sql} JOIN {table} t ON t.profile_id = m.loser"
                f" WHERE NOT EXISTS (SELECT FROM {table} o WHERE o.profile_id = m.winner AND {equal})"
                f" ORDER BY m.winner, {columns}, t.entered_at, t.id) pick WHERE u.id = pick.id"
                f" RETURNING pick.loser, u.id) SELECT loser, array_agg(id ORDER BY id) FROM moved GROUP BY loser",
                values,
            ):
                moved[loser].setdefault(merging.ROWS, {})[table] = rows
        cursor.execute(
            f"SELECT t.profile_id, '{ENROLLMENTS}', to_jsonb(t) || jsonb_build_object('decisions', ARRAY("
            f" SELECT d.id FROM campaigns_decision d WHERE d.enrollment_id = t.id))"
            f" FROM {ENROLLMENTS} t WHERE t.profile_id = ANY(%(losers)s)"
            f" UNION ALL SELECT t.profile_id, '{MEMBERSHIPS}', to_jsonb(t)"
            f" FROM {MEMBERSHIPS} t WHERE t.profile_id = ANY(%(losers)s)",
            values,
        )
        for loser, table, row in cursor.fetchall():
            moved[loser].setdefault(GONE, {}).setdefault(table, []).append(json.loads(row))
        # What stays with the loser goes with it; its decisions remain as the winner's history.
        cursor.execute(
            f"WITH moved AS (UPDATE {DECISIONS} d SET profile_id = m.winner,"
            f" enrollment_id = CASE WHEN e.profile_id = m.loser THEN NULL ELSE d.enrollment_id END FROM {pairs_sql},"
            f" {DECISIONS} o LEFT JOIN {ENROLLMENTS} e ON e.id = o.enrollment_id"
            f" WHERE o.id = d.id AND d.profile_id = m.loser RETURNING m.loser, d.id)"
            f" SELECT loser, array_agg(id ORDER BY id) FROM moved GROUP BY loser",
            values,
        )
        for loser, rows in cursor.fetchall():
            moved[loser].setdefault(merging.ROWS, {})[DECISIONS] = rows
        cursor.execute(
            """
            UPDATE campaigns_enrollment e
            SET state = 'exited', ended_at = %(now)s, due_at = NULL, reason = 'profile_merged'
            FROM (
                SELECT t.id, f.slug,
                    row_number() OVER (PARTITION BY t.profile_id, t.flow_id ORDER BY t.entered_at, t.id)
                FROM campaigns_enrollment t JOIN campaigns_flow f ON f.id = t.flow_id
                JOIN campaigns_flowversion v ON v.id = t.version_id
                WHERE t.profile_id = ANY(%(winners)s::bigint[]) AND t.state = 'active'
                  AND v.definition ->> 'key' IS NULL
            ) again
            WHERE e.id = again.id AND again.row_number > 1
            RETURNING e.id, e.flow_id, again.slug, e.version_id, e.profile_id, e.step, e.entered_at
            """,
            values,
        )
        ended = cursor.fetchall()
    exits.record(
        [
            Run(
                pk, flow_id, slug, version, profile, step, {}, {}, at, state="exited", reason="profile_merged"
            )
            for pk, flow_id, slug, version, profile, step, at in ended
        ],
        now,
    )


def _repointed(statement: str, values: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """What it returns. Who counts a new segment locks nobody and may store the winner meanwhile: then done again."""
    for attempt in range(pg.TRIES):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        except IntegrityError:
            if attempt == pg.TRIES - 1:
                raise
    raise AssertionError("unreachable")


def count_people(profile_ids: Sequence[int]) -> list[merge_preview.Line]:
    """For the preview of a merge: in how many flows and segments each of these profiles is."""
    from campaigns.models import Enrollment, SegmentMembership

    runs = Enrollment.objects.filter(profile_id__in=profile_ids)
    return [
        merge_preview.counted(_("Flows they are in"), runs.filter(state=Enrollment.State.ACTIVE)),
        merge_preview.counted(_("Flows they were in"), runs.exclude(state=Enrollment.State.ACTIVE)),
        merge_preview.counted(_("Segments"), SegmentMembership.objects.filter(profile_id__in=profile_ids)),
    ]


def give_back_people(loser: int, winner: int, moved: dict[str, Any], **kwargs: object) -> None:
    """Undo `move_people`. A run that ended by the merge stays ended; one that went comes back as ended, too."""
    rows, gone = moved.get(merging.ROWS, {}), moved.get(GONE, {})
    for table in (ENROLLMENTS, MEMBERSHIPS, DECISIONS, CALLS, CRM_WRITES):
        unmerging.give_back(table, rows, loser, winner)
    with connection.cursor() as cursor:
        if runs := gone.get(ENROLLMENTS):
            for run in runs:
                if run["state"] == "active":
                    run |= {
                        "state": "exited",
                        "ended_at": timezone.now().isoformat(),
                        "due_at": None,
                        "reason": "profile_merged",
                    }
            columns = ", ".join(name for name in runs[0] if name != "decisions")
            cursor.execute(
                f"INSERT INTO {ENROLLMENTS} ({columns}) SELECT {columns}"
                f" FROM jsonb_populate_recordset(NULL::{ENROLLMENTS}, %s::jsonb) AS r"
                f" WHERE EXISTS (SELECT FROM campaigns_flowversion v WHERE v.id = r.version_id)",
                [json.dumps(runs)],
            )
            cursor.execute(
                f"UPDATE {DECISIONS} d SET enrollment_id = e.id"
                f" FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, decisions bigint[])"
                f" JOIN {ENROLLMENTS} e ON e.id = r.id WHERE d.id = ANY(r.decisions) AND d.profile_id = %s",
                [json.dumps(runs), loser],
            )
        if members := gone.get(MEMBERSHIPS):
            columns = ", ".join(members[0])
            # A segment that is being deleted just now is waited for.
            cursor.execute(
                f"WITH present AS MATERIALIZED (SELECT id FROM campaigns_segment WHERE id = ANY(%s)"
                f" ORDER BY id FOR KEY SHARE) INSERT INTO {MEMBERSHIPS} ({columns}) SELECT {columns}"
                f" FROM jsonb_populate_recordset(NULL::{MEMBERSHIPS}, %s::jsonb) AS r"
                f" WHERE r.segment_id IN (SELECT id FROM present) ON CONFLICT DO NOTHING",
                [[row["segment_id"] for row in members], json.dumps(members)],
            )


def _forget_calls(profile_ids: list[int], now: datetime) -> None:
    """Tell other systems nothing more about these people, and drop what they were told and answered."""
    from campaigns.models import CrmWrite, WebhookCall

    calls = WebhookCall.objects.filter(profile_id__in=profile_ids)
    calls.filter(due_at__isnull=False).update(state=WebhookCall.State.FAILED, due_at=None, finished_at=now)
    calls.update(body="", headers={}, reply=None, error="")
    writes = CrmWrite.objects.filter(profile_id__in=profile_ids)
    writes.filter(due_at__isnull=False).update(state=CrmWrite.State.NOBODY, due_at=None, finished_at=now)
    writes.update(wanted={}, error="")


def forget_people(profile_ids: list[int], **kwargs: object) -> None:
    """End the runs of erased people and drop the facts that decided about them; the counts of a flow stay."""
    from campaigns.flows import exits
    from campaigns.flows.records import Run
    from campaigns.models import CatchUpPerson, FlowMoment, SegmentMembership
    from campaigns.segments import exporting
    from crm.models import ProfileMerge

    now = timezone.now()
    # Before the runs: whoever stores an answer holds the call and then its run.
    _forget_calls(profile_ids, now)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE campaigns_enrollment e
            SET state = 'exited', ended_at = %s, due_at = NULL, reason = 'profile_erased'
            FROM campaigns_flow f
            WHERE f.id = e.flow_id AND e.profile_id = ANY(%s) AND e.state = 'active'
            RETURNING e.id, e.flow_id, f.slug, e.version_id, e.profile_id, e.step, e.entered_at
            """,
            [now, profile_ids],
        )
        ended = cursor.fetchall()
        cursor.execute(
            """
            UPDATE campaigns_enrollment SET context = '{}', step_state = '{}', run_key = 'erased:' || id
            WHERE profile_id = ANY(%s)
            """,
            [profile_ids],
        )
        cursor.execute(
            """
            UPDATE campaigns_decision SET detail = jsonb_strip_nulls(jsonb_build_object(
                'branch', detail -> 'branch', 'branch_name', detail -> 'branch_name', 'event', detail -> 'event'))
            WHERE profile_id = ANY(%s)
            """,
            [profile_ids],
        )
    for model in (SegmentMembership, CatchUpPerson, FlowMoment):
        model._default_manager.filter(profile_id__in=profile_ids).delete()
    # Behind the memberships, whose locks an export's piece holds. A file may be older than a merge.
    merged = ProfileMerge.objects.filter(winner_id__in=profile_ids).values_list("loser_id", flat=True)
    exporting.forget_people([*profile_ids, *merged])
    exits.record(
        [
            Run(
                pk, flow_id, slug, version, profile, step, {}, {}, at, state="exited", reason="profile_erased"
            )
            for pk, flow_id, slug, version, profile, step, at in ended
        ],
        now,
    )
