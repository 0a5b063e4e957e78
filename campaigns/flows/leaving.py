"""What events do to runs: they reach its goal, or end it early; whichever stands first in the log counts.

One statement for all flows that a batch of events concerns.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import connection

from campaigns.flows import asking, exits, goals
from campaigns.flows.definition import Definition
from campaigns.flows.records import DecisionRow, Run, event, write_decisions
from crm import log

# A run counts for the goal whatever became of it, so that what was held out can be compared, and the first event
# counts. Locked first and looked at then: the engine may end a run at this instant, and it ends once.
_LEAVE = """
    WITH given AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(%(events)s::jsonb) AS r(place int, version_id bigint, run_id bigint,
            profile_id bigint, run_key text, at timestamptz, event_id text, name text, days float, goal bool, ends bool,
            value numeric)
    ), x AS MATERIALIZED (
        SELECT id, version_id, profile_id, run_key, state, converted_at, context, entered_at
        FROM campaigns_enrollment
        WHERE profile_id = ANY(ARRAY(SELECT DISTINCT profile_id FROM given)) AND version_id = ANY(%(versions)s)
          AND (state = 'active' OR converted_at IS NULL AND version_id = ANY(%(with_goal)s))
        ORDER BY id FOR NO KEY UPDATE
    ), fitting AS MATERIALIZED (
        SELECT x.id, x.state = 'active' AS inside, x.converted_at IS NULL AS open, r.*
        FROM given r JOIN x ON x.profile_id = r.profile_id AND x.version_id = r.version_id
        WHERE (r.run_key IS NULL OR x.run_key = r.run_key) AND (r.run_id IS NULL OR x.id = r.run_id)
          AND coalesce((x.context -> 'event' ->> 'occurred_at')::timestamptz, x.entered_at) <= r.at
          AND (r.days IS NULL OR r.at <= x.entered_at + r.days * interval '1 day')
          AND x.context -> 'event' ->> 'id' IS DISTINCT FROM r.event_id
    ), reached AS (
        SELECT DISTINCT ON (id) id, place, at, event_id, name, value FROM fitting WHERE goal AND open
        ORDER BY id, place
    ), gone AS (
        SELECT DISTINCT ON (id) id, place, CASE WHEN goal THEN %(goal)s ELSE name END AS reason FROM fitting
        WHERE inside AND ends AND (open OR NOT goal) ORDER BY id, place, goal DESC
    ), hit AS (
        SELECT id, r.place AS reached_at, r.at, r.event_id, r.name, r.value, g.place AS left_at, g.reason
        FROM reached r FULL JOIN gone g USING (id)
    )
    UPDATE campaigns_enrollment e SET
        converted_at = CASE WHEN reached_at IS NULL THEN e.converted_at ELSE hit.at END,
        goal_value = CASE WHEN reached_at IS NULL THEN e.goal_value ELSE hit.value END,
        state = CASE WHEN left_at IS NULL THEN e.state ELSE 'exited' END,
        ended_at = CASE WHEN left_at IS NULL THEN e.ended_at ELSE %(now)s END,
        due_at = CASE WHEN left_at IS NULL THEN e.due_at END,
        reason = CASE WHEN left_at IS NULL THEN e.reason ELSE hit.reason END
    FROM hit WHERE e.id = hit.id
    RETURNING e.id, e.version_id, e.profile_id, e.step, reached_at, hit.name, hit.event_id, hit.value, left_at,
        hit.reason
"""

# Person by person and name by name, so that no plan walks through what others did.
_BEFORE = """
    SELECT a.number, v.id, v.seq, v.txid, v.profile_id, v.name, v.occurred_at, v.received_at, v.properties::text
    FROM jsonb_to_recordset(%s::jsonb) AS a(number int, run_id bigint, name text, txid bigint, seq bigint)
    JOIN campaigns_enrollment x ON x.id = a.run_id
    CROSS JOIN LATERAL (
        SELECT * FROM crm_event e WHERE e.profile_id = x.profile_id AND e.name = a.name
            AND e.occurred_at >= coalesce((x.context -> 'event' ->> 'occurred_at')::timestamptz, x.entered_at)
            AND (e.txid, e.seq) < (a.txid, a.seq) OFFSET 0
    ) v
