"""The field editor of a CRM connection: what each field of an object becomes here, and whose value counts."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.connectors.base import Connector, Field, ObjectType, Role, Suggestion
from crm.models import Connection, Product, Profile, Topic
from crm.sync import mapping as mappings
from crm.sync.mapping import ConsentRule, Mapping, MappingError, targets

CONSENT = "consent:"
OURS = "ours"
OFFERED = 20  # free names in a drop-down besides the field's own
CHANNELS = {"webpush": gettext_lazy("web push"), "email": gettext_lazy("email"), "sms": gettext_lazy("SMS")}
KINDS = {
    "text": ("notes", gettext_lazy("text")),
    "choice": ("list", gettext_lazy("choice")),
    "number": ("numbers", gettext_lazy("number")),
    "boolean": ("toggle_on", gettext_lazy("yes or no")),
    "date": ("calendar_today", gettext_lazy("date")),
    "datetime": ("schedule", gettext_lazy("date and time")),
    "list": ("checklist", gettext_lazy("several choices")),
}
PURCHASE = {
    "value": gettext_lazy("value"),
    "currency": gettext_lazy("currency"),
    "occurred_at": gettext_lazy("time of purchase"),
}
FREE = {
    "person": gettext_lazy("Attribute"),
    "purchase": gettext_lazy("Property of the purchase"),
    "product": gettext_lazy("Attribute"),
}
FIXED = {
    "person": gettext_lazy("Profile"),
    "purchase": gettext_lazy("Purchase"),
    "product": gettext_lazy("Product"),
}

Groups = list[tuple[str, list[tuple[str, str]]]]


class Row(msgspec.Struct):
    """One CRM field; `name` is also what its inputs are named by."""

    name: str
    label: str
    icon: str
    kind: str
    chosen: str
    groups: Groups
    gone: bool = False
    volatile: bool = False
    custom: bool = False
    ours: bool = False
    may_be_ours: bool = False
    consent: bool = False
    inverted: bool = False


class WonCondition(msgspec.Struct):
    """When a deal counts: the field that tells, and the values that it has then."""

    fields: list[Field]
    field: str
    values: list[str]
    boolean: bool = False


class FieldsForm:
    """A drop-down for each field of one object, a choice of who wins, and for purchases the condition.

    Args:
        fields: the CRM's fields; those of the mapping that it no longer has are added.
        held: the mapping so far; what is written back stays as it is.
        data: what was posted.
        known_attributes: names of free targets that other objects use, offered as well.
        known_topics: topics of consent to offer besides the field's own name.
    """

    def __init__(
        self,
        found: ObjectType,
        fields: Sequence[Field],
        held: Mapping,
        data: Any = None,
        known_attributes: Iterable[str] = (),
        known_topics: Iterable[str] = (),
    ):
        self.found, self.held, self.data = found, held, data
        known = {field.name for field in fields}
        self.gone = {name for name in held.names() if name not in known}
        self.fields = [*fields, *(Field(name, name, "text") for name in sorted(self.gone))]
        self.fixed, self.prefix = targets(found.role)
        self.known_attributes = sorted(set(known_attributes))
        self.known_topics = sorted(set(known_topics))[:OFFERED]
        self.error = ""
        self.mapping = held if data is None else self._read(data)

    def _read(self, data: Any) -> Mapping:
        chosen: dict[str, str] = {}
        consent: dict[str, dict[str, Any]] = {}
        ours: list[str] = []
        try:
            for field in self.fields:
                target = data.get(f"map-{field.name}", "")
                if target.startswith(CONSENT):
                    kind, key, inverted = _consent_parts(target)
                    consent[field.name] = {"kind": kind, "key": key, "inverted": inverted == "inverted"}
                elif target:
                    chosen[field.name] = target
                    if data.get(f"win-{field.name}") == OURS and self.found.role == "person":
                        ours.append(target)
            parsed = mappings.parse(
                {"fields": chosen, "consent": consent, "ours": ours, "won": self._won(data)}, self.found.role
            )
        except MappingError as error:
            self.error = str(error)
            return self.held
        return msgspec.structs.replace(parsed, write=self.held.write, activities=self.held.activities)

    def _won(self, data: Any) -> dict[str, Any] | None:
        if self.found.role != "purchase":
            return None
        name = data.get("won-field", "")
        if not name:
            raise MappingError(_("Say which of them count as a purchase."))
        field = next((field for field in self.fields if field.name == name), None)
        values = [value for value in (*data.getlist("won-value"), data.get("won-other", "").strip()) if value]
        if field is None or not values:
            raise MappingError(_("Choose the values that make it a purchase."))
        if field.kind == "boolean":
            return {"field": name, "equals": values[0] == "true"}
        values = list(dict.fromkeys(values))
        return {"field": name, "equals": values[0] if len(values) == 1 else values}

    def rows(self) -> tuple[list[Row], list[Row]]:
        """Rows that are mapped, and the others."""
        rows = [self._row(field) for field in sorted(self.fields, key=lambda field: field.label.casefold())]
        order = {target: place for place, target in enumerate(self.fixed)}
        mapped = sorted(
            (row for row in rows if row.chosen), key=lambda row: order.get(row.chosen, len(order))
        )
        return mapped, [row for row in rows if not row.chosen]

    def won(self) -> WonCondition | None:
        """The condition to show; None for what is no purchase."""
        if self.found.role != "purchase":
            return None
        fields = sorted(self.fields, key=lambda field: field.label.casefold())
        if self.data is not None and self.error:
            name = self.data.get("won-field", "")
            values = self.data.getlist("won-value")
        else:
            rule = self.mapping.won
            name = rule.field if rule else ""
            equals = rule.equals if rule else []
            values = equals if isinstance(equals, list) else [_shown(equals)]
        kinds = {field.name: field.kind for field in fields}
        return WonCondition(fields, name, list(values), kinds.get(name) == "boolean")

    def _row(self, field: Field) -> Row:
        chosen = self.mapping.fields.get(field.name, "")
        rule = self.mapping.consent.get(field.name)
        if rule:
            chosen = _consent_value(rule)
        ours = chosen in self.mapping.ours
        if self.error:  # as entered, so that it can be put right
            chosen = self.data.get(f"map-{field.name}", "")
            ours = self.data.get(f"win-{field.name}") == OURS
        icon, kind = KINDS[field.kind]
        return Row(
            name=field.name,
            label=field.label,
            icon=icon,
            kind=str(kind),
            chosen=chosen,
            groups=self._choices(field, chosen),
            gone=field.name in self.gone,
            volatile=field.volatile,
            custom=field.custom,
            ours=ours,
            may_be_ours=self.found.role == "person",
            consent=chosen.startswith(CONSENT),
            inverted=chosen.startswith(CONSENT) and chosen.endswith(":inverted"),
        )

    def _choices(self, field: Field, chosen: str) -> Groups:
        own = self.prefix + field.name
        free = dict.fromkeys([own, *(self.prefix + name for name in self._alike(field))])
        if chosen.startswith(self.prefix):
            free = dict.fromkeys([chosen, *free])
        groups: Groups = [
            (
                str(FIXED[self.found.role]),
                [(name, target_label(self.found.role, name)) for name in self.fixed],
            ),
            (str(FREE[self.found.role]), [(name, name.removeprefix(self.prefix)) for name in free]),
        ]
        consents = chosen.startswith(CONSENT) and len(chosen.split(":")) == 4
        if self.found.role == "person" and (field.kind == "boolean" or consents):
            choices = _consent_choices(field, chosen if consents else "", self.known_topics)
            groups.append((_("Consent"), choices))
        return groups

    def _alike(self, field: Field) -> list[str]:
        """Free names to offer: all, or where that would be too many for a drop-down, those that sound like it."""
        if len(self.known_attributes) <= OFFERED:
            return self.known_attributes
        own = _letters(field.name)
        alike = [name for name in self.known_attributes if _letters(name) in own or own in _letters(name)]
        return alike[:OFFERED]


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def target_label(role: Role, target: str) -> str:
    """What a fixed target is called."""
    match role:
        case "person":
            return str(Profile._meta.get_field(target).verbose_name)
        case "product":
            return str(Product._meta.get_field(target).verbose_name)
    return str(PURCHASE[target])


def used_elsewhere(role: Role, kinds: dict[str, type[Connector]]) -> tuple[set[str], set[str]]:
    """Names that objects of the same role use in any connection: of free targets, and of topics of consent; with
    all topics there are."""
    prefix = targets(role)[1]
    free: set[str] = set()
    topics: set[str] = set(Topic.objects.values_list("slug", flat=True))
    for kind, mapping in Connection.objects.values_list("kind", "mapping"):
        roles = {each.name: each.role for each in kinds[kind].objects} if kind in kinds else {}
        for name, part in mapping.items():
            if roles.get(name) == role and isinstance(part, dict):
                taken = part.get("fields") or {}
                free |= {
                    target.removeprefix(prefix) for target in taken.values() if target.startswith(prefix)
                }
                rules = (part.get("consent") or {}).values()
                topics |= {rule["key"] for rule in rules if rule.get("kind") == "topic"}
    return free, topics


def topics_of(proposal: Suggestion) -> set[str]:
    """The topics of consent that a connector proposes, kept on offer though a field is no longer taken."""
    return {rule["key"] for rule in proposal.consent.values() if rule["kind"] == "topic"}


def _shown(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _consent_parts(value: str) -> list[str]:
    """Kind, key and "inverted" or nothing of a drop-down's value."""
    parts = value.removeprefix(CONSENT).split(":", 2)
    if len(parts) != 3 or not parts[1]:
        raise MappingError(_("Choose one of the consents offered."))
    return parts


