"""HubSpot's replies: records, batch results and error bodies, shaped like its client library's models."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from crm.sandbox.hubspot_schema import Schema
from crm.sandbox.store import Clock, Record, iso

CATEGORIES = {
    400: "VALIDATION_ERROR",
    401: "INVALID_AUTHENTICATION",
    403: "MISSING_SCOPES",
    404: "OBJECT_NOT_FOUND",
    405: "VALIDATION_ERROR",
    409: "CONFLICT",
    429: "RATE_LIMITS",
}
RATE_LIMITS = {
    "SECONDLY": "You have reached your secondly limit.",
    "TEN_SECONDLY_ROLLING": "You have reached your ten_secondly_rolling limit.",
    "DAILY": "You have reached your daily limit.",
}
NOT_FOUND = "Object not found.  objectId are usually numeric."
NO_CREDENTIALS = (
    "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
    "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
)


class ApiError(Exception):
    """A request that HubSpot refuses: status, what it says, and the details beside it.

    `status_word` is the body's `status`; `policy` is the exceeded limit of a 429, one of RATE_LIMITS, and
    `retry_after` the seconds of its Retry-After header, if it has one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        category: str | None = None,
        context: dict[str, list[str]] | None = None,
        errors: list[dict[str, Any]] | None = None,
        status_word: str = "error",
        policy: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.status_word, self.policy, self.retry_after = status_word, policy, retry_after
        self.category = category or CATEGORIES.get(status, "INTERNAL_ERROR")
        self.context, self.errors = context, errors

    def body(self) -> dict[str, Any]:
        """The error as a reply's body."""
        if self.policy:
            return rate_limit_body(self.policy)
        body: dict[str, Any] = {
            "status": self.status_word,
            "message": self.message,
            "correlationId": str(uuid.uuid4()),
            "category": self.category,
        }
        if self.context:
            body["context"] = self.context
        if self.errors:
            body["errors"] = self.errors
        return body

    def response(self) -> web.Response:
        """The error as a reply."""
        answer = reply(self.body(), self.status)
        if self.retry_after is not None:
            answer.headers["Retry-After"] = str(self.retry_after)
        return answer

    def standard(self, **context: list[str]) -> dict[str, Any]:
        """The error as one row of a batch reply."""
        return {
            "status": "error",
            "category": self.category,
            "message": self.message,
            "context": {**(self.context or {}), **context},
            "errors": self.errors or [],
            "links": {},
        }


def error_body(status: int, path: str) -> dict[str, Any]:
    """What HubSpot sends with a bare status: used for scripted faults and unknown paths."""
    if status == 429:
        policy = "SECONDLY" if path.endswith("/search") else "TEN_SECONDLY_ROLLING"
        return rate_limit_body(policy)
    messages = {401: NO_CREDENTIALS, 404: "resource not found", 405: "Method not allowed"}
    return ApiError(status, messages.get(status, "internal error")).body()


def rate_limit_body(policy: str) -> dict[str, Any]:
    """The body of a 429 for one of the policies in RATE_LIMITS."""
    return {
        **ApiError(429, RATE_LIMITS[policy]).body(),
        "errorType": "RATE_LIMIT",
        "policyName": policy,
        "requestId": str(uuid.uuid4()),
    }


def reply(body: Any, status: int = 200) -> web.Response:
    """JSON in UTF-8; half of a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        body=text.encode("utf-8", "replace"), status=status, content_type="application/json", charset="utf-8"
    )


def record(schema: Schema, row: Record, shown: Iterable[str], history: Iterable[str] = ()) -> dict[str, Any]:
    """A record with the properties in `shown`, all of which exist: null where empty."""
    value_of = schema.value_of
    body: dict[str, Any] = {
        "id": str(row.id),
        "properties": {name: value_of(row, name) for name in shown},
        "createdAt": iso(row.created),
        "updatedAt": iso(row.modified),
        "archived": row.archived,
    }
    if row.archived_at is not None:
        body["archivedAt"] = iso(row.archived_at)
    past = [name for name in dict.fromkeys(history) if schema.active(name)]
    if past:
        body["propertiesWithHistory"] = {name: _history(schema, row, name) for name in past}
    return body


def _history(schema: Schema, row: Record, name: str) -> list[dict[str, str]]:
    value = schema.value_of(row, name)
    versions = row.history.get(name) or ([(value, row.created)] if value is not None else [])
    return [{"value": value, "timestamp": iso(at), "sourceType": "API"} for value, at in versions]


def batch(
    clock: Clock, results: list[dict[str, Any]], errors: list[dict[str, Any]], status: int = 200
) -> web.Response:
    """A batch reply: 207 as soon as one row failed."""
    now = iso(clock.now())
    body: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return reply(body, 207 if errors else status)
