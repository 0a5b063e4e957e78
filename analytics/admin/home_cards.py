"""The home's cards: each figure with its definition, its course, and how it changed."""

import math
from collections.abc import Sequence
from decimal import Decimal

import msgspec
from babel import numbers
from django.conf import settings
from django.utils.translation import get_language, gettext_lazy, to_locale
from django.utils.translation import gettext as _

from analytics.reports.definitions import DEFINITIONS, Figures
from analytics.reports.overview import Home, Point
from analytics.written import amounts, count, money, percent

CERTAIN = 1.96  # standard errors that a difference of rates has to have not to be taken for chance
WIDTH, HEIGHT = 100, 24
ICONS = {
    "sent": "send",
    "delivered": "mark_chat_read",
    "opened": "drafts",
    "clicked": "ads_click",
    "converted": "flag",
    "unsubscribed": "person_remove",
    "revenue": "payments",
    "revenue_per_message": "sell",
}
# Card -> (label, count, rate, which way is good, note).
RATES = {
    "delivered": (
        gettext_lazy("Delivery rate"),
        "delivered",
        "delivery_rate",
        "up",
        gettext_lazy("%s delivered"),
    ),
    "opened": (gettext_lazy("Open rate"), "opened", "open_rate", "up", gettext_lazy("%s opened")),
    "clicked": (gettext_lazy("Click rate"), "clicked", "click_rate", "up", gettext_lazy("%s clicked")),
    "converted": (
        gettext_lazy("Conversion rate"),
        "people_converted",
        "conversion_rate",
        "up",
        gettext_lazy("%s with a conversion"),
    ),
    "unsubscribed": (
        gettext_lazy("Unsubscribe rate"),
        "unsubscribed",
        "unsubscribe_rate",
        "down",
        gettext_lazy("%s unsubscribed"),
    ),
}


class Card(msgspec.Struct, kw_only=True):
    """One figure. `tone` is "good", "bad" or ""; `trend` the points of its course, for an SVG of WIDTH by HEIGHT."""

    key: str
    label: str
    value: str
    definition: str
    note: str = ""
    note_definition: str = ""
    change: str = ""
    change_words: str = ""
    tone: str = ""
    trend: str = ""

    @property
    def icon(self) -> str:
        return ICONS.get(self.key, "")


def cards(found: Home) -> list[Card]:
    """The figures of a period beside those of the one before."""
    now, before = found.now, found.before
    currency = shown_currency(now, before)
    sent = Card(
        key="sent",
        label=_("Sent"),
        value=count(now.sent),
        definition=str(DEFINITIONS["sent"]),
        trend=trend([point.now and float(point.now.sent) for point in found.points]),
    )
    return [
        changed(sent, now.sent, before.sent, better=""),
        *(_rate(key, now, before, found.points) for key in RATES),
        _revenue(found, currency),
        _per_message(found, currency),
    ]


def shown_currency(now: Figures, before: Figures) -> str:
    """The account's currency, or where nothing was earned in it the one in which most was."""
    own = settings.NUDGE_CURRENCY.upper()
    earned = {**before.earned, **now.earned}
    if own in earned or not earned:
        return own
    return max(earned, key=lambda code: earned[code])


def changed(card: Card, now: float, before: float, better: str = "up", written: str = "") -> Card:
    """Add how a number changed, in per cent; from nothing there is none.

    Args:
        better: "up", "down", or "" where neither is.
        written: the number before, as people read it.
    """
    if now == before:
        card.change, card.change_words = ("0%" if now else ""), _("as in the period before")
        return card
    if before:
        share = (now - before) / before
        card.change = _signed(percent(abs(share), 0 if abs(share) >= 0.01 else 1), share)
    else:
        card.change = _("new")
    card.change_words = _("against %s in the period before") % (written or count(before))
    card.tone = _tone(now > before, better)
    return card


