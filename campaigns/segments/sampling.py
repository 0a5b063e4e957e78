"""A random sample of people, and what it tells about everybody."""

import random
from math import sqrt
from typing import NamedTuple

from django.db import connection

from campaigns.segments.limits import fetch
from crm.rules.sql import sql

PEOPLE = 5_000
EXACT_TOTAL = 200_000  # above this, the number of all profiles comes from the planner's statistics
SPARSE = 0.02  # share of the ids in use below which guessing ids finds too few
DEVIATIONS = 1.96  # 95 of 100 intervals hold the true size


class Bounds(NamedTuple):
    """An estimated size, and the interval that it lies in 95 times of 100."""

    size: int
    low: int
    high: int


def total() -> int:
    """How many profiles there are; from the planner's statistics when there are very many."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = 'crm_profile'::regclass")
        [estimated] = cursor.fetchone()
        if estimated > EXACT_TOTAL:
            return estimated
        cursor.execute("SELECT count(*) FROM crm_profile")
        return cursor.fetchone()[0]


def people(everybody: int, timeout_ms: int, number: int = PEOPLE) -> list[int]:
    """The ids of about `number` people, each as likely as any other, and the same ones each time.

    Ids are drawn from their range and those that exist are taken: unlike reading some of the table's pages it does not
    prefer people who were stored together, and unlike reading all of them it takes milliseconds.

    Args:
        everybody: number of all people.

    Raises:
        TooSlow: it takes longer than that.
    """
    [(low, high)] = fetch(sql("SELECT min(id), max(id) FROM crm_profile"), timeout_ms)
    if low is None:
        return []
    width = high - low + 1
    if everybody / width < SPARSE:
        share = min(100.0, 100.0 * number / max(everybody, 1))
        statement = sql("SELECT id FROM crm_profile TABLESAMPLE BERNOULLI ({}) REPEATABLE (1)", share)
    else:
        chance = random.Random(1)  # noqa: S311 - the same people each time, so that figures do not flicker
        draws = {low + int(chance.random() * width) for _draw in range(int(number * width / everybody))}
        statement = sql("SELECT id FROM crm_profile WHERE id = ANY({}::bigint[])", sorted(draws))
    return [row[0] for row in fetch(statement, timeout_ms)]


def bounds(hits: int, looked_at: int, everybody: int) -> Bounds:
    """What `hits` among `looked_at` people say about everybody: the share, and Wilson's interval around it.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if not looked_at:
        return Bounds(0, 0, everybody)
    share, z2 = hits / looked_at, DEVIATIONS**2
    middle = (share + z2 / (2 * looked_at)) / (1 + z2 / looked_at)
    reach = (
        sqrt(share * (1 - share) / looked_at + z2 / (4 * looked_at**2)) * DEVIATIONS / (1 + z2 / looked_at)
    )
    size = round(share * everybody)
    low, high = max(hits, int((middle - reach) * everybody)), round((middle + reach) * everybody)
    return Bounds(size, min(low, size), max(size, min(high, everybody)))
