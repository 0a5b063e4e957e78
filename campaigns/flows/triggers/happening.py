"""What triggers share that start by an event of the log, narrowed by conditions on its properties."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from django.db import connection

from campaigns.flows import asking
from campaigns.flows.asking import narrowed
from campaigns.flows.triggers.base import Start, TriggerKind
from campaigns.segments import grammar
from campaigns.segments.memberships import ENTERED, LEFT, RULE
from crm import log
from crm.rules.errors import Problem, RuleError
from crm.rules.sql import TRUE, Sql, joined, sql

PAGE = 10_000  # events read at once for `moments`
SEGMENT_EVENTS = frozenset({ENTERED, LEFT})


def by_rule(name: str, facts: dict[str, Any]) -> bool:
    """Whether somebody is in a segment or out of it only because a person has changed what it asks."""
    return name in SEGMENT_EVENTS and facts.get("cause") == RULE


class Happening(TriggerKind):
    """A trigger that starts by events of one name. Kinds say which, and by which properties."""

    def event(self, config: Any) -> str:
        """The event's name."""
        raise NotImplementedError(self.kind)

    def where(self, config: Any) -> list[dict[str, Any]]:
        """Conditions on its properties, as segments have them."""
        return []

    def more(self, config: Any, now: datetime) -> Sql:
        """What else has to hold of the event `e`."""
        return TRUE

    def names(self, config):
        return frozenset({self.event(config)})

    def asks(self, config, events, now):
        name = self.event(config)
        named = [event for event in events if event.name == name and not by_rule(name, event.properties)]
        return asking.Question(named, self._narrowed(config, now) if named else TRUE)

    def moments(self, config, since, until, limit=None, after=None):
        found = self._history(config, since, until, after)
        return islice(found, limit)

    def _history(self, config: Any, since: datetime, until: datetime, after: int | None) -> Iterator[Start]:
        at, profile_id, seq = since, 2**62 if after is None else after, 2**62
        while True:
            query = sql(
                "SELECT e.id, e.profile_id, e.occurred_at, e.properties::text, e.seq FROM crm_event e"
                " WHERE (e.occurred_at, e.profile_id, e.seq) > ({}, {}, {}) AND e.occurred_at <= {} AND {}"
                " ORDER BY e.occurred_at, e.profile_id, e.seq LIMIT {}",
                *(at, profile_id, seq, until, self._meant(config, until), PAGE),
            )
            with connection.cursor() as cursor:
                cursor.execute(query.text, query.params)
                rows = cursor.fetchall()
            for event_id, profile_id, at, facts, seq in rows:  # noqa: B007
                known = _context(event_id, self.event(config), at, msgspec.json.decode(facts))
                yield Start(profile_id, at, known, event_id)
            if len(rows) < PAGE:
                return

    def qualifying(self, config, days, now):
        return sql(
            "SELECT e.profile_id, e.id AS event_id, e.occurred_at AS at FROM crm_event e"
            " WHERE e.occurred_at > {}::timestamptz AND e.occurred_at <= {}::timestamptz AND {}",
            *(now - timedelta(days=days), now, self._meant(config, now)),
        )

    def _meant(self, config: Any, now: datetime) -> Sql:
        name = self.event(config)
        parts = [sql("e.name = {}", name), self._narrowed(config, now)]
        if name in SEGMENT_EVENTS:
            parts.append(sql("e.properties ->> 'cause' IS DISTINCT FROM {}", RULE))
        return joined(" AND ", parts)

    def _narrowed(self, config: Any, now: datetime) -> Sql:
        where, more = self.where(config), self.more(config, now)
        parts = [narrowed(where, "e.properties", now)] if where else []
        parts += [] if more == TRUE else [more]
        return joined(" AND ", parts) if parts else TRUE

    def config_problems(self, config):
        rule: dict[str, Any] = {"kind": "event", "name": self.event(config)}
        try:
            grammar.parse(rule | ({"where": self.where(config)} if self.where(config) else {}))
        except RuleError as error:
            return [Problem(path, text) for path, text in error.problems]
        return []


def context(event: log.LoggedEvent) -> dict[str, Any]:
    """What a run knows of the event that started it."""
    return _context(event.id, event.name, event.occurred_at, event.properties)


def _context(event_id: Any, name: str, at: datetime, facts: dict[str, Any]) -> dict[str, Any]:
    return {"event": {"id": str(event_id), "name": name, "occurred_at": at.isoformat(), "properties": facts}}
