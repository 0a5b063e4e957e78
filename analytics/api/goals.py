"""Goals out; rates of exchange in and out."""

from datetime import date
from typing import Any

import django_filters
import msgspec
from django import forms
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from analytics.goals import rates, recompute
from analytics.models import ExchangeRate, Goal
from analytics.reports import revenue
from crm.api import filters, paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError
from crm.api.views import ApiView, decoded, encoded
from crm.ingest import Rejected

_FIELDS = (
    *("slug", "name", "own", "active", "event", "where", "counting", "value_property", "currency_property"),
    *("currency", "default_model", "click_hours", "open_hours", "view_hours"),
)
_PURCHASE: dict[str, Any] = {
    "slug": "purchase",
    "name": "Purchase",
    "own": False,
    "active": True,
    "event": "purchase",
    "where": [{"property": "total", "op": "gte", "value": 5}],
    "counting": "every",
    "value_property": "total",
    "currency_property": "currency",
    "currency": "",
    "default_model": "last_click",
    "click_hours": 72,
    "open_hours": 24,
    "view_hours": {"webpush": 6},
    "credits": {"running": False, "upto": None, "done": 1.0},
    "models": {"last_click": "The message clicked last before, within the goal's hours."},
}
_SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"},
    OpenApiParameter.PATH,
    description="Its short name; _own stands for the goals that messages have themselves.",
)
_RATE = {"day": "2026-03-02", "currency": "USD", "rate": 0.92}


class Progress(serializers.Serializer):
    running = serializers.BooleanField(help_text=gettext_lazy("Whether credits are being made anew."))
    upto = serializers.DateTimeField(
        allow_null=True, help_text=gettext_lazy("Credits up to here are new already.")
    )
    done = serializers.FloatField(help_text=gettext_lazy("0 to 1."))


