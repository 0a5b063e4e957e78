"""Measures segments in the database of NUDGE_DATA; see benchmarks/segments.py. Prints JSON."""

import json
import os
import random
import statistics
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db import connection  # noqa: E402

from benchmarks import segments_sending  # noqa: E402
from benchmarks.segments_data import EVENTS, NAMES, PROFILES, fill, tell  # noqa: E402
from benchmarks.segments_rules import QUESTIONS, fifty  # noqa: E402
from campaigns.models import Segment, SegmentMembership  # noqa: E402
from campaigns.segments import compiler, editing, evaluate, grammar, keeping, refresh  # noqa: E402
from campaigns.segments.limits import limits  # noqa: E402
from crm import indexed_attributes, log  # noqa: E402
from crm.models import Event, IndexedAttribute, Profile  # noqa: E402

ROUNDS = 5
CHANGED = 10_000
LONGEST_MS = 600_000
_BY_COLUMN = """SELECT id FROM crm_profile WHERE country = 'PL' AND {column} = '"gold"'"""
Measured = list[tuple[str, float, float]]


def main(origin: str) -> None:
    """Fill, measure, print."""
    began = datetime.now(UTC)
    fill(began)
    # Windows end where the events do, also in a database that was filled by an earlier run.
    filled = (
        Event.objects.filter(source="bench").order_by("-occurred_at").values_list("occurred_at", flat=True)[0]
    )
    found: dict[str, Any] = {"profiles": PROFILES, "events": EVENTS, "changed": CHANGED}
    _forget_indexes()  # of an earlier run that was ended
    found["questions"] = _questions(filled) + _indexed(filled)
    found |= _previews(filled)
    found |= _refreshes(filled)
    found |= _incremental()
    found |= segments_sending.measured(origin)
    print(json.dumps(found))


def _questions(now: datetime) -> Measured:
    found = []
    for question in QUESTIONS:
        ours = compiler.compile(grammar.parse(question.rule), now)
        found.append((question.name, *_beside(ours, (question.by_hand, {"now": now}))))
        tell("{}: {:.0f} ms beside {:.0f} ms".format(*found[-1]))
    return found


def _beside(ours: tuple[str, Any], by_hand: tuple[str, Any]) -> tuple[float, float]:
    """Milliseconds of both, counted in turns after a first round, once they are known to find the same people."""
    if _first(f"SELECT count(*) FROM (({ours[0]}) EXCEPT ({_named(by_hand)})) AS more", ours[1]):
        raise RuntimeError("We find people whom the hand-written SQL does not.")
    sizes = {_first(f"SELECT count(*) FROM ({text}) AS found", params) for text, params in (ours, by_hand)}
    if len(sizes) > 1:
        raise RuntimeError(f"We and the hand-written SQL find different people: {sizes}")
    taken: tuple[list[float], list[float]] = ([], [])
    for _round in range(ROUNDS):
        for (text, params), times in zip((ours, by_hand), taken, strict=True):
            began = time.perf_counter()
            _first(f"SELECT count(*) FROM ({text}) AS found", params)
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _named(by_hand: tuple[str, Any]) -> str:
    """Hand-written SQL with its moment put in, to stand beside positional parameters."""
    text, values = by_hand
    return text.replace("%(now)s", f"timestamptz '{values['now'].isoformat()}'") if values else text


def _first(statement: str, params: Any) -> Any:
    with limits(LONGEST_MS), connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone()[0]


def _indexed(now: datetime) -> Measured:
    """S1 once more after one click, beside the same index used by hand; afterwards without it, as it was."""
    indexed_attributes.create("plan")
    began = time.perf_counter()
    while indexed_attributes.work():
        pass
    tell(f"attribute indexed in {time.perf_counter() - began:.0f} s")
    ours = compiler.compile(grammar.parse(QUESTIONS[0].rule), now)
    by_hand = _BY_COLUMN.format(column=IndexedAttribute.objects.get(path="plan").column)
    found = [("S1 with the attribute indexed", *_beside(ours, (by_hand, None)))]
    tell("{}: {:.1f} ms beside {:.1f} ms".format(*found[0]))
    _forget_indexes()
    return found


def _forget_indexes() -> None:
    for attribute in IndexedAttribute.objects.all():
        indexed_attributes.remove(attribute)
    indexed_attributes.work(now=datetime.now(UTC) + 2 * indexed_attributes.GRACE)


def _previews(now: datetime) -> dict[str, float]:
    """The slowest of all questions, as the builder asks: with what each condition holds for and leaves."""
    slowest = {}
    for name, quick in (("quick_ms", True), ("exact_ms", False)):
        taken = []
        for question in QUESTIONS:
            rule, times = grammar.parse(question.rule), []
            for _round in range(ROUNDS):
                began = time.perf_counter()
                evaluate.preview(rule, now, with_counts=True, quick=quick)
                times.append((time.perf_counter() - began) * 1000)
            taken.append(statistics.median(times))
        slowest[name] = max(taken)
        tell(f"previews, {name}: {', '.join(f'{value:.0f}' for value in taken)}")
    return slowest


def _refreshes(now: datetime) -> dict[str, float]:
    Segment.objects.all().delete()
    for number, (name, rule) in enumerate(fifty()):
        editing.save(Segment(slug=f"s{number}", name=name), rule)
    first = _counted("for the first time", now)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) campaigns_segmentmembership")
    return {"first_s": first, "again_s": _counted("anew", now + timedelta(minutes=1))}


def _counted(how: str, now: datetime) -> float:
    began = time.perf_counter()
    done = refresh.refresh_all(now, everything=True)
    took = time.perf_counter() - began
    if len(done) < 50 or any(one.error for one in done.values()):
        raise RuntimeError(
            str({slug: one.error for slug, one in done.items() if one.error}) + f" {len(done)} done"
        )
    tell(f"50 segments counted {how} in {took:.1f} s, {SegmentMembership.objects.count():,} members")
    return took


def _incremental() -> dict[str, float]:
    """Half of the people do something, half are changed; then everybody's memberships are brought up to date."""
    while keeping.keep(seconds=60).more:
        pass
    chance, ids = random.Random(5), list(Profile.objects.order_by("pk").values_list("pk", flat=True))
    chosen = chance.sample(ids, min(CHANGED, len(ids) // 2))
    half = len(chosen) // 2
    properties = {"category": "c3", "amount": 60, "product": "p1", "message": "m1", "channel": "webpush"}
    log.append(
        [
            log.NewEvent(
                uuid.uuid4(), pk, NAMES[int(20 * chance.random() ** 1.6)], datetime.now(UTC), properties, "x"
            )
            for pk in chosen[:half]
        ]
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE crm_profile SET attributes = attributes || '{"plan": "gold"}', country = 'PL',"""
            " last_seen = now() WHERE id = ANY(%s)",
            [chosen[half:]],
        )
    began, moves = time.perf_counter(), 0
    more = True
    while more:
        kept = keeping.keep(seconds=60)
        moves += sum(kept.entered.values()) + sum(kept.left.values())
        more = kept.more or log.lag(keeping.CURSOR) > 0
    took = time.perf_counter() - began
    tell(f"50 segments after changes of {len(chosen):,} people in {took:.2f} s, {moves:,} moves")
    return {"kept_s": took}


if __name__ == "__main__":
    main(sys.argv[1])
