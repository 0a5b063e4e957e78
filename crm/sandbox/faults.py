"""Scripted misbehaviour: which requests fail, and how.

A script is a list of rules. A rule counts the requests that match it, and acts on some of them:

    {"path": regex, "method"?: "POST", "nth"?: 3 or [3, 4], "every"?: 5,   which of them (default: all)
     "delay_seconds"?: 2.5,                                                wait, then go on
     "drop"?: true,                                                        close the connection unanswered
     "status"?: 503, "body"?: object or text, "headers"?: {...},           answer instead of the API
     "truncate"?: 100}                                                     send that many bytes, then close

`path` is searched for in path and query; `nth` counts from 1. With `status` the API is not called; with
`truncate` alone it is, and the work is done though the client never learns of it. Without `body` an
answer is what the vendor would send with that status. The first rule that acts wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

FIELDS = {"path", "method", "nth", "every", "delay_seconds", "drop", "status", "body", "headers", "truncate"}


class FaultError(ValueError):
    """A rule that cannot be understood; the message names the field."""


@dataclass
class Fault:
    """One rule and how many requests have matched it."""

    path: re.Pattern[str]
    method: str | None = None
    nth: frozenset[int] | None = None
    every: int | None = None
    delay_seconds: float = 0.0
    drop: bool = False
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    truncate: int | None = None
    matched: int = 0

    def acts_on(self, method: str, path: str) -> bool:
        """Count the request if it matches; whether this is one to act on."""
        if (self.method and self.method != method) or not self.path.search(path):
            return False
        self.matched += 1
        if self.nth is not None:
            return self.matched in self.nth
        return self.every is None or self.matched % self.every == 0


def parse(rules: Any) -> list[Fault]:
    """Faults from the JSON of a script, or FaultError."""
    if not isinstance(rules, list):
        raise FaultError("A fault script is a list of rules.")
    return [_parse_rule(rule) for rule in rules]


def _parse_rule(rule: Any) -> Fault:
    if not isinstance(rule, dict) or not isinstance(rule.get("path"), str):
        raise FaultError("A rule is an object with a 'path' (a regular expression).")
    unknown = sorted(set(rule) - FIELDS)
    if unknown:
        raise FaultError(f"Unknown fields in a rule: {', '.join(unknown)}.")
    try:
        pattern = re.compile(rule["path"])
    except re.error as error:
        raise FaultError(f"'path' is not a regular expression: {error}.") from None
    headers = rule.get("headers") or {}
    if not isinstance(headers, dict):
        raise FaultError("'headers' must be an object.")
    return Fault(
        path=pattern,
        method=str(rule["method"]).upper() if rule.get("method") else None,
        nth=_numbers(rule["nth"]) if "nth" in rule else None,
        every=_whole(rule, "every", 1),
        delay_seconds=_seconds(rule.get("delay_seconds", 0)),
        drop=rule.get("drop") is True,
        status=_whole(rule, "status", 200),
        body=rule.get("body"),
        headers={str(name): str(value) for name, value in headers.items()},
        truncate=_whole(rule, "truncate", 0),
    )


def _numbers(value: Any) -> frozenset[int]:
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise FaultError("'nth' must be a positive number or a list of them.")
    return frozenset(numbers)


def _whole(rule: dict[str, Any], key: str, least: int) -> int | None:
    value = rule.get(key)
    if value is not None and (not isinstance(value, int) or value < least):
        raise FaultError(f"'{key}' must be a whole number of at least {least}.")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, (int, float)) or value < 0:
        raise FaultError("'delay_seconds' must be a number of seconds.")
    return float(value)
