"""The columns of flows' runs, with their names and definitions."""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_lazy as _

from analytics.reporting.shapes import Column, Kind
from analytics.reports.runs import DEFINITIONS, Totals

_LABELS = {
    "entered": _("Entered"),
    "inside": _("Inside"),
    "completed": _("Completed"),
    "completion_rate": _("Completion rate"),
    "won": _("Left with the goal"),
    "exited": _("Left early"),
    "exit_rate": _("Exit rate"),
    "goals": _("Reached the goal"),
    "goal_rate": _("Goal rate"),
    "value": _("Value of goals"),
    "held_out": _("Held out"),
    "duration": _("Typical duration"),
    "reached": _("Reached"),
    "share": _("Share"),
    "here": _("Here now"),
    "left": _("Left here"),
    "won_here": _("Left with the goal"),
    "drop_off": _("Drop-off"),
    "skipped": _("Left out"),
    "median": _("Typical time"),
    "slow": _("Slow time"),
    "branch_share": _("Share of the split"),
    "left_share": _("Share"),
}
RATES = {"completion_rate": "completed", "exit_rate": "exited", "goal_rate": "goals"}
_SHARES = {*RATES, "share", "drop_off", "branch_share", "left_share"}
_SECONDS = {"duration", "median", "slow"}
_UP = {
    "entered",
    "completed",
    "completion_rate",
    "won",
    "won_here",
    "goals",
    "goal_rate",
    "value",
    "reached",
    "share",
}
_DOWN = {"exited", "exit_rate", "left", "drop_off"}


def columns(keys: Iterable[str]) -> list[Column]:
    """Columns by their names in runs.DEFINITIONS.

    Raises:
        KeyError: there is no such one.
    """
    return [
        Column(
            key=key,
            label=_LABELS[key],
            definition=DEFINITIONS[key],
            kind=Kind.SHARE if key in _SHARES else Kind.SECONDS if key in _SECONDS else Kind.COUNT,
            better="up" if key in _UP else "down" if key in _DOWN else "",
        )
        for key in keys
    ]


def values(totals: Totals, keys: Iterable[str]) -> dict[str, Any]:
    """What the totals have under these names."""
    return {key: totals.rate(RATES[key]) if key in RATES else getattr(totals, key) for key in keys}
