"""Which CRM field becomes what here, and turning a record into a patch by it.

The JSON kept on a Connection, by object; the objects named in it are the ones that are read:

    {"contacts": {"fields": {"firstname": "first_name", "plan": "attributes.plan", …},
                  "consent": {"webpush_opt_in": {"kind": "channel", "key": "webpush", "inverted": false}, …},
                  "ours": ["first_name"],
                  "write": {"nudge_opens": "opens", …}, "activities": ["message_opened", …]},
     "deals": {"fields": {"amount": "value", "closedate": "occurred_at", …},
               "won": {"field": "dealstage", "equals": "closedwon"}},
     "products": {"fields": {"hs_sku": "sku", …}}}
"""

import hashlib
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from msgspec import UNSET

from crm import normalise
from crm.connectors.base import Connector, Record, Role
from crm.normalise import Rejection
from crm.patches import FIELDS, ProfilePatch, validate

ATTRIBUTE = "attributes."
# People type these freely into a CRM. One that makes no sense is left out; the person is still taken.
FORGIVEN = ("phone", "language", "country")


class MappingError(ValueError):
    """The mapping can't be used; the message says which entry is wrong."""


class ConsentRule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A yes-or-no field that is an answer about a channel or a topic.

    `inverted`: a yes means opted out; its no is no answer at all.
    """

    kind: Literal["channel", "topic"]
    key: str
    inverted: bool = False

    @property
    def name(self) -> str:
        """How SourceRecord.consent names the question."""
        return f"{self.kind}:{self.key}"


class Won(msgspec.Struct, frozen=True):
    """When a deal counts as a purchase: its field has one of these values."""

    field: str
    equals: bool | str | list[str]

    def holds(self, value: Any) -> bool:
        """Whether a record whose field has this value is a purchase."""
        return value in self.equals if isinstance(self.equals, list) else value == self.equals


class Mapping(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object's; see the module.

    Args:
        fields: CRM field -> target; `targets` lists those of a role.
        consent: CRM field -> its question.
        ours: targets where our value counts: the CRM only fills what is empty here.
        won: for purchases.
        write: CRM field -> name of a value of `crm.sync.writeback`.
        activities: names of events that go to the CRM's timeline.
    """

    fields: dict[str, str] = {}
    consent: dict[str, ConsentRule] = {}
    ours: list[str] = []
    won: Won | None = None
    write: dict[str, str] = {}
    activities: list[str] = []

    def names(self) -> list[str]:
        """The CRM fields it needs."""
        condition = (self.won.field,) if self.won else ()
        return list(dict.fromkeys((*self.fields, *self.consent, *condition)))

    def only(self, known: set[str]) -> "Mapping":
        """Without the CRM fields that are not `known`."""
        return msgspec.structs.replace(
            self,
            fields={name: target for name, target in self.fields.items() if name in known},
            consent={name: rule for name, rule in self.consent.items() if name in known},
            won=self.won if self.won and self.won.field in known else None,
        )

    def digest(self) -> bytes:
        """Changes whenever the way in does; what is written back makes no record news."""
        taken = msgspec.structs.replace(self, write={}, activities=[])
        return hashlib.blake2b(msgspec.json.encode(taken, order="sorted"), digest_size=8).digest()


_ATTRIBUTE_OF: dict[Role, str] = {
    "person": ATTRIBUTE,
    "purchase": "properties.",
    "product": ATTRIBUTE,
}
_TARGETS: dict[Role, tuple[str, ...]] = {
    "person": FIELDS,
    "purchase": ("value", "currency", "occurred_at"),
    "product": (
        *("sku", "name", "price", "currency", "stock"),
        *("category", "description", "url", "image_url", "active"),
    ),
}


def targets(role: Role) -> tuple[tuple[str, ...], str]:
    """What the fields of an object with this role can become: fixed names, and the prefix of free ones."""
    return _TARGETS[role], _ATTRIBUTE_OF[role]