def _consent_value(rule: ConsentRule) -> str:
    return f"{CONSENT}{rule.kind}:{rule.key}:{'inverted' if rule.inverted else ''}"


def _consent_choices(field: Field, chosen: str, known_topics: Sequence[str]) -> list[tuple[str, str]]:
    choices: dict[str, str] = {}
    for channel, label in CHANNELS.items():
        names = {"channel": label}
        choices[f"{CONSENT}channel:{channel}:"] = _("yes agrees to %(channel)s") % names
        choices[f"{CONSENT}channel:{channel}:inverted"] = _("yes opts out of %(channel)s") % names
    own = [chosen.split(":")[2]] if ":topic:" in chosen else []
    for topic in dict.fromkeys([*own, *known_topics, field.name]):
        names = {"topic": topic}
        choices[f"{CONSENT}topic:{topic}:"] = _("yes agrees to the topic %(topic)s") % names
        choices[f"{CONSENT}topic:{topic}:inverted"] = _("yes opts out of the topic %(topic)s") % names
    if chosen and chosen not in choices:
        key = chosen.split(":")[2]
        words = (
            _("yes opts out of %(channel)s")
            if chosen.endswith(":inverted")
            else _("yes agrees to %(channel)s")
        )
        choices[chosen] = words % {"channel": key}
    return list(choices.items())
