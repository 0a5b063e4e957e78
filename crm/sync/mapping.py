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

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from msgspec import UNSET

from crm import normalise
from crm.connectors.base import Connector, Record, Role
from crm.normalise import Rejection
from crm.patches import FIELDS, ProfilePatch

ATTRIBUTE = "attributes."


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

    def source(self, target: str) -> str:
        """The CRM field that becomes `target`; the target itself if there is none."""
        return next((name for name, mapped in self.fields.items() if mapped == target), target)

    def digest(self) -> bytes:
        """Changes whenever the way in does; what is written back makes no record news."""
        taken = msgspec.structs.replace(self, write={}, activities=[])
        return blake2b(msgspec.json.encode(taken, order="sorted"), digest_size=8).digest()


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
    asked = (rule.key for rule in mapping.consent.values())
    if any("\0" in text for text in (*mapping.names(), *mapping.fields.values(), *asked)):
        raise MappingError(_("A name holds a character that can't be stored."))
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


def fingerprints(records: Sequence[Record], mapping: Mapping) -> list[bytes]:
    """16 bytes for each record that change with anything that we take of it, or with the mapping."""
    names = mapping.names()
    pick = itemgetter(*names) if len(names) > 1 else None
    encode, key = msgspec.json.Encoder().encode, mapping.digest()
    found: list[bytes] = []
    for record in records:
        fields = record.fields
        try:
            values = pick(fields) if pick else [fields.get(name) for name in names]
        except KeyError:
            values = [fields.get(name) for name in names]
        try:
            content = encode(values)
            if record.people:
                content += encode(record.people)
        except (UnicodeEncodeError, msgspec.MsgspecError, OverflowError):
            # Broken text, or a number too large: such records are rejected later, each with its reason.
            content = repr((list(values), record.people)).encode("utf-8", "backslashreplace")
        found.append(blake2b(content, digest_size=16, key=key).digest())
    return found


class Translation(msgspec.Struct, gc=False):
    """A record as a patch, the targets that are empty in the CRM, and its answers by `ConsentRule.name`."""

    patch: ProfilePatch
    empty: list[str]
    consent: dict[str, bool]


def translate(record: Record, mapping: Mapping, known_empty: list[str] | None) -> Translation:
    """Turn one record into a patch; see Translator."""
    return Translator(mapping)(record, known_empty)


class Translator:
    """Turns people's records into patches by one mapping, which is taken apart once."""

    def __init__(self, mapping: Mapping):
        self._country: str | None = None  # the CRM's field
        self._fields: list[tuple[int, str, Convert]] = []
        self._attributes: list[tuple[str, str, Callable[[Any], Any]]] = []
        self._empty: dict[int, str] = {}
        for name, target in mapping.fields.items():
            if target.startswith(ATTRIBUTE):
                own = target.removeprefix(ATTRIBUTE)
                self._attributes.append((name, own, normalise.attribute_taker(own)))
            elif target == "country":
                self._country = name
            else:
                self._fields.append((FIELDS.index(target), name, _CONVERT[target]))
        self._consent = [(name, rule.name, rule.inverted) for name, rule in mapping.consent.items()]
        self._source = mapping.source

    def __call__(self, record: Record, known_empty: Collection[str] | None) -> Translation:
        """The record as a patch.

        An empty CRM field clears ours only if this record once filled it, so that what a person told us
        otherwise stays.

        Args:
            known_empty: the targets that were empty when the record was last taken, None if it is new.

        Raises:
            Rejection: a value can't be taken; its field is the CRM's.
        """
        get = record.fields.get
        values: list[Any] = [UNSET] * len(FIELDS)
        attributes: dict[str, Any] = {}
        empty: list[str] = []
        country = None
        try:
            if self._country is not None:
                country = values[_COUNTRY] = _country(get(self._country), None)
                if country is None:
                    empty.append("country")
            for place, name, convert in self._fields:
                value = values[place] = convert(get(name), country)
                if value is None:
                    empty.append(FIELDS[place])
            for name, own, take in self._attributes:
                value = get(name)
                if value is None:
                    empty.append(ATTRIBUTE + own)
                else:
                    attributes[own] = take(value)
        except Rejection as error:
            raise Rejection(error.code, self._source(error.field), error.detail) from None
        if known_empty is None:
            values = [UNSET if value is None else value for value in values]
        elif empty:
            for target in empty:
                if target.startswith(ATTRIBUTE):
                    if target not in known_empty:
                        attributes[target.removeprefix(ATTRIBUTE)] = None
                elif target in known_empty:
                    values[FIELDS.index(target)] = UNSET
        values.append(attributes)
        return Translation(ProfilePatch(*values), empty, self._answers(get) if self._consent else {})

    def _answers(self, get: Callable[[str], Any]) -> dict[str, bool]:
        answers: dict[str, bool] = {}
        for name, question, inverted in self._consent:
            value = get(name)
            if (value is not True and value is not False) or (inverted and not value):
                continue
            # Two fields about one question: a no counts more than a yes.
            answers[question] = answers.get(question, True) and value and not inverted
        return answers


Convert = Callable[[Any, str | None], Any]
_COUNTRY = FIELDS.index("country")
SHARED = 100  # characters of a text that others are likely to have too


def _as_text(value: Any) -> Any:
    """A CRM's number in a field that is text here: a customer number, a postal date."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _once(convert: Convert, refused: str = "") -> Convert:
    """Remember what short texts become, as people share cities, languages and birthdays.

    Args:
        refused: the code of rejections that become None: people type these values freely into a CRM.
    """

    def become(value: Any) -> Any:
        try:
            return convert(_as_text(value), None)
        except Rejection as error:
            if error.code == refused:
                return None
            raise

    known = lru_cache(maxsize=16_384)(become)
    return lambda value, _country: (
        None
        if value is None
        else known(value)
        if type(value) is str and len(value) <= SHARED
        else become(value)
    )


def _phone(value: Any, country: str | None) -> str | None:
    try:
        return normalise.phone(_as_text(value), country)
    except Rejection as error:
        if error.code == "invalid_phone":
            return None  # typed freely, as above
        raise


def _text(field: str) -> Convert:
    return _once(lambda value, _: normalise.text(value, field))


_country = _once(lambda value, _: normalise.country(value), "unknown_country")
_CONVERT: dict[str, Convert] = {
    "external_id": lambda value, _: normalise.identifier(_as_text(value), "external_id"),
    "email": lambda value, _: normalise.email(_as_text(value)),
    "phone": _phone,
    "language": _once(lambda value, _: normalise.language(value), "unknown_language"),
    "timezone": normalise.timezone,
    "birthday": _once(lambda value, _: normalise.birthday(value)),
    "latitude": lambda value, _: normalise.coordinate(_as_text(value), "latitude"),
    "longitude": lambda value, _: normalise.coordinate(_as_text(value), "longitude"),
    **{name: _text(name) for name in ("first_name", "last_name", "city", "lifecycle_stage")},
}
