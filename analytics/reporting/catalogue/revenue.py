"""What messages earned: by message, flow, broadcast, channel, day, variant or origin, by one model or by all."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec
from django.urls import reverse
from django.utils import formats
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from analytics.goals import own
from analytics.models import Goal
from analytics.reporting import columns, daily, names
from analytics.reporting.query import ALL_FILTERS, GOALS, ORIGINS, Query
from analytics.reporting.shapes import Choice, Column, Kind, Report, Row, Sheet, Table
from analytics.reports import attributed
from analytics.reports import revenue as models
from analytics.reports.attributed import DEFINITIONS, Conversion, Touch
from analytics.reports.definitions import Comparison, Figures
from analytics.written import amounts, percent
from delivery.models import Message

BY = {
    "message": gettext_lazy("Message"),
    "flow": gettext_lazy("Flow"),
    "broadcast": gettext_lazy("Broadcast"),
    "channel": gettext_lazy("Channel"),
    "day": gettext_lazy("Day"),
    "origin": gettext_lazy("What asked for it"),
    "variant": gettext_lazy("Variant"),
}
ONE, ALL = "one", "all"
KEYS = ("conversions", "earned")
EXTRA = [
    Column(
        key="share",
        label=gettext_lazy("Share of revenue"),
        definition=DEFINITIONS["share"],
        kind=Kind.SHARE,
        better="up",
    ),
    Column(
        key="each",
        label=gettext_lazy("Per conversion"),
        definition=DEFINITIONS["each"],
        kind=Kind.MONEY,
        better="up",
    ),
]
Labels = Mapping[Any, str]


def build(query: Query) -> Sheet:
    """What the goal brought, by what is chosen; and the latest conversions with their paths.

    One query for each model that is shown, and a fixed number of others.
    """
    goal = _goal(query)
    filters = msgspec.structs.replace(query.filters, goal=goal.pk)
    query = msgspec.structs.replace(query, filters=filters, goal=goal.pk)
    model = filters.model or goal.default_model
    by, side_by_side = query.choice("by"), query.choice("models") == ALL
    whole = attributed.by("", query.period, filters, query.compare).get((), Comparison(Figures(), Figures()))
    every = _row("", _("Everything together"), whole, whole, query, goal)
    table = _all_models(query, goal, by) if side_by_side else _one_model(query, goal, by, whole, every)
    shown = [*columns.columns(KEYS), *EXTRA]
    return Sheet(
        cards=[shown[1], shown[0], shown[3]],
        figures=every,
        charts=daily.drawable([_chart(query, goal)]),
        tables=[table, _latest(query, goal)],
        notes=[
            _("Goal: %(goal)s. Credit goes to: %(model)s. %(words)s")
            % {
                "goal": _(goal.name) if goal.own else goal.name,
                "model": Goal.Model(model).label,
                "words": models.DEFINITIONS[model],
            }
        ],
        warnings=_warnings(whole.now, goal),
    )


def _goal(query: Query) -> Goal:
    """The one asked for; else messages' own goals, or the first one with amounts where no message has its own."""
    if query.goal is not None:
        return Goal.everything.get(pk=query.goal)
    if not Message.objects.exclude(goal_event="").exists():
        goals = list(Goal.objects.order_by("-active", "name"))
        first = next((goal for goal in goals if goal.value_property), None)
        if goals:
            return first or goals[0]
    return own.goal()


def _row(
    key: str, label: str, both: Comparison, whole: Comparison, query: Query, goal: Goal, **more: Any
) -> Row:
    now, before = columns.compared(both, KEYS, query.compare)
    sides = ((now, both.now, whole.now), (before, both.before, whole.before))
    for values, one, every in sides:
        if values is not None:
            values |= _extra(one, every, goal.counted_in)
    return Row(key=key, label=label, values=now, before=before, **more)


def _extra(one: Figures, every: Figures, currency: str) -> dict[str, Any]:
    total = every.earned.get(currency)
    return {
        "share": float(one.earned.get(currency, 0) / total) if total else None,
        "each": attributed.ratio(one.earned, one.conversions, currency),
    }


