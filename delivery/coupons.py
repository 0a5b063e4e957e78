"""Giving coupon codes: each code to one person, each person one code of a pool, however many workers give at once."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import alerts, log, pg
from delivery.models import CouponCode, CouponPool

CURSOR = "coupons"
CHUNK = 5_000  # codes stored by one statement
LONGEST = 100  # characters of a code
MOST = 1_000_000  # codes uploaded at once
MOST_MADE = 100_000
MOST_USED = 20  # codes in one event
# Without those that are mistaken for each other when they are typed.
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
SHORTEST_MADE = 8  # random characters: 10^12 codes, so that nobody guesses one

# A code that another worker is giving is left to it: waiting for it would end with one code too few.
_TAKE = """
    WITH wanted AS (
        SELECT profile_id, cause, row_number() OVER (ORDER BY profile_id) AS place
        FROM unnest(%(profiles)s::bigint[], %(causes)s::text[]) AS w(profile_id, cause)
    ), locked AS MATERIALIZED (
        SELECT id FROM delivery_couponcode WHERE pool_id = %(pool)s AND given_at IS NULL
        ORDER BY id LIMIT (SELECT count(*) FROM wanted) FOR UPDATE SKIP LOCKED
    ), free AS (SELECT id, row_number() OVER (ORDER BY id) AS place FROM locked)
    UPDATE delivery_couponcode c
    SET profile_id = w.profile_id, given_to = w.profile_id, cause = w.cause, given_at = %(now)s
    FROM free f JOIN wanted w USING (place) WHERE c.id = f.id
    RETURNING c.profile_id, c.code
"""
_NOTE = """
    INSERT INTO delivery_couponcode (pool_id, code, profile_id, given_to, cause, given_at)
    SELECT %(pool)s, '', profile_id, profile_id, cause, %(now)s
    FROM unnest(%(profiles)s::bigint[], %(causes)s::text[]) AS w(profile_id, cause) ORDER BY profile_id
    RETURNING profile_id, code
"""
_ADD = """
    INSERT INTO delivery_couponcode (pool_id, code) SELECT %s, c FROM unnest(%s::text[]) AS c
    ON CONFLICT DO NOTHING
"""
# A code that is used before it was given leaked from somewhere: nobody gets it any more.
_USED = """
    WITH used AS (
        SELECT pool_id, code, min(at) AS at
        FROM jsonb_to_recordset(%s::jsonb) AS r(pool_id bigint, code text, at timestamptz)
        GROUP BY pool_id, code
    )
    UPDATE delivery_couponcode c SET redeemed_at = u.at, given_at = coalesce(c.given_at, u.at)
    FROM used u WHERE c.pool_id = u.pool_id AND c.code = u.code AND c.redeemed_at IS NULL
"""
_USED_FIXED = """
    WITH used AS (
        SELECT pool_id, profile_id, min(at) AS at
        FROM jsonb_to_recordset(%s::jsonb) AS r(pool_id bigint, profile_id bigint, at timestamptz)
        GROUP BY pool_id, profile_id
    )
    UPDATE delivery_couponcode c SET redeemed_at = u.at
    FROM used u WHERE c.pool_id = u.pool_id AND c.profile_id = u.profile_id AND c.code = '' AND c.redeemed_at IS NULL
