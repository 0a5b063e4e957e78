"""What asked for messages: rows for flows, broadcasts and programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Model
from django.utils.translation import gettext as _

from analytics.reporting import parts
from analytics.reporting.columns import USUAL, columns
from analytics.reporting.query import ORIGINS, Query
from analytics.reporting.shapes import Row, Table
from analytics.reports.definitions import Comparison
from campaigns.models import Broadcast, Flow

_MODELS: dict[str, type[Model]] = {"flow": Flow, "broadcast": Broadcast}


def rows(
    kind: str, found: Mapping[Any, Comparison], query: Query, keys: Sequence[str] = USUAL, prefix: str = ""
) -> list[Row]:
    """Rows of flows or broadcasts (`kind`), each leading to its report; of those that were deleted, the number is left.

    The key is the row's number, after `prefix`.
    """
    names = parts.names(_MODELS[kind], list(found), "name")
    return [
        parts.row(
            f"{prefix}{pk}",
            names[pk][0] if pk in names else _("(deleted, number %d)") % pk,
            both,
            query,
            keys,
            narrows={kind: str(pk)} if pk in names else None,
            leads=(kind, {kind: str(pk)}) if pk in names else None,
            note=str(ORIGINS[kind]) if prefix else "",
        )
        for pk, both in found.items()
    ]


def table(query: Query, every: Row | None = None) -> Table:
    """Each flow, each broadcast, and programs together; most sent first."""
    found = parts.found("origin", query)
    made = [
        parts.row(key, str(ORIGINS.get(key, key)), both, query, narrows={"origin": key})
        for key, both in found.items()
        if key not in _MODELS
    ]
    for kind in _MODELS:
        if kind in found:
            made += rows(kind, parts.found(kind, query), query, prefix=f"{kind}:")
    made.sort(key=lambda row: -row.values["sent"])
    return Table(
        slug="by_origin",
        title=_("What asked for it"),
        head=_("Asked for by"),
        columns=columns(USUAL),
        rows=made,
        total=every,
        empty=_("Nothing was sent in this period."),
    )
