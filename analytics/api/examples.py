"""Examples of reports for the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import OpenApiExample


def of(name: str, value: Any, media: str = "application/json") -> list[OpenApiExample]:
    """The example of an answer."""
    return [OpenApiExample(name, value=value, response_only=True, status_codes=["200"], media_type=media)]


_SENT = {
    "key": "sent",
    "label": "Sent",
    "kind": "count",
    "definition": "Accepted by the push service, mail server or provider in the period.",
    "better": "up",
    "people": "sent",
}
_REVENUE = {
    "key": "revenue",
    "label": "Revenue",
    "kind": "money",
    "definition": "The amounts of those goal events.",
    "better": "up",
    "people": "",
}
_NOW = {"sent": 950, "revenue": [{"currency": "EUR", "value": 1240.5}]}
_BEFORE = {"sent": 871, "revenue": []}
CHANNELS = {
    "report": "channels",
    "title": "Channels",
    "period": {"preset": "custom", "from": "2026-01-01", "to": "2026-01-31", "unfinished": 0},
    "before": {"from": "2025-12-01", "to": "2025-12-31"},
    "parameters": {"from": "2026-01-01", "to": "2026-01-31"},
    "cards": [_SENT, _REVENUE],
    "figures": {"values": _NOW, "before": _BEFORE},
    "charts": [
        {
            "chart": "days",
            "title": "By day",
            "kind": "lines",
            "head": "Day",
            "labels": ["January 1"],
            "days": ["2026-01-01"],
            "series": [{"column": _SENT, "values": [40], "before": [38]}],
        }
    ],
    "tables": [
        {
            "table": "channels",
            "title": "By channel",
            "head": "Channel",
            "layout": "table",
            "note": "",
            "columns": [_SENT, _REVENUE],
            "rows": [
                {
                    "key": "webpush",
                    "label": "Web push",
                    "place": 1,
                    "depth": 0,
                    "note": "",
                    "values": _NOW,
                    "before": _BEFORE,
                    "narrows": {"channel": "webpush"},
                }
            ],
            "total": None,
            "next_cursor": None,
        }
    ],
    "warnings": [],
    "notes": [],
    "definitions": {"sent": _SENT["definition"], "revenue": _REVENUE["definition"]},
}
CATALOGUE = {
    "reports": [
        {
            "report": "channels",
            "title": "Channels",
            "description": "Web push, email, SMS and the others beside each other.",
            "group": "messages",
            "subject": None,
            "filters": ["country", "message"],
            "period": "30",
            "compares": True,
            "choices": [],
        }
    ],
    "periods": [{"value": "30", "label": "Last 30 days"}],
    "filters": [{"value": "country", "label": "Country"}],
    "figures": [{"key": "sent", "label": "Sent", "kind": "count", "definition": _SENT["definition"]}],
}
PEOPLE = {
    "people": [{"id": 42, "external_ids": ["C-1001"], "delivery": 7, "at": "2026-01-31T12:00:00Z"}],
    "next_cursor": None,
}
