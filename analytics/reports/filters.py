"""What of all deliveries a report is about, as SQL."""

from typing import Any

import msgspec

Sql = tuple[str, dict[str, Any]]
TRAITS = ("locale", "country", "device", "provider")


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What to count; nothing stands for everything, tests never count.

    `message`, `flow`, `broadcast` and `segment` are row numbers; a segment means who is in it now. Of what somebody
    is, "" means that it is not known. With `machines`, what a machine opened or clicked counts as opened or clicked.
    Conversions are those of the goals that messages have themselves, or of the `goal` with this row number; which
    messages have the credit is by `model`, one of Goal.Model, or as the goal itself says.
    """

    channel: str = ""
    message: int | None = None
    variant: str = ""
    flow: int | None = None
    broadcast: int | None = None
    step: str = ""
    origin: str = ""
    locale: str | None = None
    country: str | None = None
    device: str | None = None
    provider: str | None = None
    segment: int | None = None
    machines: bool = False
    goal: int | None = None
    model: str = ""

    @property
    def traits(self) -> dict[str, str]:
        """Those of the filters that are about the person or the device."""
        found = {name: getattr(self, name) for name in TRAITS}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def exact(self) -> bool:
        """Whether single deliveries have to be looked at: figures by day are kept for one trait at a time."""
        return self.segment is not None or len(self.traits) > 1

    @property
    def about_one(self) -> bool:
        """Whether it is about one message, flow or broadcast: few of all deliveries."""
        return (self.message, self.flow, self.broadcast) != (None, None, None)

    def of_series(self) -> Sql:
        """A condition on a series `s`."""
        wanted: dict[str, Any] = {
            "s.channel": self.channel,
            "s.message_id": self.message,
            "s.variant": self.variant,
            "s.origin_type": self.origin,
            "s.origin_step": self.step,
        }
        if self.flow is not None:
            wanted |= {"s.origin_type": "flow", "s.origin_id": self.flow}
        if self.broadcast is not None:
            wanted |= {"s.origin_type": "broadcast", "s.origin_id": self.broadcast}
        given = {column: value for column, value in wanted.items() if value not in ("", None)}
        names = {column: column.removeprefix("s.") for column in given}
        where = [f"{column} = %({names[column]})s" for column in given]
        return " AND ".join(["true", *where]), {names[column]: value for column, value in given.items()}

    def of_facts(self) -> Sql:
        """A condition on a fact `g`, about the person and the device."""
        where = [f"g.{name} = %(trait_{name})s" for name in self.traits]
        values: dict[str, Any] = {f"trait_{name}": value for name, value in self.traits.items()}
        if self.segment is not None:
            where.append(
                "EXISTS (SELECT FROM delivery_delivery d JOIN campaigns_segmentmembership m"
                " ON m.profile_id = d.profile_id AND m.segment_id = %(segment)s WHERE d.id = g.delivery_id)"
            )
            values["segment"] = self.segment
        return " AND ".join(["true", *where]), values


EVERYTHING = Filters()
