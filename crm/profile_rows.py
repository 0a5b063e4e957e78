"""Profiles as a batch holds them while it decides, and how they and their names are written in bulk."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from crm import identity_rules
from crm.patches import FIELDS
from crm.pg import copy_columns

Key = identity_rules.Name
_LISTED = ", ".join(FIELDS)
_COLUMNS = (*FIELDS, "attributes")
_NO_TEXT = tuple(FIELDS.index(name) for name in ("latitude", "longitude", "birthday"))
_INSERT = f"COPY crm_profile (id, {_LISTED}, attributes, sources, created_at, updated_at) FROM STDIN"
_UPDATE = f"""
    UPDATE crm_profile p SET {", ".join(f"{name} = r.{name}" for name in _COLUMNS)},
        sources = p.sources || r.sources, updated_at = %s
    FROM jsonb_populate_recordset(NULL::crm_profile, %s::jsonb) AS r
    WHERE p.id = r.id AND ({", ".join(f"p.{name}" for name in _COLUMNS)})
        IS DISTINCT FROM ({", ".join(f"r.{name}" for name in _COLUMNS)})
"""


class Person:
    """One profile while a batch is decided: stored (`id` known) or new. `values` are in the order of FIELDS."""

    __slots__ = ("attributes", "changed", "id", "names", "origin", "told", "values")

    def __init__(self, profile_id: int | None, values: list[Any], attributes: str | dict[str, Any]):
        self.id = profile_id
        self.values = values
        self.attributes = attributes  # JSON text until somebody wants to look inside
        self.names: list[Key] = []
        self.changed = False
        self.origin = ""  # of a new one: who told of it
        self.told: dict[str, str] = {}  # what was changed, and by whom

    def held(self) -> dict[str, Any]:
        """The attributes, parsed."""
        attributes = self.attributes
        if isinstance(attributes, str):
            attributes = self.attributes = json.loads(attributes)
        return attributes

    def other_name(self, kind: str, value: str) -> str | None:
        """A name of this kind other than `value`."""
        return min((other for of, other in self.names if of == kind and other != value), default=None)


def number(cursor: Any, created: Sequence[Person]) -> None:
    """Give each new profile its id."""
    if not created:
        return
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence('crm_profile', 'id')) FROM generate_series(1, %s)",
        [len(created)],
    )
    for profile, (found,) in zip(created, cursor.fetchall(), strict=True):
        profile.id = found


def write_names(cursor: Any, moved: Mapping[Key, int | None], owners: Mapping[Key, Person]) -> None:
    """Store who has the names that changed hands.

    Args:
        moved: those names, with who has them in the database.
        owners: who has them now.
    """
    gone: list[Key] = []
    claims: dict[str, dict[str, int]] = {}
    for key, before in moved.items():
        owner = owners.get(key)
        after = owner.id if owner else None
        if after == before:
            continue
        if before is not None:
            gone.append(key)
        if after is not None:
            claims.setdefault(key[0], {})[key[1]] = after
    if gone:
        cursor.execute(
            """
            DELETE FROM crm_identifier i USING unnest(%s::text[], %s::text[]) AS k(kind, value)
            WHERE i.kind = k.kind AND i.value = k.value
            """,
            [[kind for kind, _value in gone], [value for _kind, value in gone]],
        )
    if claims:
        with cursor.copy("COPY crm_identifier (kind, value, profile_id, verified) FROM STDIN") as copy:
            # Sorted, so that two batches claiming the same ones can't wait for each other.
            for kind in sorted(claims):
                ids = claims[kind]
                values = sorted(ids)
                copy_columns(
                    copy,
                    [
                        [kind] * len(values),
                        values,
                        [str(ids[value]) for value in values],
                        ["t"] * len(values),
                    ],
                )


def prove(cursor: Any, names: Collection[Key]) -> None:
    """Mark these names as proven."""
    if names:
        cursor.execute(
            """
            UPDATE crm_identifier i SET verified = true FROM unnest(%s::text[], %s::text[]) AS k(kind, value)
            WHERE i.kind = k.kind AND i.value = k.value AND NOT i.verified
            """,
            [list(column) for column in zip(*sorted(names), strict=True)],
        )


def insert(cursor: Any, created: Sequence[Person], now: datetime) -> None:
    """Store new profiles, which have their ids."""
    if not created:
        return
    columns: list[Sequence[Any]] = list(zip(*[profile.values for profile in created], strict=True))
    for place in _NO_TEXT:
        columns[place] = [None if value is None else str(value) for value in columns[place]]
    sources = _Sources(now)
    with cursor.copy(_INSERT) as copy:
        copy_columns(
            copy,
            [
                [str(profile.id) for profile in created],
                *columns,
                [_json(profile.attributes) for profile in created],
                [sources.of_new(profile) for profile in created],
                *[[now.isoformat()] * len(created)] * 2,
            ],
        )


def update(cursor: Any, changed: Sequence[Person], now: datetime) -> None:
    """Store profiles that changed."""
    if not changed:
        return
    sources = _Sources(now)
    rows = [
        {
            "id": profile.id,
            **dict(zip(FIELDS, profile.values, strict=True)),
            "attributes": profile.held(),
            "sources": sources.of_changed(profile),
        }
        for profile in changed
    ]
    cursor.execute(_UPDATE, [now, _json(rows)])


class _Sources:
    """Who told what, as Profile.sources keeps it; the same fields of the same sender are put together once."""

    def __init__(self, now: datetime):
        self.at = now.isoformat()
        self.texts: dict[tuple[Any, ...], str] = {}
        self.pairs: dict[str, list[str]] = {}

    def pair(self, source: str) -> list[str]:
        """The sender and the time."""
        if source not in self.pairs:
            self.pairs[source] = [source, self.at]
        return self.pairs[source]

    def of_changed(self, profile: Person) -> dict[str, list[str]]:
        """Of the fields that were changed."""
        return {name: self.pair(source) for name, source in profile.told.items()}

    def of_new(self, profile: Person) -> str:
        """Of all that a new profile has, as JSON."""
        kind = profile.origin, *[value is None for value in profile.values], *profile.held()
        text = self.texts.get(kind)
        if text is None or profile.told:
            pair = self.pair(profile.origin)
            names = [name for name, value in zip(FIELDS, profile.values, strict=True) if value is not None]
            names += [f"attributes.{name}" for name in profile.held()]
            told = {**dict.fromkeys(names, pair), **self.of_changed(profile)}
            text = msgspec.json.encode(told).decode()
            if not profile.told:
                self.texts[kind] = text
        return text


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except OverflowError:
        return json.dumps(value, default=str)  # whole numbers of more than 64 bits
