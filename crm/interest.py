"""Who asked for, saved, viewed and bought which product: a reader of the event log keeps `ProductInterest`.

Everything in that table comes from the log, also when somebody was last told, so it can be made anew at any time.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.db.models.functions import Greatest
from django.utils import timezone

from crm import log, normalise, present
from crm.models import CatalogueSettings, LogCursor, ProductInterest

CURSOR = "interest"
BACK, DROPPED = "back_in_stock", "price_dropped"
MOST = 100  # products of one event, such as the items of a large order
COLUMNS = ("asked_at", "saved_at", "viewed_at", "bought_at", "stock_told_at", "price_told_at")
_KEEP = f"""
    INSERT INTO crm_productinterest AS i (sku, profile_id, {", ".join(COLUMNS)})
    SELECT sku, profile, {", ".join(f"max({column})" for column in COLUMNS)}
    FROM jsonb_to_recordset(%s::jsonb)
        AS r(sku text, profile bigint, {", ".join(f"{column} timestamptz" for column in COLUMNS)})
    GROUP BY sku, profile ORDER BY sku, profile
    ON CONFLICT (sku, profile_id) DO UPDATE
        SET {", ".join(f"{column} = greatest(i.{column}, excluded.{column})" for column in COLUMNS)}
        WHERE ({", ".join(f"i.{column}" for column in COLUMNS)}) IS DISTINCT FROM
            ({", ".join(f"greatest(i.{column}, excluded.{column})" for column in COLUMNS)})
"""
_FORGET = """
    DELETE FROM crm_productinterest
    WHERE coalesce(greatest(saved_at, viewed_at, bought_at, stock_told_at, price_told_at), '-infinity') < %(since)s
        AND (asked_at IS NULL OR asked_at <= greatest(bought_at, stock_told_at, price_told_at))
"""


def read(limit: int = 5000) -> tuple[bool, bool]:
    """Take the next events of the log; returns whether we were the reader, and whether more may be waiting."""
    settings = CatalogueSettings()
    by_name: dict[str, list[str]] = {}

    def names() -> set[str]:
        # Asked once the cursor is ours: who changes the settings holds it meanwhile.
        nonlocal settings, by_name
        settings = CatalogueSettings.load()
        by_name = columns(settings)
        return set(by_name)

    with log.read(CURSOR, limit, names) as batch:
        _keep(batch.events, by_name, settings.properties)
        return batch.start is not None, batch.full


def columns(settings: CatalogueSettings) -> dict[str, list[str]]:
    """Event name -> the columns that it moves."""
    found: dict[str, list[str]] = {BACK: ["stock_told_at"], DROPPED: ["price_told_at"]}
    for column, names in (
        ("asked_at", settings.asked),
        ("saved_at", settings.saved),
        ("viewed_at", settings.viewed),
        ("bought_at", settings.bought),
    ):
        for name in names:
            found.setdefault(name, []).append(column)
    return found


def products(properties: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The numbers of the products that an event is about, each once.

    Args:
        names: of the properties that hold them; also looked for in lists of objects, such as `items`.
    """
    return list(dict.fromkeys(_numbers(properties, names)))[:MOST]


def _numbers(properties: dict[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        value = properties.get(name)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) or (isinstance(each, int) and not isinstance(each, bool)):
                number = str(each).strip()
                if 0 < len(number) <= normalise.IDENTIFIER_LIMIT:
                    yield number
    for value in properties.values():
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict):
                yield from _numbers(
                    {name: each for name, each in item.items() if not isinstance(each, list)}, names
                )


def _keep(events: Sequence[log.LoggedEvent], by_name: dict[str, list[str]], names: Sequence[str]) -> None:
    named = [(event, found) for event in events if (found := products(event.properties, names))]
    # Our own events name the product by `sku`, whatever the settings say.
    named += [
        (event, [event.properties["sku"]])
        for event in events
        if event.source == "nudge" and "sku" not in names and isinstance(event.properties.get("sku"), str)
    ]
    if not named:
        return
    people = present.hold({event.profile_id for event, _found in named})
    rows = [
        {"sku": sku, "profile": people[event.profile_id], column: event.occurred_at}
        for event, found in named
        if event.profile_id in people
        for sku in found
        for column in by_name[event.name]
    ]
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, [msgspec.json.encode(rows).decode()])


def save_settings(settings: CatalogueSettings) -> bool:
    """Save them; return whether all interest is read from the log anew, as other events count now."""
    with transaction.atomic():
        log.hold(CURSOR)
        before = CatalogueSettings.load()
        settings.save()
        anew = (columns(before), before.properties) != (columns(settings), settings.properties)
        if anew:
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE crm_productinterest")
            LogCursor.objects.filter(name=CURSOR).update(txid=0, seq=0)
    return anew


def forget(now: datetime | None = None) -> int:
    """Drop interest that lasts no longer; return how many rows."""
    since = (now or timezone.now()) - timedelta(days=CatalogueSettings.load().lookback_days)
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, {"since": since})
        return cursor.rowcount


def of_product(sku: str, now: datetime | None = None) -> dict[str, int]:
    """How many people wait for a product, by the surest sign: asked, saved, viewed."""
    since = (now or timezone.now()) - timedelta(days=CatalogueSettings.load().lookback_days)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FILTER (WHERE kind = 1), count(*) FILTER (WHERE kind = 2), count(*) FILTER (WHERE kind = 3)
            FROM (
                SELECT CASE
                    WHEN asked_at > coalesce(greatest(bought_at, stock_told_at, price_told_at), '-infinity') THEN 1
                    WHEN saved_at > greatest(bought_at, %(since)s) THEN 2
                    WHEN viewed_at > greatest(bought_at, %(since)s) THEN 3 END AS kind
                FROM crm_productinterest WHERE sku = %(sku)s
            ) AS people
            """,
            {"sku": sku, "since": since},
        )
        return dict(zip(("asked", "saved", "viewed"), cursor.fetchone(), strict=True))


def waiting(sku: str, limit: int = 50) -> list[ProductInterest]:
    """Those who asked for, saved or viewed a product, the latest first, with their profiles."""
    found = ProductInterest.objects.filter(sku=sku).select_related("profile")
    latest = Greatest("asked_at", "saved_at", "viewed_at")
    return list(found.annotate(latest=latest).exclude(latest=None).order_by("-latest", "pk")[:limit])
