"""The answer to why somebody is in a flow or not, in parts."""

from datetime import datetime
from typing import Any

import msgspec


class Fact(msgspec.Struct):
    """One part of a rule for this person: whether it holds, in words, with the fact that decided."""

    text: str
    holds: bool
    fact: str = ""
    children: "list[Fact]" = []


class Check(msgspec.Struct):
    """One thing that entering depends on. `holds`: whether it lets them in; None: it can't be told."""

    about: str
    holds: bool | None
    text: str
    facts: list[Fact] = []


class Sent(msgspec.Struct):
    """One message that a run asked for, and what became of it."""

    id: int
    message: str
    channel: str
    state: str
    state_words: str
    reason: str
    why: str
    queued_at: datetime
    due_at: datetime | None = None
    expires_at: datetime | None = None
    sent_at: datetime | None = None


class Happened(msgspec.Struct):
    """One decision: what it says, at which step, with its facts and the messages that it asked for."""

    at: datetime
    kind: str
    step: str
    about: str
    text: str
    facts: dict[str, Any] = {}
    sent: list[Sent] = []


class Next(msgspec.Struct):
    """What happens next. `at` is None when nothing will by itself."""

    text: str
    step: str = ""
    about: str = ""
    at: datetime | None = None
    their_time: str = ""
    account_time: str = ""


class RunTold(msgspec.Struct):
    """One run through the flow."""

    id: int
    version: int
    state: str
    run_key: str
    holdout: bool
    entered_at: datetime
    ended_at: datetime | None
    ended: str
    story: list[Happened]
    next: Next | None = None
    watched: list[Check] = []


class Why(msgspec.Struct):
    """The whole answer. `checks`: whether the person would be let in now, one by one."""

    profile_id: int
    flow: str
    name: str
    state: str
    zone: str
    as_of: datetime
    inside: bool
    entered: bool
    summary: str
    runs: list[RunTold]
    checks: list[Check]
    refused: list[Happened]
