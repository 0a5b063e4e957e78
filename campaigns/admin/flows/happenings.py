"""Events in the panels' forms: a name with filters on its properties, alone or in a list."""

from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from campaigns.segments.conditions import kinds as conditions
from campaigns.segments.grammar import parse
from campaigns.segments.rows import Posted, read_event
from campaigns.segments.suggestions import Suggestions
from crm.rules.errors import RuleError

MOST_EVENTS = 20
# Sent by the SDK and written by the product itself, so worth offering before the first one was seen.
KNOWN_EVENTS = (
    "push_subscribed",
    "push_unsubscribed",
    "identified",
    "page_viewed",
    "product_viewed",
    "cart_updated",
    "purchase",
    "message_opened",
    "message_clicked",
    "segment_entered",
    "segment_left",
    "consent_changed",
)


class EventRow:
    """One event in a form, its inputs named `<prefix>.name`, `<prefix>.where0.property`, …

    Args:
        named: whether the name is chosen here; otherwise it is `data["name"]` and only the filters are.
    """

    def __init__(self, prefix: str, data: dict[str, Any], named: bool = True):
        self.prefix, self.named = prefix, named
        self.data = {"name": data.get("name") or "", "where": list(data.get("where") or [])}
        self.errors: dict[str, str] = {}

    @classmethod
    def posted(cls, post: QueryDict, prefix: str, name: str | None = None) -> "EventRow":
        """The row as its inputs say; `name` is the event's if it isn't chosen here."""
        start = f"{prefix}."
        mine: Posted = {
            key.removeprefix(start): texts for key, texts in post.lists() if key.startswith(start)
        }
        data = read_event(mine)
        chosen = data["name"].strip()[:200] if name is None else name
        return cls(prefix, {**data, "name": chosen}, named=name is None)

    @property
    def name(self) -> str:
        return self.data["name"]

    def apply(self, operation: str) -> str:
        """Add or remove a filter; return the id of what gets the focus."""
        where, number = self.data["where"], operation.removeprefix("remove-where-")
        if operation == "add-where":
            where.append({"property": "", "op": "", "value": None})
            return f"{self.prefix}.where{len(where) - 1}.property"
        if number != operation and number.isdecimal():
            del where[int(number) : int(number) + 1]
            return f"{self.prefix}-add-where"
        return ""

    def is_valid(self) -> bool:
        """Whether the event can be looked for; otherwise `errors` say what is wrong with `name` and `where`."""
        if not self.name:
            self.errors["name"] = _("Choose an event.")
        else:
            try:
                parse({"kind": "event", **self.stored()})
            except RuleError as error:
                self.errors["where"] = error.message
        return not self.errors

    def where(self) -> list[dict[str, Any]]:
        """The filters as stored."""
        return [
            {name: item[name] for name in ("property", "op", "value") if name in item}
            for item in self.data["where"]
        ]

    def stored(self) -> dict[str, Any]:
        """The event as stored: `name` and, if it has any, `where`."""
        where = self.where()
        return {"name": self.name} | ({"where": where} if where else {})

    def shown(self, suggest: Suggestions) -> dict[str, Any]:
        """What the template draws."""
        return {
            "prefix": self.prefix,
            "named": self.named,
            "name": self.name,
            "where": conditions()["event"].row({"kind": "event", **self.data}, suggest)["where"],
            "errors": self.errors,
        }


class EventList:
    """Several events; those without a name are dropped. Each posts its number as `<name>`."""

    def __init__(self, name: str, rows: list[EventRow]):
        self.name, self.rows, self.error = name, rows, ""

    @classmethod
    def of(cls, name: str, stored: Any) -> "EventList":
        """The list as stored."""
        items = [item for item in stored or [] if isinstance(item, dict)][:MOST_EVENTS]
        return cls(name, [EventRow(f"{name}{number}", item) for number, item in enumerate(items)])

    @classmethod
    def posted(cls, post: QueryDict, name: str) -> "EventList":
        """The list as its inputs say, in the order of the page."""
        numbers = [text for text in post.getlist(name) if text.isdecimal() and len(text) < 4]
        return cls(
            name,
            [EventRow.posted(post, f"{name}{number}") for number in dict.fromkeys(numbers[:MOST_EVENTS])],
        )

    def apply(self, operation: str, target: str) -> str:
        """Add or remove an event or a filter of one; return the id of what gets the focus."""
        if target == self.name:
            number = operation.removeprefix("remove-")
            if operation == "add" and len(self.rows) < MOST_EVENTS:
                used = {row.prefix for row in self.rows}
                prefix = next(p for n in range(1000) if (p := f"{self.name}{n}") not in used)
                self.rows.append(EventRow(prefix, {}))
                return f"{prefix}.name"
            self.rows = [row for row in self.rows if row.prefix != f"{self.name}{number}"]
            return f"{self.name}-add"
        for row in self.rows:
            if row.prefix == target:
                return row.apply(operation)
        return ""

    def is_valid(self) -> bool:
        """Whether every event can be looked for. Rows that nobody filled in are no mistakes."""
        self.rows = [row for row in self.rows if row.name or row.data["where"]]
        checked = [
            row.is_valid() for row in self.rows
        ]  # all of them, so that each says what is wrong with it
        return all(checked)

    def stored(self) -> list[dict[str, Any]]:
        """The events as stored, each once."""
        found: list[dict[str, Any]] = []
        for row in self.rows:
            if row.name and (item := row.stored()) not in found:
                found.append(item)
        return found

    def shown(self, suggest: Suggestions) -> dict[str, Any]:
        """What the template draws."""
        rows = [{**row.shown(suggest), "number": row.prefix.removeprefix(self.name)} for row in self.rows]
        return {"name": self.name, "rows": rows, "error": self.error, "full": len(rows) >= MOST_EVENTS}


def event_names(suggest: Suggestions) -> list[str]:
    """The names to suggest: those that were seen, then those that are known."""
    return list(dict.fromkeys([*suggest.event_names(), *KNOWN_EVENTS]))
