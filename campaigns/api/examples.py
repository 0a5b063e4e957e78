"""Examples of the OpenAPI document: one segment, seen from all sides."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from campaigns.api import shapes
from crm.api import schemas

RULE: dict[str, Any] = {
    "all": [
        {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
        {"kind": "event", "name": "purchase", "within": {"last": {"days": 30}}},
    ]
}
SENTENCE = "Everybody for whom: country is Poland and did “purchase” at least 1 time in the last 30 days."
SEGMENT: dict[str, Any] = {
    "slug": "polish-buyers",
    "name": "Polish buyers",
    "description": "",
    "kind": "rule",
    "rule": RULE,
    "sentence": SENTENCE,
    "version": 2,
    "state": "ready",
    "error": "",
    "size": 1204,
    "evaluated_at": "2026-01-31T12:00:00Z",
    "evaluation_ms": 140,
    "counting_since": None,
    "exact_as_of": "2026-01-31T14:05:03Z",
    "rule_changed_at": "2026-01-30T08:00:00Z",
    "created_at": "2026-01-05T09:12:00Z",
    "updated_at": "2026-01-30T08:00:00Z",
    "uses": [{"text": "the flow “Thank you”", "url": "/admin/campaigns/flow/3/change/"}],
}
LINE = {name: value for name, value in SEGMENT.items() if name != "sentence"}
ADA: dict[str, Any] = {
    "id": 42,
    "external_id": "C-1001",
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "country": "PL",
}
SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"},
    OpenApiParameter.PATH,
    description="Its short name.",
)
WRONG_RULE = OpenApiResponse(
    shapes.RuleError,
    description="A value can't be taken; of a rule every mistake is named at its node.",
    examples=[
        OpenApiExample(
            "Two mistakes",
            value={
                "error": {
                    "code": "invalid_rule",
                    "detail": "There is no such field.",
                    "field": "rule.all[0].field",
                    "problems": [
                        {"field": "rule.all[0].field", "detail": "There is no such field."},
                        {"field": "rule.all[1].where[0].value", "detail": "Give a number."},
                    ],
                }
            },
        )
    ],
)
IN_USE = OpenApiResponse(
    shapes.InUse,
    description="Something needs it; `uses` tells what.",
    examples=[
        OpenApiExample(
            "in_use",
            value={
                "error": {
                    "code": "in_use",
                    "detail": "It is used by the flow “Thank you”.",
                    "uses": SEGMENT["uses"],
                }
            },
        )
    ],
)
TOO_SLOW = OpenApiResponse(
    schemas.Error,
    description="The database did not answer in time, or is busy; `code` tells which.",
    examples=[
        OpenApiExample(
            "too_slow",
            value={"error": {"code": "too_slow", "detail": "This rule takes too long. Narrow its windows."}},
        )
    ],
)


def conflict(code: str, detail: str) -> OpenApiResponse:
    """A 409 with one example."""
    return OpenApiResponse(
        schemas.Error,
        description="It can't be done as things are; `code` tells why.",
        examples=[OpenApiExample(code, value={"error": {"code": code, "detail": detail}})],
    )


def answer(title: str, value: Any, *statuses: int) -> OpenApiExample:
    """What is answered."""
    return OpenApiExample(
        title, value=value, response_only=True, status_codes=[str(status) for status in statuses or (200,)]
    )


def request(title: str, value: Any) -> OpenApiExample:
    """What is sent."""
    return OpenApiExample(title, value=value, request_only=True)


def changed(state: str, status: int) -> list[OpenApiExample]:
    """What keys with and without the right to read are answered to a change."""
    short = {"slug": "polish-buyers", "state": state, "version": 2}
    return [
        answer(f"To a key that may read ({state})", {**short, "segment": SEGMENT}, status),
        answer(f"To a key that may only write ({state})", short, status),
    ]
