"""The one way to write things down: defaults left out, and names always in the same order.

The database keeps the order of lists only; so what is free in shape is ordered here, by what people look for first.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.utils.dateparse import parse_datetime

from campaigns.as_code.documents import FIRST_VARIANT, CouponPart, MessagePart
from campaigns.flows.definition import Definition, parse
from delivery import authoring, channels

_FIRST = (
    *("key", "kind", "name", "description", "title", "body", "all", "any", "not", "note", "event", "field"),
    *("property", "segment", "slug", "list", "flow", "pool", "message", "channel", "channels", "chain"),
    *(
        "topic",
        "do",
        "on",
        "did",
        "state",
        "mode",
        "op",
        "value",
        "from",
        "to",
        "rule",
        "percent",
        "where",
        "count",
    ),
    *("times", "within", "within_days", "condition", "amount", "unit", "until", "at", "days", "offset"),
    *("method", "url", "headers", "config", "branches", "steps"),
)
_RANK = {name: place for place, name in enumerate(_FIRST)}


def ordered(value: Any) -> Any:
    """A copy of plain values with all names in order; numbers without fraction are whole."""
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: (_RANK.get(name, len(_RANK)), name))
        return {name: ordered(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [ordered(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def plain(struct: msgspec.Struct, names: Iterable[str] | None = None) -> dict[str, Any]:
    """A struct as plain values, all that is as it is by default left out.

    msgspec leaves out what is the very same object as the default; this, what is equal to it.

    Args:
        names: the fields to tell; None: all of them.
    """
    found = {}
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for name in fields if names is None else names:
        field, value = fields[name], getattr(struct, name)
        usual = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if usual is msgspec.NODEFAULT or value != usual:
            found[field.encode_name] = _inside(value)
    return found


def _inside(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return ordered(plain(value))
    if isinstance(value, list) and any(isinstance(each, msgspec.Struct) for each in value):
        return [_inside(each) for each in value]
    return ordered(value)


def draft(definition: Definition) -> dict[str, Any]:
    """A flow's definition as plain values without defaults."""
    return plain(definition, Definition.__struct_fields__)


def flow(name: str, description: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    """A flow as it stands in a bundle.

    Raises:
        DefinitionError: it does not have the shape of a flow.
    """
    return {**_named(name, description), **draft(parse(dict(definition)))}


def moment(text: str | None) -> datetime | None:
    """The time that an ISO text with its zone tells; None if it is none."""
    try:
        found = parse_datetime(text) if text else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def moment_text(value: datetime) -> str:
    """A time in UTC, as ISO writes it."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def coupons(struct: CouponPart) -> dict[str, Any]:
    """A coupon pool as it stands in a bundle."""
    found = plain(struct)
    if (until := moment(struct.expires_at)) is not None:
        found["expires_at"] = moment_text(until)
    return found


def message(struct: MessagePart) -> dict[str, Any]:
    """A message as it stands in a bundle: its words in the order of their channel."""
    found = plain(struct)
    if struct.contents:
        found["contents"] = _contents(struct.contents)
    if struct.variants:
        found["variants"] = {name: _contents(struct.variants[name]) for name in sorted(struct.variants)}
    if parts := struct.parts or _even(struct):
        found["parts"] = {name: parts[name] for name in sorted(parts)}
    names = {name: struct.variant_names[name] for name in sorted(parts) if struct.variant_names.get(name)}
    found.pop("variant_names", None)
    if names:
        found["variant_names"] = names
    return found


def _even(struct: MessagePart) -> dict[str, int]:
    """How people are divided where nothing says it: evenly among the variants that have words."""
    written = {FIRST_VARIANT: struct.contents, **struct.variants}
    keys = [name for name, channels in written.items() if any(channels.values())]
    return dict.fromkeys(keys, authoring.Variant("").weight) if len(keys) > 1 else {}


def _contents(contents: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for kind in _in_order(contents, channels.everything()):
        known = channels.everything().get(kind)
        fields = known.Config.__struct_fields__ if known else ()
        found[kind] = {
            locale: {
                name: ordered(contents[kind][locale][name])
                for name in _in_order(contents[kind][locale], fields)
            }
            for locale in _in_order(contents[kind], ("default",))
        }
    return found


def _in_order(names: Iterable[str], first: Iterable[str]) -> list[str]:
    rank = {name: place for place, name in enumerate(first)}
    return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))


def _named(name: str, description: str) -> dict[str, Any]:
    return {"name": name, **({"description": description} if description else {})}
