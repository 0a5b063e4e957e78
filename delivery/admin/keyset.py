"""Paging through the ledger by where a page ends rather than by its number: as quick at its far end as at its newest.

A page of a number costs all rows before it; one that begins behind a row costs its own (seek method, see Markus
Winand, "We need tool support for keyset pagination").
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from django.http import HttpRequest
from unfold.views import ChangeList

from delivery.models import Delivery

OLDER, NEWER = "older", "newer"  # than the row that the value names
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Place = tuple[datetime, int]


def written(delivery: Delivery) -> str:
    """Return a delivery's place in the list, to be put into an address."""
    return f"{(delivery.queued_at - _EPOCH) // _MICROSECOND}-{delivery.pk}"


def read(text: str) -> Place:
    """Return what `written` wrote.

    Raises:
        ValueError: it wrote no such thing.
    """
    at, _dash, pk = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in (at, pk)):
        raise ValueError("no place in the list")
    try:
        return _EPOCH + int(at) * _MICROSECOND, int(pk)
    except OverflowError as error:
        raise ValueError("no place in the list") from error


def page(
    rows: QuerySet[Delivery], size: int, older: Place | None = None, newer: Place | None = None
) -> "Page":
    """Return `size` rows, newest first, that come next behind `older` or before `newer`; one query."""
    place = Tuple("queued_at", "pk")
    if newer is not None:
        found = list(rows.filter(TupleGreaterThan(place, newer)).order_by("queued_at", "pk")[: size + 1])
        return Page(found[:size][::-1], has_newer=len(found) > size, has_older=True)
    if older is not None:
        rows = rows.filter(TupleLessThan(place, older))
    found = list(rows.order_by("-queued_at", "-pk")[: size + 1])
    return Page(found[:size], has_newer=older is not None, has_older=len(found) > size)


class Page:
    """Rows, and where the ones before and behind them begin ("" where there are none)."""

    def __init__(self, rows: list[Delivery], has_newer: bool, has_older: bool):
        self.rows = rows
        self.newer = written(rows[0]) if rows and has_newer else ""
        self.older = written(rows[-1]) if rows and has_older else ""


class Pager(Paginator):
    """Counts nothing: how many there are is told above the list, in time limits of its own."""

    template_name = "admin/delivery/ledger/pager.html"


class KeysetChangeList(ChangeList):
    """A list of which only the page that is shown is read."""

    _places: dict[str, str]
    older_url = newer_url = newest_url = ""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Delivery]:
        """The rows of the filters; where the page begins is none of them."""
        self._places = {}
        for name in (OLDER, NEWER):
            self.filter_params.pop(name, None)
            value = self.params.pop(name, "")
            if value:
                self._places[name] = value
        return super().get_queryset(request, exclude_parameters)

    def get_results(self, request: HttpRequest) -> None:
        """The page that was asked for."""
        try:
            places = {name: read(value) for name, value in self._places.items()}
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error
        shown = page(self.queryset, self.list_per_page, places.get(OLDER), places.get(NEWER))
        if not shown.rows and places:  # behind the last or before the first one
            places, shown = {}, page(self.queryset, self.list_per_page)
        self.result_list = shown.rows
        self.result_count = self.full_result_count = len(shown.rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False
        self.paginator = Pager(shown.rows, self.list_per_page)
        self.older_url = self.get_query_string({OLDER: shown.older}) if shown.older else ""
        self.newer_url = self.get_query_string({NEWER: shown.newer}) if shown.newer else ""
        self.newest_url = self.get_query_string() if places else ""
