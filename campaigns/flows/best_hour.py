"""The hour of the day at which somebody is likeliest to look: their own history, steadied by everybody's.

A person's 24 hours are weighed by what they did in the last 90 days by their own clock. A few events must not decide
alone, so as many as STEADYING events are added that are spread as the account's are (a Dirichlet prior,
https://en.wikipedia.org/wiki/Additive_smoothing): who has done little gets about the account's hour, who has done
much their own.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from django.core.cache import cache
from django.db import connection

from campaigns.flows import local
from campaigns.segments import sampling
from campaigns.segments.limits import TooSlow

EVENTS = ("message_opened", "message_clicked", "purchase", "page_viewed", "product_viewed")
DAYS = 90
STEADYING = 10.0  # events
ACCOUNT_KEPT = 6 * 3600  # seconds
ACCOUNT_MS = 5_000
HOURS = range(24)
PERSON, ACCOUNT, NONE = "person", "account", "none"

_HOURS = """
    SELECT r.id, (floor(extract(epoch FROM e.occurred_at + r.shift) / 3600)::bigint %% 24)::int, count(*)
    FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::interval[]) AS r(id, since, until, shift)
    JOIN crm_event e ON e.profile_id = r.id AND e.name = ANY(%s) AND e.occurred_at >= r.since
        AND e.occurred_at < r.until
    WHERE e.occurred_at >= %s AND e.occurred_at < %s
    GROUP BY 1, 2
"""


class BestHour(msgspec.Struct, frozen=True):
    """An hour of the day, 0 to 23, by the person's own clock; None when nothing is known of anybody.

    `events` is how many of the person's own were looked at, `source` what decided: PERSON, ACCOUNT or NONE. `weights`
    are of the hours from 0 to 23, empty for NONE.
    """

    hour: int | None
    events: int
    source: str
    weights: tuple[float, ...] = ()


def best_hours(
    profile_ids: Collection[int], now: datetime, zones: Mapping[int, ZoneInfo] | None = None
) -> dict[int, BestHour]:
    """Everybody's best hour, in one query, one more for the zones if they are not given, and some now and then for the
    account's hours, which are kept for a while.
    """
    zones = local.zones(profile_ids) if zones is None else zones
    account = _account(now)
    own = _histograms({profile_id: zones[profile_id] for profile_id in profile_ids}, now)
    return {profile_id: choose(own.get(profile_id, ()), account) for profile_id in profile_ids}


def choose(own: Sequence[int], account: Sequence[float]) -> BestHour:
    """The best hour by a person's numbers of events in each hour and the account's shares of the hours.

    Args:
        own: 24 numbers, or none.
        account: 24 shares that add up to one, or none. The earliest of equally good hours is taken.
    """
    events = sum(own)
    if not account and not events:
        return BestHour(None, 0, NONE)
    counts, shares = own or [0] * 24, account or [1 / 24] * 24
    weights = tuple(counts[hour] + STEADYING * shares[hour] for hour in HOURS)
    hour = max(HOURS, key=lambda each: weights[each])
    return BestHour(hour, events, PERSON if events else ACCOUNT, weights)


def next_at(best: BestHour, zone: ZoneInfo, now: datetime, within_hours: int = 24) -> datetime:
    """When to write to somebody, from `now` to so many hours later: at the start of the best hour that lies there.

    That is `now` itself if this is the best hour, or nothing is known. An hour that begins later than the limit
    does not count; of the others the best is taken, the first of equally good ones.
    """
    if not best.weights:
        return now
    limit = now + timedelta(hours=within_hours)
    found, best_weight = now, best.weights[now.astimezone(zone).hour]
    at = _next_hour(now, zone)
    while at <= limit:
        weight = best.weights[at.astimezone(zone).hour]
        if weight > best_weight:
            found, best_weight = at, weight
        at = _next_hour(at, zone)
    return found


def _next_hour(at: datetime, zone: ZoneInfo) -> datetime:
    """When the hour on the wall changes next: in an hour at most, whatever the clocks do."""
    there = at.astimezone(zone)
    ahead = timedelta(hours=1) - timedelta(
        minutes=there.minute, seconds=there.second, microseconds=there.microsecond
    )
    return at + ahead


def _histograms(zones: Mapping[int, ZoneInfo], now: datetime) -> dict[int, list[int]]:
    """For each who did anything: how often, in each hour of their own clock."""
    today: date = now.astimezone(UTC).date()
    first = today - timedelta(days=DAYS)
    rows = [
        (profile_id, since, until, shift)
        for profile_id, zone in zones.items()
        for since, until, shift in local.offsets(zone, first, today)
    ]
    if not rows:
        return {}
    since = now - timedelta(days=DAYS)
    with connection.cursor() as cursor:
        cursor.execute(
            _HOURS,
            [*map(list, zip(*rows, strict=True)), list(EVENTS), since, now + timedelta(microseconds=1)],
        )
        found: dict[int, list[int]] = {}
        for profile_id, hour, count in cursor.fetchall():
            found.setdefault(profile_id, [0] * 24)[hour] = count
    return found


def _account(now: datetime) -> tuple[float, ...]:
    """The share of each hour among what people did, each person counting the same; empty if nobody did anything.

    Asked of some thousand people, so that an account of millions is looked at as fast as a small one.
    """
    key = f"flows-best-hours:{now.astimezone(UTC):%Y-%m-%d}"
    kept = cache.get(key)
    if kept is not None:
        return kept
    try:
        ids = sampling.people(sampling.total(), ACCOUNT_MS)
    except TooSlow:
        return ()
    shares = [0.0] * 24
    people = _histograms(local.zones(ids), now).values()
    for counts in people:
        total = sum(counts)
        for hour in HOURS:
            shares[hour] += counts[hour] / total / len(people)
    found = tuple(shares) if people else ()
    cache.set(key, found, ACCOUNT_KEPT)
    return found
