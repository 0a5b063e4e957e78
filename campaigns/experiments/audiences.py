"""Whom each arm of an experiment on audiences addresses: all of the broadcast's people, or those in a segment."""

from collections.abc import Mapping
from datetime import datetime

from django.db import DataError, connection, transaction

from campaigns.models import Experiment, Segment
from campaigns.segments import compiler
from crm.rules.errors import RuleError


class UnknownAudienceError(ValueError):
    """A segment that an arm names is gone, or has a mistake in its rule."""


def outside(experiment: Experiment, arms: Mapping[int, str], now: datetime) -> set[int]:
    """Those of the people, given with their arms, who are not in the segment of their arm.

    One query for all segments and one for each that an arm narrows to.

    Raises:
        UnknownAudienceError: a segment can't be asked.
    """
    narrowed = {each["key"]: each["segment"] for each in experiment.arms if each.get("segment")}
    segments = {each.slug: each for each in Segment.objects.filter(slug__in=narrowed.values())}
    found: set[int] = set()
    for key, slug in narrowed.items():
        people = {pk for pk, arm in arms.items() if arm == key}
        if people:
            found |= people - _within(segments.get(slug), slug, people, now)
    return found


def _within(segment: Segment | None, slug: str, people: set[int], now: datetime) -> set[int]:
    if segment is None:
        raise UnknownAudienceError(f"There is no segment {slug} any more")
    try:
        rule = compiler.rule_of(segment)
        asked = compiler.ids(rule, compiler.query(rule, now, sorted(people), live=True))
    except RuleError as error:
        raise UnknownAudienceError(f"The segment {slug} has a mistake in its rule") from error
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(asked.text, asked.params)
            return {row[0] for row in cursor.fetchall()} & people
    except DataError as error:
        raise UnknownAudienceError(f"The segment {slug} can't be asked") from error