def _one_model(query: Query, goal: Goal, by: str, whole: Comparison, every: Row) -> Table:
    found = attributed.by(by, query.period, query.filters, query.compare)
    labels = _labels(by, list(found))
    rows = [
        _row(_key(key), labels[key], both, whole, query, goal, **_more(by, key))
        for key, both in found.items()
    ]
    rows = [row for row in rows if query.compare or row.values["conversions"] or row.values["earned"]]
    if by == "day":
        rows = sorted(
            (row for row in rows if row.values["conversions"]), key=lambda row: row.key, reverse=True
        )
    else:
        rows.sort(key=lambda row: (-_amount(row, goal), -row.values["conversions"], row.key))
    return Table(
        slug=f"by_{by}",
        title=_("By %s") % str(BY[by]).lower(),
        head=str(BY[by]),
        columns=[*columns.columns(KEYS), *EXTRA],
        rows=rows,
        total=every if rows else None,
        empty=_("Nothing was earned in this period."),
    )


def _all_models(query: Query, goal: Goal, by: str) -> Table:
    """A pair of columns for each way of giving credit; one query for each."""
    found = {}
    for name in Goal.Model.values:
        filters = msgspec.structs.replace(query.filters, model=name)
        found[name] = {
            key: both.now
            for key, both in attributed.by(by, query.period, filters).items()
            if both.now.conversions or both.now.earned
        }
    keys = list(dict.fromkeys(key for each in found.values() for key in each))
    labels = _labels(by, keys)
    shown = []
    for name in found:
        words = models.DEFINITIONS[name]
        label = str(Goal.Model(name).label)
        shown += [
            Column(
                key=f"{name}_conversions",
                label=_("%s: conversions") % label,
                definition=words,
                better="up",
            ),
            Column(
                key=f"{name}_earned",
                label=_("%s: revenue") % label,
                definition=words,
                kind=Kind.MONEY,
                better="up",
            ),
        ]
    rows = [
        Row(
            key=_key(key),
            label=labels[key],
            values=_beside({name: each.get(key, Figures()) for name, each in found.items()}),
            **_more(by, key),
        )
        for key in keys
    ]
    default = f"{query.filters.model or goal.default_model}_earned"
    rows.sort(key=lambda row: (-row.values[default].get(goal.counted_in, 0), row.key))
    if by == "day":
        rows.sort(key=lambda row: row.key, reverse=True)
    return Table(
        slug=f"by_{by}_and_model",
        title=_("By %s, and by who has the credit") % str(BY[by]).lower(),
        head=str(BY[by]),
        columns=shown,
        rows=rows,
        note=_("Each way divides the same conversions; which of them have a message to credit differs."),
        empty=_("Nothing was earned in this period."),
    )


