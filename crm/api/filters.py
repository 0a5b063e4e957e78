"""Filters of lists: django-filter decides, our error body tells.

A list declares what it can be filtered by once, as a `Filters` subclass; `parameters` describes that in the
OpenAPI document and `filtered` applies it. Parameters that nobody declared are refused by `ApiView`.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import django_filters
import msgspec
from django import forms
from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from crm.api.errors import ApiError
from crm.normalise import Rejection

MAX_JSON = 2000  # characters
M = TypeVar("M", bound=Model)


def instant(text: str, field: str) -> datetime:
    """A time written as RFC 3339 wants it, in UTC.

    Raises:
        ApiError: 400, naming the field.
    """
    try:
        # A plus sign that was not encoded arrives as a space.
        moment = msgspec.convert(text.strip().replace(" ", "+"), datetime)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError, ValueError):
        pass
    detail = _("Write the time with its zone, like 2026-01-31T12:00:00Z (RFC 3339).")
    raise ApiError(400, "invalid_time", detail, field=field)


class _InstantField(forms.CharField):
    def to_python(self, value):
        text = super().to_python(value)
        if not text:
            return None
        try:
            return instant(text, "")
        except ApiError as error:
            raise forms.ValidationError(str(error.detail), code="invalid_time") from error


class InstantFilter(django_filters.Filter):
    """A time with its zone (RFC 3339)."""

    field_class = _InstantField
    schema = OpenApiTypes.DATETIME


class _BooleanField(forms.CharField):
    def to_python(self, value):
        text = super().to_python(value)
        if text not in ("", "true", "false"):
            raise forms.ValidationError(_("Write true or false."), code="invalid_value")
        return {"true": True, "false": False}.get(text)


class BooleanFilter(django_filters.Filter):
    """true or false."""

    field_class = _BooleanField
    schema = OpenApiTypes.BOOL


class TextFilter(django_filters.CharFilter):
    """A text that must be equal, blanks included."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, strip=False, **kwargs)


class _ObjectField(forms.CharField):
    def to_python(self, value):
        text = super().to_python(value)
        if not text:
            return None
        try:
            found = msgspec.json.decode(text, type=dict[str, Any]) if len(text) <= MAX_JSON else None
            written = json.dumps(found, allow_nan=False)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found = None
        if found is None or "\\u0000" in written:
            raise forms.ValidationError(_('Write a JSON object, like {"plan": "gold"}.'), code="invalid_json")
        return found


class ContainsFilter(django_filters.Filter):
    """A JSON object whose names and values the column has, all of them."""

    field_class = _ObjectField
    schema = OpenApiTypes.STR

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, lookup_expr="contains", **kwargs)


class NormalFilter(django_filters.CharFilter):
    """A text that is brought to the form in which we keep it, by a function of `crm.normalise`."""

    def __init__(self, *args: Any, normal: Callable[[str], str | None], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.normal = normal

    @property
    def field(self) -> forms.Field:
        """The form field, which refuses what can't be such a text."""
        field = super().field
        if not hasattr(field, "normal"):
            field.normal = self.normal
            clean = field.clean
            field.clean = lambda value: self._normal(clean(value))
        return field

    def _normal(self, text: str) -> str | None:
        if not text:
            return None
        try:
            return self.normal(text)
        except Rejection as rejection:
            raise forms.ValidationError(rejection.detail, code=rejection.code) from rejection


class Filters(django_filters.FilterSet):
    """What a list can be filtered by. All given ones must hold."""


def filtered(request: Request, query: QuerySet[M], kind: type[Filters]) -> QuerySet[M]:
    """The rows that the query parameters ask for.

    Raises:
        ApiError: 400, naming the parameter whose value can't be taken.
    """
    found = kind(request.GET, queryset=query)
    if not found.is_valid():
        name, problems = next(iter(found.errors.get_json_data().items()))
        code = problems[0]["code"]
        raise ApiError(
            400,
            code if code.startswith("invalid_") and code != "invalid_choice" else "invalid_value",
            problems[0]["message"],
            field=name,
        )
    return found.qs


def parameters(kind: type[Filters]) -> list[OpenApiParameter]:
    """How the OpenAPI document describes the filters."""
    return [
        OpenApiParameter(
            name,
            _schema(each),
            description=str(each.extra.get("help_text", "")),
            enum=[value for value, _label in each.extra["choices"]] if "choices" in each.extra else None,
        )
        for name, each in kind.base_filters.items()
    ]


def _schema(each: django_filters.Filter) -> Any:
    if found := getattr(each, "schema", None):
        return found
    if isinstance(each, django_filters.NumberFilter):
        return OpenApiTypes.NUMBER
    return OpenApiTypes.STR
