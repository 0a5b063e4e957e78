"""What a segment asked before, and what another rule would change."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from campaigns.models import Segment, SegmentSize, SegmentVersion
from campaigns.segments import compiler, editing, grammar, telling
from campaigns.segments.limits import TooSlow, fetch
from crm import masking
from crm.rules.errors import RuleError
from crm.rules.sql import sql

TIMEOUT_MS = 3_000
MOST = 100  # versions shown
MOST_COMPARED = 50_000  # pairs of words of two versions; the time to find what differs grows with them


class Piece(NamedTuple):
    """Some words of a sentence: `kept`, `added` since the version before, or `removed` from it."""

    kind: str
    text: str


class Shown(NamedTuple):
    """One version: its rule in words with what differs from the one before, and the people in it at its end.

    `problem` says why a rule can't be read any more. `until` and `size` of the present one are None.
    """

    version: SegmentVersion
    pieces: list[Piece]
    problem: str = ""
    until: datetime | None = None
    size: int | None = None
    current: bool = False


class Effect(NamedTuple):
    """Who would come in and who would drop out by another rule, and how many would be in."""

    entering: int
    leaving: int
    size: int


def history(segment: Segment) -> list[Shown]:
    """The newest MOST versions, the present one first; two statements."""
    stored = list(SegmentVersion.objects.filter(segment=segment).order_by("-number")[:MOST])
    sizes = list(SegmentSize.objects.filter(segment=segment).order_by("-hour").values_list("hour", "size"))
    found = []
    for place, version in enumerate(stored):
        later = stored[place - 1] if place else None
        earlier = stored[place + 1] if place + 1 < len(stored) else None
        text, problem = _words(version.rule)
        before, _problem = _words(earlier.rule) if earlier else (text, "")
        until = later.at if later else None
        size = next((size for hour, size in sizes if until is not None and hour < until), None)
        found.append(
            Shown(
                version,
                list(_difference(before, text)),
                problem,
                until,
                size,
                current=version.number == segment.version,
            )
        )
    return found


def _words(rule: Any) -> tuple[str, str]:
    """A rule as a sentence, or as JSON with what is wrong with it."""
    try:
        return telling.told(rule), ""
    except RuleError as error:
        return json.dumps(masking.contact("data", rule), ensure_ascii=False), str(error)


def _difference(before: str, after: str) -> Iterator[Piece]:
    """The words of `after`, with those that are new and those that were there before marked.

    Of long texts all that stands between the first and the last difference is taken for changed.
    """
    old, new = (re.findall(r"\s*\S+", text) for text in (before, after))
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    removed, added = (words[first : len(words) - last] for words in (old, new))
    if new[:first]:
        yield Piece("kept", "".join(new[:first]))
    if len(removed) * len(added) > MOST_COMPARED:
        yield from _replaced("".join(removed), "".join(added))
    else:
        yield from _compared(removed, added)
    if last:
        yield Piece("kept", "".join(new[-last:]))


def _alike(old: list[str], new: list[str]) -> int:
    """With how many equal words both begin."""
    pairs = zip(old, new, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(old), len(new)))


def _compared(old: list[str], new: list[str]) -> Iterator[Piece]:
    for operation, start, end, first, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if operation == "equal":
            yield Piece("kept", "".join(new[first:last]))
        else:
            yield from _replaced("".join(old[start:end]), "".join(new[first:last]))


def _replaced(removed: str, added: str) -> Iterator[Piece]:
    if removed[:1] == added[:1] == " ":  # the space before both is no difference
        yield Piece("kept", " ")
        removed, added = removed[1:], added[1:]
    if removed:
        yield Piece("removed", removed)
    if added:
        yield Piece("added", added)


def effect(
    segment: Segment, rule: Any, now: datetime | None = None, timeout_ms: int = TIMEOUT_MS
) -> Effect | None:
    """What a rule would change about who is in; None when counting takes too long. One statement, nothing is written.

    Raises:
        RuleError: the rule is wrong.
    """
    parsed = grammar.parse(rule)
    statement = sql(
        "WITH found AS MATERIALIZED ({}), members AS MATERIALIZED ("
        "SELECT profile_id AS id FROM campaigns_segmentmembership WHERE segment_id = {})"
        " SELECT (SELECT count(*) FROM (SELECT id FROM found EXCEPT SELECT id FROM members) AS entering),"
        " (SELECT count(*) FROM (SELECT id FROM members EXCEPT SELECT id FROM found) AS leaving),"
        " (SELECT count(*) FROM found)",
        compiler.ids(parsed, compiler.query(parsed, now)),
        segment.pk,
    )
    try:
        [row] = fetch(statement, timeout_ms)
    except TooSlow:
        return None
    return Effect(*row)


def restore(version: SegmentVersion, by: str = "", now: datetime | None = None) -> Segment:
    """Ask again what an older version asked, as a new version.

    Raises:
        RuleError: what it refers to is gone, or would lead back to the segment.
    """
    return editing.save(version.segment, version.rule, by, now, restored=version.number)
