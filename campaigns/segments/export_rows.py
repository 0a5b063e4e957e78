"""What a line about a member holds: columns that are called so that an import takes them back.

What is only for looking at has "nudge_" in front, as in every exported list.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from campaigns.models import SegmentMembership
from campaigns.segments.list_files import records
from campaigns.segments.suggestions import Suggestions
from crm import tables
from crm.computed import reading
from crm.connectors.file import ATTRIBUTE, CONSENT, CONSENTS, REFERENCE
from crm.models import ComputedAttribute, Consent, Identifier, Profile, Topic
from crm.patches import FIELDS
from crm.table_writing import cell
from delivery import channels

COMPUTED, RECORD = "computed.", "record."
ID, SINCE = "id", "since"
LOOKED_AT = ("first_seen", "last_seen", "created_at", "updated_at")
USUAL = ("external_id", "email", "phone", "first_name", "last_name", "country", "language", SINCE)
MOST = 500  # columns
LONGEST = 200  # characters of a name


class UnknownColumns(ValueError):
    """There are no such columns; `names` tells which."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        super().__init__(_("There are no such columns: %s.") % ", ".join(self.names))


class Member(NamedTuple):
    """A row to be written."""

    profile_id: int
    since: datetime


def columns() -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of (name, label) to choose from; more attributes may be named than are listed here."""
    label = {field.name: str(getattr(field, "verbose_name", "")) for field in Profile._meta.get_fields()}
    facts = [(name, label[name]) for name in (*FIELDS, *LOOKED_AT)]
    attributes = [
        choice
        for _group, choices in Suggestions().fields()
        for choice in choices
        if choice[0].startswith(ATTRIBUTE)
    ]
    computed = [
        (f"{COMPUTED}{slug}", name)
        for slug, name in ComputedAttribute.objects.filter(served=True)
        .order_by("name")
        .values_list("slug", "name")
    ]
    installed = {slug: str(kind.label) for slug, kind in channels.everything().items() if kind.listed}
    known = {"email": _("email"), "sms": _("SMS")} | installed
    answers = [(f"{CONSENT}channel.{slug}", known.get(slug, slug)) for slug in {**known, **CONSENTS}]
    answers += [
        (f"{CONSENT}topic.{slug}", name)
        for slug, name in Topic.objects.order_by("name").values_list("slug", "name")
    ]
    others = [(ID, _("our number")), (SINCE, _("in the segment since"))]
    others += [(f"{RECORD}{kind}", called) for kind, called in records().items()]
    groups = [
        (_("Profile"), facts),
        (_("Attributes"), attributes),
        (_("Computed from events"), computed),
        (_("Consents"), answers),
        (_("Membership and numbers"), others),
    ]
    return [(name, choices) for name, choices in groups if choices]


def check(names: Sequence[str]) -> list[str]:
    """These columns, each once.

    Raises:
        UnknownColumns: some are none.
    """
    wanted = list(dict.fromkeys(names))
    computed = set(ComputedAttribute.objects.filter(served=True).values_list("slug", flat=True))
    crm = records()
    unknown = [name[:LONGEST] for name in wanted if not _is_column(name, computed, crm)]
    if unknown or not wanted or len(wanted) > MOST:
        raise UnknownColumns(unknown or wanted[MOST:])
    return wanted


def _is_column(name: str, computed: set[str], crm: Mapping[str, str]) -> bool:
    if name in (*FIELDS, *LOOKED_AT, ID, SINCE):
        return True
    if not len(name) <= LONGEST or "\0" in name:
        return False
    if name.startswith(ATTRIBUTE):
        return len(name) > len(ATTRIBUTE)
    if name.startswith(COMPUTED):
        return name.removeprefix(COMPUTED) in computed
    if name.startswith(CONSENT):
        kind, _dot, key = name.removeprefix(CONSENT).partition(".")
        return kind in Consent.Kind.values and bool(key)
    return name.startswith(RECORD) and name.removeprefix(RECORD) in crm


def header(names: Sequence[str]) -> list[str]:
    """The first line."""
    return [tables.harmless(_called(name)) for name in names]


def _called(name: str) -> str:
    if name == SINCE:
        return f"{REFERENCE}member_since"
    if name in (ID, *LOOKED_AT):
        return f"{REFERENCE}{name}"
    if name.startswith(COMPUTED):
        return f"{REFERENCE}computed_{name.removeprefix(COMPUTED)}"
    if name.startswith(RECORD):
        return f"{REFERENCE}{name.removeprefix(RECORD).replace(':', '_')}"
    return name


# --- Which members --------------------------------------------------------------------------------------------


def after(segment_id: int, position: int, most: int) -> list[Member]:
    """The next members by number, behind `position`."""
    found = SegmentMembership.objects.filter(segment_id=segment_id, profile_id__gt=position)
    rows = found.order_by("profile_id").values_list("profile_id", "entered_at")[:most]
    return [Member(*row) for row in rows]


def between(segment_id: int, first: int, last: int) -> list[Member]:
    """The members whose numbers are these, both ends included."""
    found = SegmentMembership.objects.filter(
        segment_id=segment_id, profile_id__gte=first, profile_id__lte=last
    )
    return [Member(*row) for row in found.order_by("profile_id").values_list("profile_id", "entered_at")]


def still(segment_id: int, profile_ids: Sequence[int]) -> bool:
    """Whether all of these are members; none of them can be erased until the transaction ends."""
    found = SegmentMembership.objects.filter(segment_id=segment_id, profile_id__in=profile_ids)
    return len(found.order_by("profile_id").select_for_update(no_key=True).values_list("pk")) == len(
        profile_ids
    )


# --- Their lines ----------------------------------------------------------------------------------------------


def lines(rows: Sequence[Member], names: Sequence[str]) -> list[list[Any]]:
    """A line of cells for each of these members, in order; in a fixed number of queries."""
    ids = [row.profile_id for row in rows]
    facts = _facts(ids, names)
    computed = _computed(ids, names)
    answers = _answers(ids, names)
    numbers = _records(ids, names)
    made = []
    for row in rows:
        fact = facts.get(row.profile_id)
        if fact is None:
            continue
        values: dict[str, Any] = {
            **fact,
            **computed.get(row.profile_id, {}),
            **answers.get(row.profile_id, {}),
            **numbers.get(row.profile_id, {}),
            SINCE: row.since,
        }
        made.append([cell(values.get(name)) for name in names])
    return made


def _facts(ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    fields = [name for name in names if name in (*FIELDS, *LOOKED_AT)]
    wanted = [(name, name.removeprefix(ATTRIBUTE)) for name in names if name.startswith(ATTRIBUTE)]
    found = {}
    for row in Profile.objects.filter(pk__in=ids).values("id", *fields, *["attributes"][: len(wanted)]):
        attributes = row.pop("attributes", None) or {}
        for name, path in wanted:
            row[name] = attributes[path] if path in attributes else _at(attributes, path)
        found[row["id"]] = row
    return found


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def _computed(ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    slugs = [name.removeprefix(COMPUTED) for name in names if name.startswith(COMPUTED)]
    if not slugs:
        return {}
    found = reading.values(ids, slugs)
    return {pk: {f"{COMPUTED}{slug}": value for slug, value in held.items()} for pk, held in found.items()}


def _answers(ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    """True, false, or nothing where the person was never asked or has not confirmed."""
    keys = {name.rpartition(".")[2] for name in names if name.startswith(CONSENT)}
    if not keys:
        return {}
    held = Consent.objects.filter(profile_id__in=ids, key__in=keys).exclude(state=Consent.State.PENDING)
    found: dict[int, dict[str, Any]] = {}
    for pk, kind, key, state in held.values_list("profile_id", "kind", "key", "state"):
        found.setdefault(pk, {})[f"{CONSENT}{kind}.{key}"] = state == Consent.State.SUBSCRIBED
    return found


def _records(ids: Sequence[int], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    kinds = [name.removeprefix(RECORD) for name in names if name.startswith(RECORD)]
    if not kinds:
        return {}
    held = Identifier.objects.filter(profile_id__in=ids, kind__in=kinds).order_by("pk")
    found: dict[int, dict[str, Any]] = {}
    for pk, kind, value in held.values_list("profile_id", "kind", "value"):
        row = found.setdefault(pk, {})
        row[f"{RECORD}{kind}"] = f"{row[f'{RECORD}{kind}']} {value}" if f"{RECORD}{kind}" in row else value
    return found
