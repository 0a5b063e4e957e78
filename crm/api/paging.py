"""Pages of lists: a cursor names the last row of a page, so that pages neither skip nor repeat rows."""

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, IntegerField, Model, Q, QuerySet, UUIDField
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from crm.api.errors import ApiError

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000  # rows
MAX_CURSOR = 2000  # characters

PARAMETERS = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="Rows of a page.",
    ),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
]


def page(
    request: Request,
    query: QuerySet,
    name: str,
    shape: Callable[[Any], Any],
    order: Sequence[str] = ("id",),
) -> dict[str, Any]:
    """One page: {name: [rows, each made by `shape`], "next_cursor": text or None on the last page}.

    Args:
        query: the list, filtered; its own order does not matter.
        order: fields that put all rows into one order, with "-" in front to turn it; none may be NULL, the last
            one is unique. A number, a time, a UUID or a text each.

    Raises:
        ApiError: 400, for a `limit` that is none, or a `cursor` that is not of a list in this order.
    """
    found, after = rows(request, query, order)
    return {name: [shape(row) for row in found], "next_cursor": after}


def rows(request: Request, query: QuerySet, order: Sequence[str] = ("id",)) -> tuple[list[Any], str | None]:
    """As `page`: the rows themselves, and the next cursor."""
    size = limit(request)
    after = _unpacked(request.GET.get("cursor", ""), query.model, order)
    if after:
        query = query.filter(_beyond(order, after))
    found = list(query.order_by(*order)[: size + 1])
    more = len(found) > size
    return found[:size], _packed(found[size - 1], order) if more else None


def limit(request: Request) -> int:
    """How many rows are wanted.

    Raises:
        ApiError: 400.
    """
    text = request.GET.get("limit", "") or str(DEFAULT_LIMIT)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise ApiError(400, "invalid_value", _("limit is a number from 1 to %d.") % MAX_LIMIT, field="limit")
    return int(text)


def _beyond(order: Sequence[str], after: Sequence[Any]) -> Q:
    """Rows that come later than `after`."""
    found, same = Q(), Q()
    for field, value in zip(order, after, strict=True):
        name, way = field.lstrip("-"), "lt" if field.startswith("-") else "gt"
        found |= same & Q(**{f"{name}__{way}": value})
        same &= Q(**{name: value})
    if len(order) > 1:
        # What an index can start from; the rest only decides among rows that are equal there.
        name, way = order[0].lstrip("-"), "lte" if order[0].startswith("-") else "gte"
        found = Q(**{f"{name}__{way}": after[0]}) & found
    return found


def _packed(row: Model, order: Sequence[str]) -> str:
    values = [getattr(row, field.lstrip("-")) for field in order]
    return base64.urlsafe_b64encode(msgspec.json.encode([",".join(order), *values])).decode().rstrip("=")


def _unpacked(text: str, model: type[Model], order: Sequence[str]) -> list[Any] | None:
    if not text:
        return None
    kinds = (str, *(_kind(model, field.lstrip("-")) for field in order))
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError(text)
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        of, *values = msgspec.json.decode(raw, type=tuple[kinds])  # type: ignore[valid-type]
        if of != ",".join(order):
            raise ValueError(of)
        for field, value in zip(order, values, strict=True):
            _check(model, field.lstrip("-"), value)
    except (ValueError, binascii.Error, msgspec.MsgspecError, ValidationError, OverflowError) as error:
        detail = _("This is not a cursor of this list.")
        raise ApiError(400, "invalid_cursor", detail, field="cursor") from error
    return values


def _kind(model: type[Model], name: str) -> type:
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    field = getattr(field, "target_field", field)  # of profile_id: what it refers to
    if isinstance(field, DateTimeField):
        return datetime
    if isinstance(field, UUIDField):
        return uuid.UUID
    return int if isinstance(field, IntegerField) else str


def _check(model: type[Model], name: str, value: Any) -> None:
    """Refuse what the column can't be compared with."""
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError(value)
    if isinstance(value, str) and "\x00" in value:
        raise ValueError(value)
    if isinstance(value, int) and not abs(value) < 2**63:
        raise ValueError(value)