class GoalOutput(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    own = serializers.BooleanField(
        help_text=gettext_lazy("Whether it stands for the goals that messages have themselves.")
    )
    active = serializers.BooleanField()
    event = serializers.CharField(allow_blank=True)
    where = serializers.ListField(child=serializers.DictField())
    counting = serializers.ChoiceField(choices=Goal.Counting.choices)
    value_property = serializers.CharField(allow_blank=True)
    currency_property = serializers.CharField(allow_blank=True)
    currency = serializers.CharField(
        allow_blank=True, help_text=gettext_lazy("Where the event tells none; empty: the account's.")
    )
    default_model = serializers.ChoiceField(choices=Goal.Model.choices)
    click_hours = serializers.IntegerField()
    open_hours = serializers.IntegerField()
    view_hours = serializers.DictField(
        child=serializers.IntegerField(), help_text=gettext_lazy("By channel; view-through needs it.")
    )
    credits = Progress()
    models = serializers.DictField(
        child=serializers.CharField(), help_text=gettext_lazy("What each attribution model does, in words.")
    )


class GoalPage(serializers.Serializer):
    goals = GoalOutput(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class RateOutput(serializers.Serializer):
    day = serializers.DateField()
    currency = serializers.CharField()
    rate = serializers.FloatField(
        help_text=gettext_lazy("What one unit of it is worth in the account's currency.")
    )


class RatePage(serializers.Serializer):
    rates = RateOutput(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class RateInput(serializers.Serializer):
    day = serializers.DateField(help_text=gettext_lazy("Such as 2026-03-02."))
    currency = serializers.RegexField("^[A-Za-z]{3}$", help_text=gettext_lazy("Three letters, like USD."))
    rate = schemas.Decimal(help_text=gettext_lazy("Above zero; may be sent as text, to be exact."))


class RatesInput(serializers.Serializer):
    rates = serializers.ListField(child=RateInput(), min_length=1, max_length=schemas.MAX_ROWS)


class RatesResult(serializers.Serializer):
    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    rejected = schemas.RejectedRow(many=True)


class _DayField(forms.CharField):
    def to_python(self, value: Any) -> date | None:
        text = super().to_python(value)
        try:
            return date.fromisoformat(text) if text else None
        except ValueError as error:
            raise forms.ValidationError(_("Write a day like 2026-03-02."), code="invalid_value") from error


class _DayFilter(django_filters.Filter):
    field_class = _DayField
    schema = OpenApiTypes.DATE


class RateFilters(filters.Filters):
    """Of which days, and which currency."""

    since = _DayFilter(field_name="day", lookup_expr="gte", help_text=gettext_lazy("From this day on."))
    until = _DayFilter(field_name="day", lookup_expr="lte", help_text=gettext_lazy("Up to this day."))
    currency = filters.NormalFilter(
        normal=str.upper, help_text=gettext_lazy("Such as USD; in small letters, too.")
    )


class _Sent(msgspec.Struct):
    day: str
    currency: str
    rate: float | str


class GoalsView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="goals_list",
        tags=["reports"],
        summary="All goals",
        description="What counts as success, and by which rules messages have the credit for it.",
        parameters=paging.PARAMETERS,
        responses={
            200: OpenApiResponse(GoalPage, description="One page."),
            **schemas.errors(400, 401, 403),
        },
        examples=[
            OpenApiExample(
                "One goal",
                value={"goals": [_PURCHASE], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        return encoded(paging.page(request, Goal.everything.all(), "goals", as_json))


class GoalView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="goals_get",
        tags=["reports"],
        summary="One goal",
        parameters=[_SLUG],
        responses={
            200: OpenApiResponse(GoalOutput, description="The goal."),
            **schemas.errors(401, 403, 404),
        },
        examples=[OpenApiExample("A goal", value=_PURCHASE, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The goal."""
        goal = Goal.everything.filter(slug=slug).first()
        if goal is None:
            raise ApiError(404, "not_found", _("There is no such goal."))
        return encoded(as_json(goal))


class RatesView(ApiView):
    scopes = {"GET": {READ}, "POST": {WRITE}}

    @extend_schema(
        operation_id="exchange_rates_list",
        tags=["reports"],
        summary="Exchange rates",
        description="Amounts in other currencies are converted by the rate of the day in UTC, or the last of the month"
        " before it. In the order in which they were first stored.",
        parameters=[*filters.parameters(RateFilters), *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(RatePage, description="One page."),
            **schemas.errors(400, 401, 403),
        },
        examples=[
            OpenApiExample(
                "One rate",
                value={"rates": [_RATE], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page."""
        query = filters.filtered(request, ExchangeRate.objects.all(), RateFilters)
        return encoded(paging.page(request, query, "rates", _rate_as_json))

    @extend_schema(
        operation_id="exchange_rates_store",
        tags=["reports"],
        summary="Store 1 to 1,000 exchange rates",
        description="In place of those of the same day. Each row is judged alone: a bad one is listed in `rejected`,"
        " those beside it are stored; of a day that comes twice, the last row counts. What was earned on these days"
        " and in the month after is converted anew.",
        request=RatesInput,
        responses={
            200: OpenApiResponse(RatesResult, description="Done; see `rejected` for what was not."),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[
            OpenApiExample("One rate", value={"rates": [_RATE]}, request_only=True),
            OpenApiExample(
                "Stored",
                value={"created": 1, "updated": 0, "unchanged": 0, "rejected": []},
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Store the good ones."""
        rows = self.parsed(request, dict[str, list[msgspec.Raw]]).get("rates", [])
        if not 1 <= len(rows) <= schemas.MAX_ROWS:
            detail = _("Send 1 to %(most)d %(many)s at a time.") % {"most": schemas.MAX_ROWS, "many": "rates"}
            raise ApiError(400, "invalid_batch", detail, field="rates")
        good: dict[tuple[date, str], rates.Rate] = {}
        refused: list[Rejected] = []
        for index, raw in enumerate(rows):
            try:
                sent = decoded(bytes(raw), _Sent)
                rate = rates.rate(sent.day, sent.currency, str(sent.rate))
            except rates.BadRate as error:
                refused.append(Rejected(index, "invalid_value", str(error), error.field))
            except ApiError as error:
                refused.append(
                    Rejected(index, error.detail.code, str(error.detail), error.more.get("field", ""))
                )
            else:
                good[(rate.day, rate.currency)] = rate
        stored = rates.store(good.values())
        return encoded({**msgspec.structs.asdict(stored), "rejected": refused})


def as_json(goal: Goal) -> dict[str, Any]:
    """A goal as the API gives it."""
    return {
        **{name: getattr(goal, name) for name in _FIELDS},
        "name": _(goal.name) if goal.own else goal.name,
        "credits": msgspec.structs.asdict(recompute.progress(goal)),
        "models": {model: str(revenue.DEFINITIONS[model]) for model in Goal.Model.values},
    }


def _rate_as_json(row: ExchangeRate) -> dict[str, Any]:
    return {"day": row.day.isoformat(), "currency": row.currency, "rate": float(row.rate)}
