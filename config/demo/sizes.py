"""How large the demo's segments were in the month that the shop has lived through, as their own rules tell."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from campaigns.models import Segment, SegmentSize
from campaigns.segments import compiler, grammar
from config.demo.history import DAYS


@transaction.atomic
def create(now: datetime) -> int:
    """Write a size for each past day of each segment whose past can still be asked; return how many were written."""
    days = [
        (now - timedelta(days=day)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        for day in range(DAYS, 0, -1)
    ]
    rows = [
        row
        for segment in Segment.objects.filter(kind=Segment.Kind.RULE)
        if replays(segment.rule)
        for row in _past(segment, days)
    ]
    SegmentSize.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def replays(rule: dict[str, Any]) -> bool:
    """Whether a rule tells who was in it on a past day: it asks only for what was dated, in windows that end then."""
    if "not" in rule:
        return replays(rule["not"])
    for mode in ("all", "any"):
        if mode in rule:
            return bool(rule[mode]) and all(replays(item) for item in rule[mode])
    if rule["kind"] == "attribute":
        return rule["field"] == "first_seen" and rule["op"] == "within_last"
    return rule["kind"] == "event" and "last" in rule.get("within", {}) and "not_followed_by" not in rule


def _past(segment: Segment, days: list[datetime]) -> list[SegmentSize]:
    rule = grammar.parse(segment.rule)
    rows: list[SegmentSize] = []
    before: set[int] = set()
    for day in days:
        with connection.cursor() as cursor:
            cursor.execute(*compiler.compile(rule, day))
            members = {number for (number,) in cursor.fetchall()}
        known = bool(rows)
        rows.append(
            SegmentSize(
                segment=segment,
                hour=day,
                size=len(members),
                entered=len(members - before) if known else 0,
                departed=len(before - members) if known else 0,
            )
        )
        before = members
    return rows
