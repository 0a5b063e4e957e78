"""What both of two merged profiles may have an answer to: one of them is kept, and the merge can be undone.

Rows are JSON objects as PostgreSQL makes them of a table's rows, so that a new column needs nothing here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.db import connection

Row = dict[str, Any]
Key = tuple[Any, ...]

COMBINED = "combined"  # in ProfileMerge.moved: {table: {WAS: the loser's rows, INTO: the winner's before}}
WAS, INTO = "was", "into"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Table(msgspec.Struct, frozen=True):
    """A table that has at most one row for each profile and key.

    Args:
        key: columns that tell a person's rows apart.
        combine: makes one row of the winner's, if there is one, and the losers', in this order.
        refers: columns that name rows of other tables, which may be gone when a merge is undone: column -> table.
    """

    name: str
    key: tuple[str, ...]
    combine: Callable[[Sequence[Row]], Row]
    refers: Mapping[str, str] = {}


def consent(rows: Sequence[Row]) -> Row:
    """Of several answers to one question the latest counts; but a CRM's, which is as old as its record's last change
    of whatever kind, does not take the place of the person's own no."""
    own = [row for row in rows if row["source"] != "crm"]
    refused = bool(own) and max(own, key=_changed)["state"] == "unsubscribed"
    left = [row for row in rows if not (refused and row["source"] == "crm")]
    return max(left, key=lambda row: (_changed(row), row["state"]))


def newest(column: str) -> Callable[[Sequence[Row]], Row]:
    """The row with the latest time in this column; of equal ones the winner's."""
    return lambda rows: max(rows, key=lambda row: _time(row[column]))


def latest_of_each(rows: Sequence[Row]) -> Row:
    """The latest time in each column; what is no time is the first row's."""
    return {name: max((row[name] for row in rows), key=_time) for name in rows[0]}


def _changed(row: Row) -> datetime:
    return _time(row["changed_at"])


def _time(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else _LONG_AGO
    except ValueError:
        return _LONG_AGO


TABLES: list[Table] = [
    Table("crm_consent", ("kind", "key"), consent),
    Table("crm_preference", (), newest("changed_at")),
    Table("crm_productinterest", ("sku",), latest_of_each),
    Table("crm_personplace", ("place_id",), newest("entered_at"), {"place_id": "crm_place"}),
    Table("crm_lastlocation", (), newest("located_at"), {"place_id": "crm_place"}),
]


def merge(pairs: Sequence[tuple[int, int]], moved: dict[int, dict[str, Any]]) -> None:
    """Combine the losers' rows with the winners'; the losers' own go with their profiles.

    Args:
        pairs: (loser, winner).
        moved: of each loser; gets what `part` needs.
    """
    everybody = sorted({profile_id for pair in pairs for profile_id in pair})
    held = _rows(everybody)
    for table in TABLES:
        mine = held[table.name]
        parts: dict[tuple[int, Key], list[Row]] = {}
        for loser, winner in pairs:
            was = mine.get(loser, {})
            if not was:
                continue
            into = []
            for key, row in was.items():
                rows = parts.setdefault(
                    (winner, key), [mine[winner][key]] if key in mine.get(winner, {}) else []
                )
                if rows:
                    into.append(_combined(table, rows))
                rows.append(row)
            moved[loser].setdefault(COMBINED, {})[table.name] = {WAS: list(was.values()), INTO: into}
        _store(
            table,
            [
                {**new, "profile_id": winner}
                for (winner, key), rows in parts.items()
                if _bare(new := _combined(table, rows)) != _bare(mine.get(winner, {}).get(key))
            ],
        )


def part(loser: int, winner: int, moved: Mapping[str, Any]) -> list[tuple[Row, Row]]:
    """Give the loser its rows back, and the winner those it had, where nothing has changed them since.

    Returns:
        For each consent that the winner has changed since: the loser's row, and the winner's present one.
    """
    changed: list[tuple[Row, Row]] = []
    held = _rows([winner])
    for table in TABLES:
        told = moved.get(COMBINED, {}).get(table.name)
        if not told:
            continue
        present = held[table.name].get(winner, {})
        before = {_key(table, row): row for row in told[INTO]}
        back, gone = [], []
        for row in told[WAS]:
            key = _key(table, row)
            parts = [before[key], row] if key in before else [row]
            now = present.get(key)
            if now is not None and _bare(now) == _bare(_combined(table, parts)):
                if key in before:
                    back.append({**before[key], "profile_id": winner})
                else:
                    gone.append(key)
            elif now is not None and table.name == "crm_consent":
                changed.append((row, now))
        _remove(table, winner, gone)
        _store(table, [*back, *({**row, "profile_id": loser} for row in told[WAS])])
    return changed


def _combined(table: Table, rows: Sequence[Row]) -> Row:
    return table.combine(rows) if len(rows) > 1 else rows[0]


def _bare(row: Row | None) -> Row | None:
    """What a row says, whosever it is."""
    if row is None:
        return None
    return {name: value for name, value in row.items() if name not in ("id", "profile_id")}


def _key(table: Table, row: Row) -> Key:
    return tuple(row[name] for name in table.key)


def _rows(profile_ids: Sequence[int]) -> dict[str, dict[int, dict[Key, Row]]]:
    """By table, profile and key."""
    found: dict[str, dict[int, dict[Key, Row]]] = {table.name: {} for table in TABLES}
    tables = {table.name: table for table in TABLES}
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table.name}', t.profile_id, to_jsonb(t)::text FROM {table.name} t "
                "WHERE t.profile_id = ANY(%(ids)s)"
                for table in TABLES
            ),
            {"ids": list(profile_ids)},
        )
        for name, profile_id, text in cursor.fetchall():
            row = json.loads(text)
            found[name].setdefault(profile_id, {})[_key(tables[name], row)] = row
    return found


def _store(table: Table, rows: Sequence[Row]) -> None:
    """Write rows in the place of those with the same profile and key; leave out what refers to nothing any more."""
    if not rows:
        return
    columns = [name for name in rows[0] if name != "id"]
    unique = ("profile_id", *table.key)
    values = [f"{name} = excluded.{name}" for name in columns if name not in unique]
    where = " AND ".join(
        f"(r.{column} IS NULL OR EXISTS (SELECT FROM {other} o WHERE o.id = r.{column}))"
        for column, other in table.refers.items()
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {table.name} ({", ".join(columns)}) SELECT {", ".join(columns)}
            FROM jsonb_populate_recordset(NULL::{table.name}, %s::jsonb) AS r {where and f"WHERE {where}"}
            ON CONFLICT ({", ".join(unique)}) DO UPDATE SET {", ".join(values)}
            """,
            [json.dumps(rows)],
        )


def _remove(table: Table, profile_id: int, keys: Sequence[Key]) -> None:
    if not keys:
        return
    same = " AND ".join(f"t.{name} = r.{name}" for name in table.key) or "true"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            DELETE FROM {table.name} t USING jsonb_populate_recordset(NULL::{table.name}, %s::jsonb) AS r
            WHERE t.profile_id = %s AND {same}
            """,
            [json.dumps([dict(zip(table.key, key, strict=True)) for key in keys]), profile_id],
        )
