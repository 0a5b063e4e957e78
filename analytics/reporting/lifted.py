"""What a flow or broadcast brought that would not have come without it."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from analytics.experiments import holdouts
from analytics.experiments.lift import Figure, Lift
from analytics.reporting.shapes import Column, Kind, Row, Table


def table(kind: str, number: int) -> Table | None:
    """The lift of the holdout of a "flow" or "broadcast", in all and by month; None where nobody is held out.

    It is about people by the month in which they came into the comparison, whatever period is asked for.
    """
    line = holdouts.of(kind, number)
    if line is None:
        return None
    return Table(
        slug="lift",
        title=_("What it brought that would not have come without it"),
        head=_("Month"),
        columns=columns(),
        rows=[row(month, month, each) for month, each in line.months],
        total=row("", _("All months"), line.lift),
        note=_(
            "Beside the %(percent)s %% who get nothing, for comparison; over a year, whatever the period here is."
        )
        % {"percent": f"{line.holdout.percent:g}"},
        empty=_("Nobody has been compared yet."),
    )


def columns() -> list[Column]:
    """What the people who were treated brought beyond those who were held out, with intervals."""
    interval = _("With 95 % certainty it is between these two.")
    return [
        Column(
            key="treated", label=_("People"), definition=_("People who were in the comparison and got it.")
        ),
        Column(key="holdout", label=_("Held out"), definition=_("People in the comparison who got nothing.")),
        Column(
            key="conversions",
            label=_("Extra conversions"),
            definition=_("People who reached the goal, beyond as many as would have without it."),
            better="up",
        ),
        Column(key="conversions_low", label=_("At least"), definition=interval),
        Column(key="conversions_high", label=_("At most"), definition=interval),
        Column(
            key="value",
            label=_("Extra value"),
            definition=_("What they were worth beyond that, in the amounts of the goal's events."),
            kind=Kind.MONEY,
            better="up",
        ),
        Column(key="value_low", label=_("At least"), definition=interval, kind=Kind.MONEY),
        Column(key="value_high", label=_("At most"), definition=interval, kind=Kind.MONEY),
        Column(
            key="certain",
            label=_("Certain"),
            definition=_("Whether there is an effect beyond doubt, however often one looks."),
            kind=Kind.TEXT,
        ),
    ]


def row(key: str, label: str, lift: Lift | None) -> Row:
    """A row for `columns`; without numbers while there is nobody to compare with."""
    values: dict[str, Any] = dict.fromkeys((column.key for column in columns()), None)
    if lift is not None:
        values = {
            "treated": lift.treated,
            "holdout": lift.holdout,
            **_interval("conversions", lift.conversions),
            **amounts("value", lift.value),
            "certain": _("yes") if lift.certain or lift.certain_value else _("not yet"),
        }
    return Row(
        key=key,
        label=label,
        values=values,
        link=(reverse("admin:campaigns_experiment_lift"), "campaigns.view_experiment"),
    )


def amounts(name: str, figure: Figure) -> dict[str, dict[str, Decimal]]:
    """An amount with its interval, in the account's currency, as columns of Kind.MONEY have it."""
    parts = {name: figure.estimate, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return {key: {settings.NUDGE_CURRENCY: round(Decimal(value), 2)} for key, value in parts.items()}


def _interval(name: str, figure: Figure) -> dict[str, float]:
    return {
        name: round(figure.estimate, 1),
        f"{name}_low": round(figure.low, 1),
        f"{name}_high": round(figure.high, 1),
    }
