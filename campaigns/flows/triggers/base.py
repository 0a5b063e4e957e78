"""The shape of a trigger kind. Adding a kind is adding a file to this folder."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec
from django import forms
from django.utils.translation import gettext as _

from campaigns.flows import asking
from crm import log
from crm.rules.errors import Problem
from crm.rules.sql import Sql


class Start(msgspec.Struct, frozen=True):
    """Somebody who is to be started, by a trigger or by hand.

    Args:
        at: when it happened, or the moment that the clock reached.
        context: what the run knows, {"event": {"name", "occurred_at", "properties", "id"?}}.
        event_id: the event in the log, if one started it.
        until: the run is held before its first step until then.
        mark: tells this start apart from others of the person, such as "date:2026"; the same start again starts
            nothing.
        place: where its event stands in the log.
        undated: it lacks the date until which the run would be held.
    """

    profile_id: int
    at: datetime
    context: dict[str, Any]
    event_id: UUID | None = None
    until: datetime | None = None
    mark: str = ""
    place: log.Position | None = None
    undated: bool = False


class TriggerKind:
    """One kind of trigger: what it is called, what can be set, and whom it starts."""

    kind: ClassVar[str]
    label: ClassVar[Any]
    icon: ClassVar[str]
    help: ClassVar[Any] = ""
    position: ClassVar[int] = 50  # where it is offered among the kinds
    event_field: ClassVar[str] = ""  # a setting that names an event, edited as such above the form
    where_field: ClassVar[str] = ""  # one that holds conditions on the event's properties, edited as such
    where_event: ClassVar[str] = ""  # the event whose properties they are about, where it is always the same
    show_event_if: ClassVar[str] = ""  # "field=value": with this choice only both are shown and stored
    keyed: ClassVar[bool] = True  # what starts a run has properties, so that a run key can be made of one
    Config: ClassVar[type[msgspec.Struct]]
    Form: ClassVar[type[forms.Form]]

    def clock(self, config: Any) -> Literal["", "exact", "ahead"]:
        """Whether the clock starts people.

        Returns:
            "": it does not. "exact": `moments` is quick enough to be asked every few seconds. "ahead": it looks at
            everybody, so it is asked now and then about the time to come, and `again` about those who were found.
        """
        return ""

    def ahead(self, config: Any, since: datetime, until: datetime) -> Iterator[Start]:
        """As `moments`, in no order and in pages, for kinds whose clock is "ahead"."""
        raise NotImplementedError(self.kind)

    def again(self, config: Any, profile_ids: Sequence[int], since: datetime, until: datetime) -> list[Start]:
        """Of these people the `moments` in (since, until], for kinds whose clock is "ahead"."""
        raise NotImplementedError(self.kind)

    def changed(
        self, config: Any, changed_since: datetime, since: datetime, until: datetime, most: int
    ) -> list[Start] | None:
        """Of those whose profile changed since then the `moments` in (since, until]; None if they are too many."""
        raise NotImplementedError(self.kind)

    def names(self, config: Any) -> frozenset[str]:
        """The events of the log that may start somebody."""
        return frozenset()

    def watches(self, config: Any) -> frozenset[str]:
        """Fields of people whose changes are to be recorded in the log for it (see crm.attribute_changes)."""
        return frozenset()

    def asks(self, config: Any, events: Sequence[log.LoggedEvent], now: datetime) -> asking.Question:
        """Which of `events` start somebody; nothing is asked yet, so that many flows can ask at once."""
        return asking.Question()

    def starting(
        self, config: Any, events: Sequence[log.LoggedEvent], now: datetime
    ) -> list[log.LoggedEvent]:
        """Those of `events` that start somebody, in their order."""
        return asking.meant([self.asks(config, events, now)])[0]

    def gated(self, config: Any, starts: Sequence[Start]) -> list[Start]:
        """For kinds that start by an event and hold the run until a date: the starts with when they may go on."""
        return list(starts)

    def looks_back(self, config: Any) -> bool:
        """Whether somebody can have qualified before a flow was published."""
        return True

    def already(self, config: Any, now: datetime) -> dict[str, Any]:
        """What stands for the event in the run of somebody who qualifies without one."""
        return {"name": self.kind, "occurred_at": now.isoformat(), "properties": {}}

    def moments(
        self,
        config: Any,
        since: datetime,
        until: datetime,
        limit: int | None = None,
        after: int | None = None,
    ) -> Iterator[Start]:
        """Who is started in (since, until], by what is stored, ordered by time and profile id.

        Args:
            limit: so many at most.
            after: with this, those of the very moment `since` come too whose profile id is greater.
        """
        raise NotImplementedError(self.kind)

    def qualifying(self, config: Any, days: int, now: datetime) -> Sql | None:
        """Who would have been started in the last `days`, or is already what would have started them.

        Returns:
            A statement for rows of (profile_id, event_id, at), at most one for each event; event_id may be NULL.
            None: nobody can be told so; see `moments`.
        """
        return None

    def stored(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """The settings as the form tells them (`cleaned_data`); event and conditions come on top."""
        return {name: value for name, value in cleaned.items() if value not in (None, "", [])}

    def initial(self, config: dict[str, Any]) -> dict[str, Any]:
        """What the form begins with, from the settings as they are stored, finished or not."""
        return dict(config)

    def summary(self, config: Any) -> str:
        """The trigger in a few words, for its card."""
        return str(self.label)

    def read(self, data: Mapping[str, Any]) -> Any:
        """The settings. Raises msgspec.ValidationError."""
        return msgspec.convert(dict(data), self.Config)

    def problems(self, data: Mapping[str, Any]) -> list[Problem]:
        """What keeps this trigger from starting anybody, each with the setting's name."""
        try:
            config = self.read(data)
        except msgspec.ValidationError as error:
            message, _separator, path = str(error).partition(" - at `$")
            if "missing required field" in message:
                return [Problem(message.split("`")[1], _("Fill this in."))]
            return [Problem(path.rstrip("`").lstrip("."), message)]
        return self.config_problems(config)

    def config_problems(self, config: Any) -> list[Problem]:
        """Problems that the shape of the settings does not show."""
        return []
