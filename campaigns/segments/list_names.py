"""Who is meant by rows of names: found by the identity rules, many rows by the same few queries."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db import connection
from django.utils.translation import gettext as _

from crm import identity, identity_rules, merging, profiles
from crm.identity_rules import CRM_ID, KINDS, Name, Rules
from crm.models import Identifier, Profile
from crm.normalise import Rejection
from crm.pg import text_array
from crm.references import Reference

ID = "id"
NAMES = (*KINDS, Identifier.ANONYMOUS_ID)
SOURCE = "import"
LONGEST = 1_000  # characters of a name
_OWNERS = "SELECT kind, value, profile_id, verified FROM crm_identifier WHERE kind = %s AND value = ANY(%s)"


class Found(NamedTuple):
    """Whom a row means, or why nobody: a code, the name it is about, and a sentence."""

    profile_id: int | None
    code: str = ""
    field: str = ""
    detail: str = ""
    created: bool = False


class _Asked(NamedTuple):
    number: int | None
    names: list[Name]


def find(rows: Sequence[Mapping[str, Any]]) -> list[Found]:
    """The profile that each row means, in order; nobody is created and nothing is written.

    The surest name that somebody has leads to the person, as the identity rules say of names that are vouched for;
    a name that contradicts a surer one leads to nobody. The number of a merged profile leads to who it became.

    Args:
        rows: name -> value; names are id (our number), external_id, email, phone, anonymous_id and
            "<connection>:<object>" for the record of a CRM. Empty values don't count.
    """
    asked: list[_Asked | Found] = [_asked(row) for row in rows]
    wanted = [one for one in asked if isinstance(one, _Asked)]
    owners = _owners({name for one in wanted for name in one.names})
    numbers = _present({one.number for one in wanted if one.number is not None})
    rules = identity_rules.held()
    chosen = [_choice(one, owners, rules) if isinstance(one, _Asked) else None for one in asked]
    known = _known({pick[0] for pick in chosen if pick and pick[1]})
    found = []
    for one, pick in zip(asked, chosen, strict=True):
        if isinstance(one, Found):
            found.append(one)
        elif one.number is not None:
            number = numbers.get(one.number)
            found.append(Found(number) if number else _unknown(ID))
        elif pick is None:
            found.append(_unknown(one.names[0][0]))
        elif any(known.get((pick[0], kind), value) != value for kind, value in pick[1]):
            found.append(_contradicted(pick[1][0][0]))
        else:
            found.append(Found(pick[0]))
    return found


def find_or_create(rows: Sequence[Mapping[str, Any]], now: datetime) -> list[Found]:
    """As `find`; who is not known becomes a profile with these names, in the caller's transaction.

    Nobody comes into being by a number, a visitor's id or a CRM's record alone, and who was erased stays so.
    """
    found = find(rows)
    patches = []
    for place, (row, answer) in enumerate(zip(rows, found, strict=True)):
        if answer.code != "unknown_profile" or row.get(ID):
            continue
        names = {kind: str(row[kind]).strip() for kind in KINDS if str(row.get(kind) or "").strip()}
        if names:
            patches.append((place, profiles.row(names)))
    if patches:
        outcomes = profiles.upsert([patch for _place, patch in patches], SOURCE, now).outcomes
        for (place, _patch), outcome in zip(patches, outcomes, strict=True):
            if outcome.state == profiles.REJECTED or outcome.profile_id is None:
                found[place] = Found(None, outcome.code, outcome.field, outcome.detail)
            else:
                found[place] = Found(outcome.profile_id, created=outcome.state == profiles.CREATED)
    return found


def _asked(row: Mapping[str, Any]) -> _Asked | Found:
    told = {
        name: text for name, value in row.items() if (text := str(value if value is not None else "").strip())
    }
    if not told:
        return Found(None, "missing_field", "", _("The row names nobody."))
    for name, text in told.items():
        if len(text) > LONGEST or "\0" in text:
            return Found(None, "invalid_value", name, _("This can't be a name."))
    number = told.get(ID, "").removeprefix("#")
    if number:
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            return _unknown(ID)
        return _Asked(int(number), [])
    given = {kind: told[kind] for kind in NAMES if kind in told}
    keys: list[Name] = []
    if given:
        try:
            keys = identity.normal(msgspec.convert(given, Reference), "").keys()
        except Rejection as error:
            return Found(None, error.code, error.field.lstrip("."), error.detail)
    names = keys + [(name, text) for name, text in told.items() if ":" in name]
    return _Asked(None, names) if names else Found(None, "missing_field", "", _("The row names nobody."))


def _owners(names: set[Name]) -> dict[Name, tuple[int, bool]]:
    """Name -> who has it, and whether it is proven. The identity rules are renewed on the way, if they changed."""
    by_kind: dict[str, list[str]] = {}
    for kind, value in names:
        by_kind.setdefault(kind, []).append(value)
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join([_OWNERS] * len(by_kind) + [identity_rules.ASK_VERSION]),
            [part for kind in sorted(by_kind) for part in (kind, text_array(by_kind[kind]))],
        )
        owners = {(kind, value): (owner, verified) for kind, value, owner, verified in cursor.fetchall()}
    version = owners.pop((identity_rules.VERSION, ""), (0, False))[0]
    if version != identity_rules.held().version:
        identity_rules.renew()
    return owners


def _choice(
    one: _Asked, owners: Mapping[Name, tuple[int, bool]], rules: Rules
) -> tuple[int, list[Name]] | None:
    """Whom the surest usable name leads to, with the surer names that nobody has: that person must not have others."""
    records = [name for name in one.names if ":" in name[0]]
    told = rules.finding([name for name in one.names if ":" not in name[0]], proven=True)
    surer = [name for name in told if rules.rank(name[0]) < rules.rank(CRM_ID)]
    missing: list[Name] = []
    for name in [*surer, *records, *(name for name in told if name not in surer)]:
        owner, verified = owners.get(name, (None, False))
        if owner is not None and (verified or name[0] not in rules.strict):
            return owner, missing
        if name[0] in KINDS:
            missing.append(name)
    return None


def _known(profile_ids: set[int]) -> dict[tuple[int, str], str]:
    """(profile id, kind) -> the one customer number, email or phone that the profile has."""
    if not profile_ids:
        return {}
    held = Identifier.objects.filter(profile_id__in=profile_ids, kind__in=KINDS)
    return {(pk, kind): value for pk, kind, value in held.values_list("profile_id", "kind", "value")}


def _present(numbers: set[int]) -> dict[int, int]:
    """Number -> the profile of this number, or the one that it was merged into."""
    if not numbers:
        return {}
    there = set(Profile.objects.filter(pk__in=numbers).values_list("pk", flat=True))
    return {number: number for number in there} | merging.winners(numbers - there)


def _unknown(field: str) -> Found:
    return Found(None, "unknown_profile", field, _("Nobody is known by this."))


def _contradicted(field: str) -> Found:
    detail = _("The row's other names belong to somebody who has another one here.")
    return Found(None, "contradiction", field, detail)
