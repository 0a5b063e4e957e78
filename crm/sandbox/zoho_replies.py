"""Zoho's replies: error bodies, times in the organisation's offset, records and users as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from aiohttp import web

USER = {"id": "554023000000235011", "name": "Sandbox Admin", "email": "admin@sandbox.example"}

# What Zoho says with a status when no handler has said anything more exact.
BY_STATUS = {
    400: ("BAD_REQUEST", "body"),
    401: ("INVALID_TOKEN", "invalid oauth token"),
    403: ("NO_PERMISSION", "permission denied"),
    404: ("INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one"),
    405: ("INVALID_REQUEST_METHOD", "The http request method type is not a valid one"),
    429: ("TOO_MANY_REQUESTS", "Maximum number of concurrent requests reached. Please try again later."),
}
INTERNAL = ("INTERNAL_ERROR", "Internal server error occurred.")


class ApiError(Exception):
    """A reply that refuses the request."""

    def __init__(
        self, status: int, code: str, message: str, details: dict[str, Any] | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "details": details or {}, "message": message, "status": "error", **more}


class NothingError(Exception):
    """A reply without a body: 204 where there is nothing, 304 where nothing is newer."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def reply(body: Any, status: int = 200) -> web.Response:
    """A JSON response; values may hold characters that are no valid Unicode."""
    return web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")


def error_for(status: int) -> web.Response:
    """The body Zoho sends with this status."""
    code, message = BY_STATUS.get(status, INTERNAL)
    return reply({"code": code, "details": {}, "message": message, "status": "error"}, status)


def missing(name: str, key: str = "param_name") -> ApiError:
    """A parameter (or, with another `key`, a header or body member) that must be there is not."""
    return ApiError(400, "REQUIRED_PARAM_MISSING", "One of the expected parameter is missing", {key: name})


def invalid(name: str, **details: Any) -> ApiError:
    """A parameter holds nonsense."""
    return ApiError(
        400, "INVALID_DATA", "Please check whether the input values are correct", {"param": name, **details}
    )


def no_module(name: str) -> ApiError:
    """There is no such module."""
    return ApiError(
        400, "INVALID_MODULE", "The module name given seems to be invalid", {"resource_path_index": 0}
    )


def success(message: str, details: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One row of an action's result."""
    return {"code": "SUCCESS", **more, "details": details, "message": message, "status": "success"}


def local(stamp: int, offset_minutes: int) -> str:
    """`2026-01-01T02:00:00+02:00` for a stamp in ms: Zoho shows seconds, in the organisation's time zone."""
    zone = timezone(timedelta(minutes=offset_minutes))
    return datetime.fromtimestamp(stamp // 1000, UTC).astimezone(zone).isoformat()
