"""Scripted misbehaviour: which requests fail, and how.

A script is a list of rules. A rule counts the requests that match it, and acts on some of them:

    {"path": regex, "method"?: "POST",                     searched for in path and query
     "nth"?: 3 or [3, 4], "every"?: 5, "from_nth"?: 4,     which of them, counted from 1 (default: all)
     "share"?: 0.05, "seed"?: 1,                           ... or a random share, the same for the same seed
     "for_seconds"?: 180,                                  the rule ends that long after it was set

     "delay_seconds"?: 2.5,                                wait, then go on
     "drop"?: true,                                        close the connection unanswered
     "status"?: 503,                                       answer instead of the API, by default with what
                                                           the vendor would send with that status
     "policy"?: "SECONDLY",                                HubSpot's 429 of that policyName
     "body"?: object or text, "body_base64"?: "...",       the answer's body, as JSON, text or raw bytes
     "content_type"?: "text/csv",                          its type (text: text/html; bytes: application/json)
     "repeat"?: true,                                      answer as the last request that matched was answered
     "headers"?: {...}, "remove_headers"?: [...],          change the answer's headers
     "truncate"?: 100, "framing"?: "length",               send that many bytes of the body, then close
     "broken_gzip"?: true,                                 send half of the compressed body
     "stall_seconds"?: 600,                                send half of the body, wait, send the rest
     "drip_bytes_per_second"?: 50}                         send the body slowly

With `status`, `policy`, `body`, `body_base64` or a `repeat` that has something to repeat the API is not
called; with the others it is, and the work is done though the client may never learn of it. `framing` says
how a truncated body is announced: `length` (Content-Length of the whole), `chunked` (without its end), or
`none` (it ends with the connection, so only its content shows that something is missing). The first rule
that acts wins.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

from crm.sandbox.hubspot_replies import RATE_LIMITS

FRAMINGS = ("length", "chunked", "none")


class FaultError(ValueError):
    """A rule that cannot be understood; the message names the field."""


@dataclass
class Answer:
    """What was once answered, to be repeated."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass
class Fault:
    """One rule and how many requests have matched it."""

    path: re.Pattern[str]
    method: str | None = None
    nth: frozenset[int] | None = None
    every: int | None = None
    from_nth: int | None = None
    share: float | None = None
    seed: int = 1
    for_seconds: float | None = None
    delay_seconds: float = 0.0
    drop: bool = False
    status: int | None = None
    policy: str | None = None
    body: Any = None
    body_base64: bytes | None = None
    content_type: str | None = None
    repeat: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    remove_headers: tuple[str, ...] = ()
    truncate: int | None = None
    framing: str = "length"
    broken_gzip: bool = False
    stall_seconds: float | None = None
    drip_bytes_per_second: int | None = None
    matched: int = 0
    last: Answer | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  repeatable faults, not secrets
        self._ends = None if self.for_seconds is None else time.monotonic() + self.for_seconds

    @property
    def replaces(self) -> bool:
        """Whether the API is not called."""
        scripted = (self.status, self.policy, self.body, self.body_base64)
        return any(part is not None for part in scripted)

    def matches(self, method: str, path: str) -> bool:
        """Whether the request is one that the rule counts."""
        return self.method in (None, method) and self.path.search(path) is not None

    def acts_on(self, method: str, path: str) -> bool:
        """Count the request if it matches; whether this is one to act on."""
        if not self.matches(method, path):
            return False
        self.matched += 1
        if self._ends is not None and time.monotonic() > self._ends:
            return False
        if self.share is not None and self._random.random() >= self.share:
            return False
        if self.nth is not None:
            return self.matched in self.nth
        if self.from_nth is not None and self.matched < self.from_nth:
            return False
        return self.every is None or self.matched % self.every == 0


def parse(rules: Any) -> list[Fault]:
    """Faults from the JSON of a script, or FaultError."""
    if not isinstance(rules, list):
        raise FaultError("A fault script is a list of rules.")
    return [_parse_rule(rule) for rule in rules]


def _parse_rule(rule: Any) -> Fault:
    if not isinstance(rule, dict) or not isinstance(rule.get("path"), str):
        raise FaultError("A rule is an object with a 'path' (a regular expression).")
    unknown = sorted(set(rule) - set(FIELDS) - {"path"})
    if unknown:
        raise FaultError(f"Unknown fields in a rule: {', '.join(unknown)}.")
    try:
        pattern = re.compile(rule["path"])
    except re.error as error:
        raise FaultError(f"'path' is not a regular expression: {error}.") from None
    given = {name: value for name, value in rule.items() if name in FIELDS and value is not None}
    return Fault(path=pattern, **{name: FIELDS[name](name, value) for name, value in given.items()})


def _any(name: str, value: Any) -> Any:
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise FaultError(f"'{name}' must be a text.")
    return value


def _method(name: str, value: Any) -> str:
    return _text(name, value).upper()


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise FaultError(f"'{name}' must be true or false.")
    return value


def _numbers(name: str, value: Any) -> frozenset[int]:
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise FaultError(f"'{name}' must be a positive number or a list of them.")
    return frozenset(numbers)


def _whole(least: int):
    def read(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise FaultError(f"'{name}' must be a whole number of at least {least}.")
        return value

    return read


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise FaultError(f"'{name}' must be a number of seconds.")
    return float(value)


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise FaultError(f"'{name}' must be a number from 0 to 1.")
    return float(value)


def _headers(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise FaultError(f"'{name}' must be an object.")
    return {str(key): str(item) for key, item in value.items()}


def _names(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FaultError(f"'{name}' must be a list of names.")
    return tuple(value)


def _base64(name: str, value: Any) -> bytes:
    try:
        return base64.b64decode(_text(name, value) if value != "" else "", validate=True)
    except binascii.Error:
        raise FaultError(f"'{name}' must be base64.") from None


def _one_of(*choices: str):
    def read(name: str, value: Any) -> str:
        if value not in choices:
            raise FaultError(f"'{name}' must be one of {', '.join(choices)}.")
        return value

    return read


FIELDS = {
    "method": _method,
    "nth": _numbers,
    "every": _whole(1),
    "from_nth": _whole(1),
    "share": _share,
    "seed": _whole(0),
    "for_seconds": _seconds,
    "delay_seconds": _seconds,
    "drop": _flag,
    "status": _whole(200),
    "policy": _one_of(*RATE_LIMITS),
    "body": _any,
    "body_base64": _base64,
    "content_type": _text,
    "repeat": _flag,
    "headers": _headers,
    "remove_headers": _names,
    "truncate": _whole(0),
    "framing": _one_of(*FRAMINGS),
    "broken_gzip": _flag,
    "stall_seconds": _seconds,
    "drip_bytes_per_second": _whole(1),
}