"""


class Added(msgspec.Struct):
    """What became of codes: stored, there already, or refused as (row from 1, why), the first hundred of them."""

    added: int = 0
    known: int = 0
    refused: int = 0
    reasons: list[tuple[int, str]] = []


class Level(msgspec.Struct):
    """How many codes of a pool are left, were given, and of these were used."""

    left: int
    given: int
    used: int


def give(pool: CouponPool, wanted: Sequence[tuple[int, str]], now: datetime | None = None) -> dict[int, str]:
    """Give each person a code of the pool, in the caller's transaction; codes by profile id.

    Whoever has one of this pool gets the same again. Whoever is left out got none: no code is left, or the pool has
    expired. Four statements at most, unless another worker gives to the same people at the same moment.

    Args:
        wanted: (profile id, cause): the cause is unique, such as "flow:<enrollment>:<step>"; of several for one
            person the first counts.
    """
    now = now or timezone.now()
    if not wanted:
        return {}
    if expired(pool, now):
        transaction.on_commit(lambda: watch(pool.pk, now))
        return {}
    first: dict[int, str] = {}
    for profile_id, cause in wanted:
        first.setdefault(profile_id, cause)
    for attempt in range(pg.TRIES):
        try:
            found = pg.retried(lambda: _give(pool, first, now))
            break
        except IntegrityError:
            if attempt == pg.TRIES - 1:
                raise
    if pool.kind == CouponPool.Kind.UNIQUE:
        transaction.on_commit(lambda: watch(pool.pk, now))
        return found
    return dict.fromkeys(found, pool.code)


def _give(pool: CouponPool, wanted: dict[int, str], now: datetime) -> dict[int, str]:
    """The codes of those who have one, and of those who get one now."""
    codes: dict[int, str] = {}
    held = CouponCode.objects.filter(pool=pool, profile_id__in=list(wanted)).order_by("-given_at", "-pk")
    codes.update(held.values_list("profile_id", "code"))
    others = sorted(wanted.keys() - codes.keys())
    if others:
        values: dict[str, Any] = {
            "pool": pool.pk,
            "profiles": others,
            "causes": [wanted[profile_id] for profile_id in others],
            "now": now,
        }
        with connection.cursor() as cursor:
            cursor.execute(_TAKE if pool.kind == CouponPool.Kind.UNIQUE else _NOTE, values)
            codes.update(cursor.fetchall())
    return codes


def expired(pool: CouponPool, now: datetime) -> bool:
    """Whether its codes are not valid any more."""
    return pool.expires_at is not None and pool.expires_at <= now


def held(pool: CouponPool, profile_ids: Iterable[int]) -> dict[int, str]:
    """The codes of this pool that these people have, by profile id."""
    found = CouponCode.objects.filter(pool=pool, profile_id__in=list(profile_ids))
    return {
        profile_id: code or pool.code
        for profile_id, code in found.order_by("-given_at", "-pk").values_list("profile_id", "code")
    }


def left(pool: CouponPool, limit: int | None = None) -> int:
    """How many codes can still be given; counted up to `limit`."""
    free = CouponCode.objects.filter(pool=pool, given_at=None)
    return free.count() if limit is None else len(free.values_list("pk")[:limit])


def levels(pools: Iterable[CouponPool]) -> dict[int, Level]:
    """The numbers of these pools, by id, in one query."""
    counted = (
        CouponCode.objects.filter(pool__in=list(pools))
        .values_list("pool_id")
        .annotate(
            left=Count("pk", filter=Q(given_at=None)),
            given=Count("pk", filter=Q(given_at__isnull=False)),
            used=Count("pk", filter=Q(redeemed_at__isnull=False)),
        )
    )
    return {pool_id: Level(*numbers) for pool_id, *numbers in counted}


def add(pool: CouponPool, codes: Iterable[str]) -> Added:
    """Store codes for the pool; blank ones are left out."""
    done = Added()
    rest = enumerate(codes, start=1)
    while rows := list(islice(rest, CHUNK)):
        good: dict[str, None] = {}
        known = 0
        for number, raw in rows:
            code = raw.strip()
            reason = _wrong(code) if code else ""
            if reason:
                done.refused += 1
                if len(done.reasons) < 100:
                    done.reasons.append((number, reason))
            elif code:
                known += code in good
                good[code] = None
        stored = _store(pool, list(good))
        done.added += stored
        done.known += known + len(good) - stored
    if done.added:
        watch(pool.pk)
    return done


def generate(pool: CouponPool, number: int, prefix: str = "", length: int = 10) -> int:
    """Make so many new codes; returns how many, as chance may meet codes that are there.

    Args:
        prefix: what every code begins with, such as "WELCOME-".
        length: random characters behind it.

    Raises:
        ValueError: too many, too few characters, or a prefix that no code can have.
    """
    if not 0 < number <= MOST_MADE:
        raise ValueError(_("Make between 1 and %d codes.") % MOST_MADE)
    if length < SHORTEST_MADE:
        raise ValueError(
            _("Take %d random characters at least, so that nobody guesses a code.") % SHORTEST_MADE
        )
    if reason := _wrong(prefix + "A" * length):
        raise ValueError(reason)
    made = 0
    for _try in range(3):
        for size in _pieces(number - made):
            made += _store(pool, [prefix + _random(length) for _code in range(size)])
        if made == number:
            break
    watch(pool.pk)
    return made


def _pieces(number: int) -> Iterator[int]:
    for start in range(0, number, CHUNK):
        yield min(CHUNK, number - start)


def _random(length: int) -> str:
    return "".join(
        ALPHABET[byte % len(ALPHABET)] for byte in secrets.token_bytes(length)
    )  # 32 of them: all alike


def _wrong(code: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in code):
        return _("It holds characters that can't be read; save the file as UTF-8.")
    if len(code) > LONGEST:
        return _("A code has %d characters at most.") % LONGEST
    if not code.isprintable() or any(character.isspace() for character in code):
        return _("A code holds no spaces and no control characters.")
    return ""


def _store(pool: CouponPool, codes: list[str]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [pool.pk, codes])
        return cursor.rowcount


def watch(pool_id: int, now: datetime | None = None) -> None:
    """Tell the operators when a pool is low, empty or expired, and take it back when it isn't any more."""
    pool = CouponPool.objects.filter(pk=pool_id).first()
    if pool is None:
        return
    key = alert_key(pool_id)
    if expired(pool, now or timezone.now()):
        alerts.raise_alert(
            key,
            f"The coupon codes of “{pool.name}” are not valid any more",
            "Somebody was to get one. Let them be valid for longer, or end the offer.",
        )
        return
    if pool.kind == CouponPool.Kind.FIXED:
        alerts.resolve(key)
        return
    rest = left(pool, max(1, pool.low_mark))
    if rest == 0:
        alerts.raise_alert(
            key,
            f"No coupon codes are left in “{pool.name}”",
            "Upload or make more; whoever is to get one waits or goes on without, as the flow says.",
        )
    elif rest < pool.low_mark:
        alerts.raise_alert(
            key, f"Few coupon codes are left in “{pool.name}”: {rest}", "Upload or make more in time."
        )
    else:
        alerts.resolve(key)