def rate_changed(
    card: Card, now: tuple[int, int], before: tuple[int, int], better: str = "up", chance: bool = True
) -> Card:
    """Add how a share changed, in percentage points; nothing where there is no share to compare with.

    A difference that two samples of one crowd would show as well has no tone: the usual test of two proportions.

    Args:
        now, before: (how many, of how many).
        chance: whether to look if it may be chance.
    """
    if not now[1] or not before[1]:
        return card
    shares = now[0] / now[1], before[0] / before[1]
    difference = shares[0] - shares[1]
    was = share(shares[1])
    if difference == 0:
        card.change, card.change_words = _("0 pp"), _("%s as in the period before") % was
        return card
    card.change = _signed(_("%s pp") % points(abs(difference)), difference)
    card.change_words = _("in percentage points, against %s in the period before") % was
    together = (now[0] + before[0]) / (now[1] + before[1])
    error = math.sqrt(together * (1 - together) * (1 / now[1] + 1 / before[1]))
    if chance and abs(difference) < CERTAIN * error:
        card.change_words = _("%s; so small a difference may be chance") % card.change_words
    else:
        card.tone = _tone(difference > 0, better)
    return card


def share(rate: float | None) -> str:
    """A rate, small ones with more digits."""
    return percent(rate, 1 if rate is None or rate == 0 or rate >= 0.01 else 2)


def points(difference: float) -> str:
    """A difference of shares in percentage points, small ones with more digits."""
    pattern = "#,##0.0" if difference >= 0.001 else "0.0#"
    locale = to_locale(get_language() or "en")
    return numbers.format_decimal(100 * difference, format=pattern, locale=locale)


def trend(values: Sequence[float | None]) -> str:
    """The points of a line through `values`, from the lowest at the bottom; empty where there is nothing to see."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or not any(known):
        return ""
    low, high = min(known), max(known)
    low = min(low, 0.0) if low < high / 2 else low
    step = WIDTH / (len(values) - 1)
    spread = (high - low) or 1.0
    return " ".join(
        f"{place * step:.1f},{HEIGHT - 2 - (value - low) / spread * (HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
        if value is not None
    )


def _rate(key: str, now: Figures, before: Figures, by: Sequence[Point]) -> Card:
    label, counted, rate, better, note = RATES[key]
    card = Card(
        key=key,
        label=str(label),
        value=share(now.rate(counted)),
        definition=str(DEFINITIONS[rate]),
        note=str(note) % count(getattr(now, counted)) if now.sent else "",
        note_definition=str(DEFINITIONS[counted]),
        trend=trend([point.now.rate(counted) if point.now else None for point in by]),
    )
    pair = [(getattr(one, counted), one.sent) for one in (now, before)]
    return rate_changed(card, pair[0], pair[1], better)


def _revenue(found: Home, currency: str) -> Card:
    now, before = found.now.earned, found.before.earned
    others = {code: value for code, value in now.items() if code != currency and value}
    amount = now.get(currency, Decimal())
    card = Card(
        key="revenue",
        label=_("Revenue"),
        value=money(amount, currency) if now or before else "–",
        definition=str(DEFINITIONS["earned"]),
        note=" · ".join([_("and %s") % text for text in amounts(others)])
        or (_("%s conversions") % count(found.now.conversions) if found.now.conversions else ""),
        note_definition=str(DEFINITIONS["conversions"]),
        trend=trend([point.now and float(point.now.earned.get(currency, 0)) for point in found.points]),
    )
    was = before.get(currency, Decimal())
    return changed(card, float(amount), float(was), written=money(was, currency))


def _per_message(found: Home, currency: str) -> Card:
    each = [
        one.revenue.get(currency, Decimal()) / one.sent if one.sent else None
        for one in (found.now, found.before)
    ]
    card = Card(
        key="revenue_per_message",
        label=_("Revenue per message"),
        value="–" if each[0] is None else money(each[0], currency),
        definition=_("What goal events credited to messages sent in the period brought ÷ sent."),
        note=_("%s for each 1,000") % money(1000 * each[0], currency) if each[0] else "",
        trend=trend(
            [
                float(point.now.revenue.get(currency, 0)) / point.now.sent
                if point.now and point.now.sent
                else None
                for point in found.points
            ]
        ),
    )
    if each[0] is None or each[1] is None:
        return card
    return changed(card, float(each[0]), float(each[1]), written=money(each[1], currency))


def _signed(text: str, value: float) -> str:
    return ("+" if value > 0 else "−") + text


def _tone(rose: bool, better: str) -> str:
    if not better:
        return ""
    return "good" if rose == (better == "up") else "bad"