def parse(data: Any, role: Role = "person") -> Mapping:
    """One object's mapping from its JSON.

    Raises:
        MappingError: a target does not exist, or two fields go to the same one.
    """
    try:
        mapping = msgspec.convert(data or {}, Mapping)
    except msgspec.ValidationError as error:
        raise MappingError(str(error)) from None
    fixed, prefix = targets(role)
    taken: dict[str, str] = {}
    for name, target in mapping.fields.items():
        if target not in fixed and not (target.startswith(prefix) and target != prefix):
            raise MappingError(
                _("“%(target)s”, the target of %(name)s, does not exist.") % {"target": target, "name": name}
            )
        if target in taken:
            raise MappingError(
                _("%(one)s and %(other)s both go to %(target)s.")
                % {"one": taken[target], "other": name, "target": target}
            )
        taken[target] = name
    return mapping


def parse_all(data: Any, connector: type[Connector]) -> dict[str, Mapping]:
    """A connection's mapping from its JSON: the chosen objects in the connector's order.

    Raises:
        MappingError: the connector has no such object, or a mapping can't be used.
    """
    if not isinstance(data, dict):
        raise MappingError(_("The field mapping is no JSON object."))
    unknown = set(data) - {found.name for found in connector.objects}
    if unknown:
        raise MappingError(_("%s is nothing that this CRM has.") % min(unknown))
    return {
        found.name: parse(data[found.name], found.role) for found in connector.objects if found.name in data
    }


def content_hash(record: Record, mapping: Mapping, digest: bytes) -> bytes:
    """A fingerprint of all that we take from a record; `digest` is the mapping's."""
    values = [record.fields.get(name) for name in mapping.names()]
    try:
        content = msgspec.json.encode(values)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        content = repr(values).encode("utf-8", "backslashreplace")  # broken text: it will be rejected
    return hashlib.blake2b(content, digest_size=16, key=digest).digest()


class Translation(msgspec.Struct):
    """A record as a patch, the targets that are empty in the CRM, and its answers by `ConsentRule.name`."""

    patch: ProfilePatch
    empty: list[str]
    consent: dict[str, bool]


def translate(record: Record, mapping: Mapping, known_empty: list[str] | None) -> Translation:
    """Turn a record into a patch.

    An empty CRM field clears ours only if this record once filled it, so that what a person told us
    otherwise stays.

    Args:
        known_empty: the targets that were empty when the record was last taken, None if it is new.

    Raises:
        Rejection: a value can't be taken; its field is the CRM's.
    """
    sources = {target: name for name, target in mapping.fields.items()}
    values = {target: record.fields.get(name) for target, name in sources.items()}
    try:
        country = _forgiving("country", values.get("country"))
        data: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        for target, value in values.items():
            if target.startswith(ATTRIBUTE):
                attributes[target.removeprefix(ATTRIBUTE)] = value
            elif target == "timezone":
                data[target] = normalise.timezone(value, country)
            elif target in FORGIVEN:
                data[target] = country if target == "country" else _forgiving(target, value, country)
            else:
                data[target] = _as_text(value)
        patch = validate({**data, "attributes": attributes})
    except Rejection as error:
        raise Rejection(error.code, sources.get(error.field, error.field), error.detail) from None
    empty = [target for target in data if getattr(patch, target) is None]
    empty += [ATTRIBUTE + name for name, value in attributes.items() if value is None]
    for target in empty:
        if known_empty is None or target in known_empty:
            if target.startswith(ATTRIBUTE):
                del patch.attributes[target.removeprefix(ATTRIBUTE)]
            else:
                setattr(patch, target, UNSET)
    return Translation(patch, empty, _answers(record, mapping))


def _forgiving(target: str, value: Any, country: str | None = None) -> str | None:
    text = _as_text(value)
    try:
        match target:
            case "phone":
                return normalise.phone(text, country)
            case "language":
                return normalise.language(text)
            case _country:
                return normalise.country(text)
    except Rejection as error:
        if error.code in ("invalid_phone", "unknown_language", "unknown_country"):
            return None
        raise


def _as_text(value: Any) -> Any:
    """A CRM's number in a field that is text here: a customer number, a postal date."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _answers(record: Record, mapping: Mapping) -> dict[str, bool]:
    answers: dict[str, bool] = {}
    for name, rule in mapping.consent.items():
        value = record.fields.get(name)
        if not isinstance(value, bool) or (rule.inverted and not value):
            continue
        # Two fields about one question: a no counts more than a yes.
        answers[rule.name] = answers.get(rule.name, True) and value and not rule.inverted
    return answers
