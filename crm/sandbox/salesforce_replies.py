"""Salesforce's replies: JSON bodies and errors, which are lists whatever their number."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

CODES = {
    400: ("JSON_PARSER_ERROR", "The request could not be understood"),
    401: ("INVALID_SESSION_ID", "Session expired or invalid"),
    403: ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    404: ("NOT_FOUND", "The requested resource does not exist"),
    405: ("METHOD_NOT_ALLOWED", "HTTP Method not allowed for this resource"),
    413: ("REQUEST_ENTITY_TOO_LARGE", "The request is too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The media type is not supported"),
    429: ("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    503: ("SERVER_UNAVAILABLE", "The server is temporarily unable to service the request"),
}
UNEXPECTED = ("UNKNOWN_EXCEPTION", "An unexpected error occurred.")


class ApiError(Exception):
    """A request, or one row of it, that Salesforce refuses."""

    def __init__(self, status: int, code: str, message: str, fields: Iterable[str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.fields = None if fields is None else list(fields)

    def body(self) -> list[dict[str, Any]]:
        """The error as a reply's body."""
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            entry["fields"] = self.fields
        return [entry]

    def row(self) -> dict[str, Any]:
        """The error as the result of one record of a collection."""
        error = {"statusCode": self.code, "message": self.message, "fields": self.fields or []}
        return {"success": False, "errors": [error]}


def not_found(message: str = CODES[404][1]) -> ApiError:
    """The 404 of an address that leads nowhere."""
    return ApiError(404, "NOT_FOUND", message)


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON in UTF-8; half of a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        body=text.encode("utf-8", "replace"),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def error_body(status: int) -> list[dict[str, Any]]:
    """What Salesforce sends with a bare status: used for scripted faults and unknown paths."""
    code, message = CODES.get(status, UNEXPECTED)
    return ApiError(status, code, message).body()
