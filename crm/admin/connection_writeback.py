"""Choosing what is written back into a CRM: which of its fields takes which value, and what goes to its timeline."""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.connectors.base import Connector, Field, FieldKind
from crm.sync import written_values
from crm.sync.mapping import Mapping
from crm.sync.written_values import CLICKED, CONVERTED, OPENED, Value

# The ones that most want; the rest is shown on demand.
USUAL = ("opens", "clicks", "conversions", "last_engagement", "unsubscribed", "lifecycle_stage", "score")
ACTIVITIES = {
    OPENED: gettext_lazy("opened a message"),
    CLICKED: gettext_lazy("clicked in a message"),
    CONVERTED: gettext_lazy("reached a message's goal"),
    "consent_changed": gettext_lazy("subscribed or unsubscribed"),
    "purchase": gettext_lazy("bought something"),
}
# The CRM fields that can hold a value of a kind.
HOLDS: dict[str, tuple[FieldKind, ...]] = {
    "number": ("number", "text"),
    "datetime": ("datetime", "text"),
    "date": ("date", "datetime", "text"),
    "boolean": ("boolean",),
}


class WriteRow(msgspec.Struct):
    """One value of ours and the CRM fields that could hold it."""

    name: str
    label: str
    chosen: str
    fields: list[Field]
    usual: bool


class WritebackForm:
    """For one object of people. `mapping` is what was chosen, `error` why that can't be."""

    def __init__(
        self, connector: Connector, fields: Sequence[Field], held: Mapping, prefix: str, data: Any = None
    ):
        self.fields = sorted(
            (field for field in fields if field.writable), key=lambda each: each.label.casefold()
        )
        self.held, self.data, self.prefix = held, data, prefix
        self.takes_fields = connector.write_batch > 0
        self.takes_activities = connector.takes_activities
        self.error = ""
        self.mapping = held if data is None else self._read(data)

    def _values(self) -> list[Value]:
        offered = {value.name: value for value in written_values.offered()}
        for name in self.held.write.values():
            if name not in offered and (found := written_values.find(name)):
                offered[name] = found  # an attribute of the mapping
        order = {name: place for place, name in enumerate(USUAL)}
        return sorted(offered.values(), key=lambda value: order.get(value.name, len(order)))

    def _read(self, data: Any) -> Mapping:
        write: dict[str, str] = {}
        labels = {field.name: field.label for field in self.fields}
        for value in self._values():
            field = data.get(f"{self.prefix}write-{value.name}", "")
            if not field or field not in labels:
                continue
            if field in write:
                self.error = _("“%s” can hold only one value.") % labels[field]
            target = self.held.fields.get(field)
            if target and target not in self.held.ours:
                self.error = (
                    _(
                        "“%s” is read from the CRM as well. Choose another field, or let Nudge's value count in step"
                        " “Fields”."
                    )
                    % labels[field]
                )
            write[field] = value.name
        known = {*ACTIVITIES, *self.held.activities}
        activities = [name for name in data.getlist(f"{self.prefix}activity") if name in known]
        return msgspec.structs.replace(self.held, write=write, activities=activities)

    def rows(self) -> list[WriteRow]:
        """A row for each value, the usual ones first."""
        chosen = {name: field for field, name in self.mapping.write.items()}
        return [
            WriteRow(
                name=f"{self.prefix}write-{value.name}",
                label=str(value.label),
                chosen=chosen.get(value.name, ""),
                fields=[
                    field
                    for field in self.fields
                    if field.kind in HOLDS.get(value.kind, ("text", "choice"))
                    or field.name == chosen.get(value.name)
                ],
                usual=value.name in USUAL or value.name in chosen,
            )
            for value in self._values()
        ]

    def activities(self) -> list[tuple[str, str, bool]]:
        """Events to choose from: name, words, whether chosen."""
        names = dict.fromkeys([*ACTIVITIES, *self.mapping.activities])
        return [(name, str(ACTIVITIES.get(name, name)), name in self.mapping.activities) for name in names]