def _beside(found: dict[str, Figures]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, one in found.items():
        values[f"{name}_conversions"] = one.conversions
        values[f"{name}_earned"] = one.earned
    return values


def _amount(row: Row, goal: Goal) -> Any:
    return row.values["earned"].get(goal.counted_in, 0)


def _key(key: Any) -> str:
    if isinstance(key, tuple):
        return ":".join(str(part) for part in key)
    return key.isoformat() if isinstance(key, date) else str(key)


def _labels(by: str, keys: list[Any]) -> Labels:
    """What each key is called; one query at most."""
    if by == "variant":
        called = names.messages({pk for pk, _variant in keys})
        return {
            (pk, variant): _("%(message)s, variant %(variant)s")
            % {"message": called.get(pk, _gone(pk)), "variant": variant.upper()}
            if variant
            else called.get(pk, _gone(pk))
            for pk, variant in keys
        }
    if by in _NAMED:
        called = _NAMED[by](keys)
        return {pk: called.get(pk, _gone(pk)) for pk in keys}
    if by == "channel":
        return {key: names.channel(key) for key in keys}
    if by == "origin":
        return {key: str(ORIGINS.get(key, key)) or _("not known") for key in keys}
    return {key: formats.date_format(key, "SHORT_DATE_FORMAT") for key in keys}


_NAMED: dict[str, Callable[[list[int]], dict[int, str]]] = {
    "message": names.messages,
    "flow": names.flows,
    "broadcast": names.broadcasts,
}


def _gone(pk: int) -> str:
    return _("(deleted, number %d)") % pk


def _more(by: str, key: Any) -> dict[str, Any]:
    """What a row is about, for whoever looks closer."""
    if by in _NAMED:
        return {"narrows": {by: str(key)}, "leads": (by, {by: str(key)})}
    if by == "variant":
        about = {"message": str(key[0]), "variant": key[1]}
        return {"narrows": about, "leads": ("message", {"message": str(key[0])})}
    return {} if by == "day" else {"narrows": {by: key}}


def _chart(query: Query, goal: Goal) -> Any:
    found = attributed.by("day", query.period, query.filters, query.compare)
    both = {
        day: one
        for day, each in found.items()
        for one in ([each.now] if query.period.first <= day <= query.period.last else [each.before])
    }
    [conversions] = columns.columns(["conversions"])
    [earned] = columns.columns(["earned"])
    days = daily.drawn(query.period, both)
    before = timedelta(days=query.period.days) if query.compare else None
    if any(one.earned.get(goal.counted_in) for one in both.values()):
        values: dict[date, Any] = {
            day: {key: amount for key, amount in one.earned.items() if key == goal.counted_in}
            for day, one in both.items()
        }
        return daily.chart(
            "earned", _("Revenue by day"), days, [(earned, values)], nothing={}, kind="bars", before=before
        )
    values = {day: one.conversions for day, one in both.items()}
    return daily.chart(
        "conversions", _("Conversions by day"), days, [(conversions, values)], kind="bars", before=before
    )


def _latest(query: Query, goal: Goal) -> Table:
    found = attributed.latest(goal, query.period, query.filters)
    return Table(
        slug="latest",
        title=_("Latest conversions"),
        head=_("Person"),
        columns=[
            Column(
                key="at", label=_("When"), definition=_("When the goal's event happened."), kind=Kind.MOMENT
            ),
            Column(
                key="value",
                label=_("Revenue"),
                definition=models.DEFINITIONS["value"],
                kind=Kind.MONEY,
                better="up",
            ),
            Column(key="touches", label=_("Messages"), definition=DEFINITIONS["touches"]),
            Column(key="took", label=_("Took"), definition=DEFINITIONS["took"], kind=Kind.SECONDS),
            Column(key="path", label=_("Path"), definition=DEFINITIONS["path"], kind=Kind.TEXT),
        ],
        rows=[_conversion(one) for one in found],
        empty=_("No conversion in this period has a message to credit."),
    )


def _conversion(one: Conversion) -> Row:
    took = one.took
    return Row(
        key=str(one.event),
        label=_("Profile %d") % one.profile if one.profile else _("a deleted person"),
        values={
            "at": one.occurred_at,
            "value": {one.currency: one.value} if one.value else {},
            "touches": len(one.touches),
            "took": None if took is None else took.total_seconds(),
            "path": " → ".join(_step(touch, one) for touch in one.touches),
        },
        link=(reverse("admin:crm_profile_change", args=[one.profile]), "crm.view_profile")
        if one.profile
        else None,
    )


def _step(touch: Touch, one: Conversion) -> str:
    did = [
        words % timesince(at, one.occurred_at, depth=1)
        for words, at in (
            (_("opened %s before"), touch.opened_at),
            (_("clicked %s before"), touch.clicked_at),
            (_("seen %s before"), None if touch.opened_at or touch.clicked_at else touch.seen_at),
        )
        if at is not None
    ]
    return _("%(message)s (%(channel)s, %(did)s): %(share)s") % {
        "message": touch.message or _("deleted message"),
        "channel": names.channel(touch.channel),
        "did": ", ".join(did) or _("sent"),
        "share": percent(float(touch.share)),
    }


def _warnings(whole: Figures, goal: Goal) -> list[str]:
    others = attributed.others(whole.earned, [goal.counted_in])
    if not others:
        return []
    return [
        _(
            "%(amounts)s could not be converted, as there is no rate of these days: they are in no share. Add rates."
        )
        % {"amounts": ", ".join(amounts(others))}
    ]


REPORT = Report(
    slug="revenue",
    title=gettext_lazy("Revenue"),
    description=gettext_lazy(
        "What messages earned for a goal, who has the credit, and the paths to conversions."
    ),
    group="money",
    permission="delivery.view_message",
    takes=(ALL_FILTERS | GOALS | {"variant", "step"}) - {"machines"},
    choices=(
        Choice(name="by", label=pgettext_lazy("rows of a report", "By"), options=tuple(BY.items())),
        Choice(
            name="models",
            label=gettext_lazy("Ways of giving credit"),
            options=((ONE, gettext_lazy("one")), (ALL, gettext_lazy("all beside each other"))),
        ),
    ),
    build=build,
    icon="payments",
)
