"""Who has the credit for what, worked out one event at a time from the log and the deliveries alone."""

import random
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.db import connection

from analytics.models import Credit, EarnedDay, ExchangeRate, Goal, RollupState
from analytics.reports.figures import Figures, Filters, total
from analytics.reports.periods import Period
from analytics.rollups.columns import FROM_FACTS
from crm.models import Event
from delivery.models import Delivery, Message
from tests.analytics import reference

CENT = Decimal("0.01")
MEASURES = ("conversions", "people", "value", "sent_conversions", "sent_people", "sent_value")


def empty() -> None:
    """Begin again with an empty database."""
    reference.empty()
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE analytics_goal, analytics_credit, analytics_earnedday, analytics_exchangerate"
        )


def credited() -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """(goal, event, model, delivery) -> (share, value, currency, account's value, when sent, traits) of everything."""
    told = reference.stories()
    events = list(Event.objects.order_by("occurred_at", "id"))
    sent = Delivery.objects.exclude(origin_type="test").select_related("message")
    sent = [row for row in sent if row.pk in told]
    messages = {row.pk: row.message for row in sent}
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for goal in Goal.everything.filter(active=True):
        done: set[Any] = set()
        for event in events:
            if not goal.own and (event.name != goal.event or not _fits(goal, event)):
                continue
            if event.id in done or (goal.counting == "once" and event.profile_id in done):
                done.add(event.profile_id)
                continue
            done |= {event.id, event.profile_id}
            mine = [row for row in sent if row.profile_id == event.profile_id]
            touched = [touch for row in mine if any((touch := _touch(goal, row, told[row.pk], event))[1:])]
            for model, parts in _parts(touched).items():
                for delivery, low, high in parts:
                    row = _row(goal, event, messages[delivery], low, high)
                    found[(goal.pk, event.id, model, delivery)] = (*row, *_about(told[delivery]))
    return found


def _about(story: dict[str, Any]) -> tuple[Any, ...]:
    device = story["device"][2] if "device" in story else ""
    return (story.get("sent"), *(story.get(name, "") for name in ("locale", "country", "provider")), device)


def _fits(goal: Goal, event: Event) -> bool:
    return all(event.properties.get(item["property"], -1) >= item["value"] for item in goal.where)


def _touch(goal: Goal, row: Delivery, story: dict[str, Any], event: Event) -> tuple[Any, ...]:
    at = event.occurred_at
    goal_hours = row.message.goal_window_hours if row.message.goal_event == event.name else 0

    def within(name: str, hours: int) -> datetime | None:
        when = story.get(name)
        return when if when and when <= at < when + timedelta(hours=hours) else None

    seen = {"email": "opened", "whatsapp": "read"}.get(row.channel, "shown")
    if goal.own:
        return (row.pk, *(within(name, goal_hours) for name in ("clicked", "opened", seen)))
    return (
        row.pk,
        within("clicked", goal.click_hours),
        within("opened", goal.open_hours),
        within(seen, goal.view_hours.get(row.channel, 0)),
    )


def _parts(touched: list[tuple[Any, ...]]) -> dict[str, list[tuple[int, Decimal, Decimal]]]:
    zero, one = Decimal(0), Decimal(1)
    clicks = [(click, pk) for pk, click, _open, _seen in touched if click]
    views = [(seen, pk) for pk, _click, _open, seen in touched if seen]
    both = [
        (pk, [at for at in (click, opened) if at]) for pk, click, opened, _seen in touched if click or opened
    ]
    found: dict[str, list[tuple[int, Decimal, Decimal]]] = {}
    if clicks:
        found["last_click"] = [(max(clicks)[1], zero, one)]
    elif views:
        found["view_through"] = [(max(views)[1], zero, one)]
    if both:
        found["last_touch"] = [(max((max(at), pk) for pk, at in both)[1], zero, one)]
        ordered = [pk for _at, pk in sorted((min(at), pk) for pk, at in both)]
        found["first_touch"] = [(ordered[0], zero, one)]
        n = len(ordered)
        even = [_nine(Decimal(i) / n) for i in range(n + 1)]
        if n == 1:
            marks = [zero, one]
        elif n == 2:
            marks = [zero, Decimal("0.5"), one]
        else:
            between = [_nine(Decimal("0.4") + Decimal("0.2") * i / (n - 2)) for i in range(n - 1)]
            marks = [zero, *between, one]
        found["linear"] = [(pk, even[i], even[i + 1]) for i, pk in enumerate(ordered)]
        found["position"] = [(pk, marks[i], marks[i + 1]) for i, pk in enumerate(ordered)]
    return found


def _nine(number: Decimal) -> Decimal:
    return number.quantize(Decimal("1e-9"), ROUND_HALF_UP)