def alert_key(pool_id: int) -> str:
    """What alerts about a pool are kept under."""
    return f"coupons:{pool_id}"


def read(limit: int = 5000) -> bool:
    """Take the next events of the log that tell of used codes; whether more may be waiting."""
    pools: list[CouponPool] = []

    def names() -> set[str]:
        nonlocal pools
        pools = list(CouponPool.objects.all())
        return {pool.event_name for pool in pools}

    with log.read(CURSOR, limit, names) as batch:
        redeem(batch.events, pools)
        return batch.full


def redeem(events: Sequence[log.LoggedEvent], pools: Sequence[CouponPool]) -> None:
    """Note which codes these events tell of as used, in the caller's transaction: the first time counts.

    A code of a person's own counts whoever uses it; the same code for everybody for those who were given it.
    """
    own: list[dict[str, Any]] = []
    fixed: list[dict[str, Any]] = []
    for event in events:
        for pool in pools:
            if pool.event_name != event.name:
                continue
            found = event.properties.get(pool.event_property)
            told = found[:MOST_USED] if isinstance(found, list) else [found]
            for code in {code.strip() for code in told if isinstance(code, str)}:
                row = {
                    "pool_id": pool.pk,
                    "code": code,
                    "profile_id": event.profile_id,
                    "at": event.occurred_at,
                }
                if pool.kind == CouponPool.Kind.UNIQUE and code:
                    own.append(row)
                elif pool.kind == CouponPool.Kind.FIXED and code == pool.code:
                    fixed.append(row)
    with connection.cursor() as cursor:
        for statement, rows in ((_USED, own), (_USED_FIXED, fixed)):
            if rows:
                cursor.execute(statement, [msgspec.json.encode(rows).decode()])