"""


class Party(NamedTuple):
    """The runs of a version: all of them, or the one whose number is given; and who they belong to."""

    flow_id: int
    flow: str
    version_id: int
    definition: Definition
    run_id: int | None = None

    @property
    def names(self) -> set[str]:
        """The events that matter to them."""
        goal = self.definition.goal
        return {each.name for each in self.definition.exit_on} | ({goal.name} if goal else set())


class Came(NamedTuple):
    """Events that came for some runs: those that reach the goal and those that end them, both in order."""

    party: Party
    reaching: Sequence[log.LoggedEvent]
    ending: Sequence[log.LoggedEvent]


class Started(NamedTuple):
    """A run that just started, and where what started it stands in the log (None: nowhere)."""

    party: Party
    run: Run
    place: log.Position | None


def questions(
    definition: Definition, events: Sequence[log.LoggedEvent], now: datetime
) -> list[asking.Question]:
    """Which of `events` reach a version's goal, and which are each of its exit events. Raises RuleError."""
    goal = [exits.asks(definition.goal, events, now) if definition.goal else asking.Question()]
    return goal + [exits.asks(trigger, events, now) for trigger in definition.exit_on]


def came(party: Party, answers: Sequence[Sequence[log.LoggedEvent]]) -> Came:
    """What was asked by `questions`, with the answers."""
    reaching, *ending = answers
    return Came(party, reaching, asking.in_order(event_ for found in ending for event_ in found))


def leave(all_: Sequence[Came], now: datetime) -> None:
    """Mark runs whose goal is reached, and end those started before by another event, each by the first that does.

    A keyed run's goal is reached, and it is ended, by an event of its own key or by one that bears no key at all. An
    event that is both reaches the goal.
    """
    rows = _rows(all_)
    if not rows:
        return
    parties = {each.party.version_id: each.party for each in all_}
    values: dict[str, Any] = {
        "events": msgspec.json.encode(rows).decode(),
        "versions": list(parties),
        "with_goal": [number for number, party in parties.items() if party.definition.goal],
        "goal": exits.GOAL,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LEAVE, values)
        found = cursor.fetchall()
    decisions, ended = [], []
    for run_id, version_id, profile_id, step, reached_at, name, event_id, amount, left_at, reason in found:
        party = parties[version_id]
        run = Run(run_id, party.flow_id, party.flow, version_id, profile_id, step, {}, {}, now)
        told = []
        if reached_at is not None:
            facts = {
                "event": name,
                "event_id": event_id,
                **({} if amount is None else {"value": float(amount)}),
            }
            told.append((reached_at, "converted", facts))
        if left_at is not None:
            run.state, run.reason = "exited", reason
            by_goal = left_at == reached_at and reason == exits.GOAL
            told.append((left_at, "exited", {"reason" if by_goal else "event": reason}))
            ended.append(run)
        decisions += [
            DecisionRow(run_id, party.flow_id, profile_id, step, kind, facts, now)
            for _place, kind, facts in sorted(told, key=lambda each: each[0])
        ]
    write_decisions(decisions)
    log.append([event("exited", run, now) for run in ended])


def _rows(all_: Sequence[Came]) -> list[dict[str, Any]]:
    events = asking.in_order(each for came_ in all_ for each in [*came_.reaching, *came_.ending])
    places = {(each.txid, each.seq): place for place, each in enumerate(events)}
    rows = []
    for party, reaching, ending in all_:
        definition, goal = party.definition, party.definition.goal
        for is_goal, some in ((True, reaching), (False, ending)):
            for each in some:
                rows.append(
                    {
                        "place": places[each.txid, each.seq],
                        "version_id": party.version_id,
                        "run_id": party.run_id,
                        "profile_id": each.profile_id,
                        "run_key": exits.run_key(definition, each.properties),
                        "at": each.occurred_at,
                        "event_id": str(each.id),
                        "name": each.name,
                        "days": goal.within_days if goal and is_goal else None,
                        "goal": is_goal,
                        "ends": goal.exit if goal and is_goal else True,
                        "value": goals.value(goal.value, each.properties) if goal and is_goal else None,
                    }
                )
    return rows


def leave_late(all_: Sequence[Started], now: datetime) -> None:
    """Mark and end runs, just started, by events that had been read before: what started them came late."""
    rows = [
        {
            "number": number,
            "run_id": run.id,
            "name": name,
            "txid": place.txid if place else 2**62,
            "seq": place.seq if place else 0,
        }
        for number, (party, run, place) in enumerate(all_)
        for name in sorted(party.names)
    ]
    if not rows:
        return
    events: dict[int, list[log.LoggedEvent]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_BEFORE, [msgspec.json.encode(rows).decode()])
        for number, pk, seq, txid, profile_id, name, at, received_at, facts in cursor.fetchall():
            properties = msgspec.json.decode(facts)
            events.setdefault(number, []).append(
                log.LoggedEvent(pk, seq, txid, profile_id, name, at, received_at, properties, source="")
            )
    if not events:
        return
    asked = [questions(all_[number].party.definition, some, now) for number, some in events.items()]
    leave(
        [
            came(all_[number].party._replace(run_id=all_[number].run.id), answers)
            for number, answers in zip(events, asking.meant_each(asked), strict=True)
        ],
        now,
    )