def _row(goal: Goal, event: Event, about: Message, low: Decimal, high: Decimal) -> tuple[Any, ...]:
    amount = event.properties.get(about.goal_value_property if goal.own else "total")
    value = None if amount is None else Decimal(str(amount))
    currency = event.properties.get("currency") or goal.currency or settings.NUDGE_CURRENCY
    account = value
    if value is not None and currency != settings.NUDGE_CURRENCY:
        day = event.occurred_at.date()
        rates = ExchangeRate.objects.filter(currency=currency, day__lte=day, day__gt=day - timedelta(days=31))
        rate = rates.order_by("-day").values_list("rate", flat=True).first()
        account = None if rate is None else (value * rate).quantize(CENT, ROUND_HALF_UP)
    return high - low, _piece(value, low, high), currency, _piece(account, low, high)


def _piece(amount: Decimal | None, low: Decimal, high: Decimal) -> Decimal | None:
    if amount is None:
        return None

    def upto(mark: Decimal) -> Decimal:
        return amount if mark == 1 else (amount * mark).quantize(CENT, ROUND_HALF_UP)

    return upto(high) - upto(low)


def stored() -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The same as it is stored."""
    return {
        (row.goal_id, row.event_id, row.model, row.delivery_id): (
            *(row.share, row.value, row.currency, row.account_value),
            *(row.sent_at, row.locale, row.country, row.provider, row.device),
        )
        for row in Credit.objects.all()
    }


def earned() -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """What the figures by day have to be, by the stored credits."""
    zone = ZoneInfo(RollupState.objects.get().zone)
    sums: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    people: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for row in Credit.objects.all():
        traits = [("", ""), *((name, getattr(row, name)) for name in FROM_FACTS)]
        for of, at in (("", row.occurred_at), ("sent_", row.sent_at)):
            for dimension, trait in traits if at else ():
                day = at.astimezone(zone).date()
                cell = (row.goal_id, row.model, dimension, day, row.series_id, trait)
                sums[(*cell, "")][f"{of}conversions"] += row.share
                people[(*cell, "", of)].add(row.delivery_id)
                if row.value is not None:
                    amount = row.value if row.account_value is None else row.account_value
                    sums[(*cell, "" if row.account_currency else row.currency)][f"{of}value"] += amount
    for (*key, of), found in people.items():
        sums[tuple(key)][f"{of}people"] = len(found)
    return {
        key: tuple(counts[name] for name in MEASURES) for key, counts in sums.items() if any(counts.values())
    }


def kept() -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The figures by day as they are kept, only what is not zero."""
    generation = RollupState.objects.get().generation
    return {
        (row.goal_id, row.model, row.dimension, row.day, row.series_id, row.trait, row.currency): tuple(
            getattr(row, name) for name in MEASURES
        )
        for row in EarnedDay.objects.filter(generation=generation)
        if any(getattr(row, name) for name in MEASURES)
    }


def check_figures(expected: dict[tuple[Any, ...], tuple[Any, ...]], chance: random.Random, zone: str) -> None:
    """Some report about some goal, model and people says what these credits add up to."""
    goal, model = chance.choice(list(Goal.everything.all())), chance.choice(Goal.Model.values)
    traits = {
        name: chance.choice(values)
        for name, values in (("device", ("", "phone")), ("country", ("", "SA")), ("locale", ("", "pl")))
        if chance.random() < 0.4
    }
    first = date(2026, 3, 28) + timedelta(days=chance.randrange(2))
    period = Period(first, first + timedelta(days=chance.randrange(2)))
    at = dict(Event.objects.values_list("id", "occurred_at"))
    wanted = Figures()
    people = set()
    for (of, event, by, delivery), (share, value, currency, account, sent, *about) in expected.items():
        known = dict(zip(FROM_FACTS, about, strict=True))
        if (of, by) != (goal.pk, model) or any(known[name] != text for name, text in traits.items()):
            continue
        amount, code = (value, currency) if account is None else (account, settings.NUDGE_CURRENCY)
        if first <= at[event].astimezone(ZoneInfo(zone)).date() <= period.last:
            wanted.conversions += share
            _add(wanted.earned, code, amount)
        if sent and first <= sent.astimezone(ZoneInfo(zone)).date() <= period.last:
            wanted.converted += share
            people.add(delivery)
            _add(wanted.revenue, code, amount)
    found = total(period, Filters(goal=goal.pk, model=model, **traits))
    assert (found.converted, found.conversions) == (
        pytest.approx(float(wanted.converted), abs=1e-5),
        pytest.approx(float(wanted.conversions), abs=1e-5),
    )
    told = (found.people_converted, found.revenue, found.earned)
    assert told == (len(people), wanted.revenue, wanted.earned), (goal, model, traits)


def _add(sums: dict[str, Decimal], code: str, amount: Decimal | None) -> None:
    if amount:
        sums[code] = sums.get(code, Decimal(0)) + amount
