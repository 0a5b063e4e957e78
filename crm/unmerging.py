"""Undoing the last merge of a profile: the one that was merged comes back as it was, with what moved and no more."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import audit, changes, combining, conflicts, consent, log, masking, merging, signals
from crm.models import Profile, ProfileMerge
from crm.patches import NAMES

_IDENTIFIERS = "crm_identifier"
_ATTRIBUTE = "attributes."
# A purchase that a CRM has told goes where its event went.
_PURCHASES = """
    UPDATE crm_crmpurchase p SET profile_id = %(loser)s FROM crm_event e
    WHERE e.profile_id = %(loser)s AND p.event_id = e.id AND p.profile_id = %(winner)s
"""


class NotUndoable(Exception):
    """This merge can't be undone; the message says why."""


class Plan(msgspec.Struct):
    """What undoing a merge gives back. `lost` are names that the merged profile had and that are others' now."""

    merge: ProfileMerge
    names: list[tuple[str, str]]
    lost: list[tuple[str, str]]
    fields: dict[str, Any]
    rows: dict[str, int]


def plan(merge_id: int) -> Plan:
    """Tell what `undo` would do.

    Raises:
        NotUndoable: it would do nothing.
    """
    with masking.hiding(False):
        return _plan(_checked(ProfileMerge.objects.select_related("winner").filter(pk=merge_id).first()))


def _plan(row: ProfileMerge) -> Plan:
    held = _held(row)
    names = [(kind, value) for _id, kind, value in held]
    rows = {table: len(keys) for table, keys in _moved(row).get(merging.ROWS, {}).items()}
    rows |= {
        table: len(told[combining.WAS]) for table, told in _moved(row).get(combining.COMBINED, {}).items()
    }
    return Plan(row, names, _lost(row, names), _taken_back(row, row.winner, names), rows)


def undo(merge_id: int, now: datetime | None = None, by: Any = None) -> Plan:
    """Undo the last merge of a profile.

    The merged profile comes back under its number with the names, events, devices, consents, deliveries and runs
    that moved; what came since stays with the winner, and so do names that have changed hands since. A no that was
    said since counts for both. The two are kept apart from now on.

    Args:
        by: who decided it: a request or a user.

    Raises:
        NotUndoable: the merge is gone, is not the last one, or was made before anybody wrote down what moves.
    """
    return merging.retried(lambda: _undo(merge_id, now or timezone.now(), by))


def last(profile_id: int) -> ProfileMerge | None:
    """The merge into this profile that can be undone next."""
    row = with_undoable(ProfileMerge.objects.filter(winner_id=profile_id)).order_by("-pk").first()
    return row if row is not None and row.undoable else None


def with_undoable(rows: QuerySet[ProfileMerge]) -> QuerySet:
    """Merges with `undoable`: whether it was written down what moved. That itself is left out, for it can be long."""
    return rows.defer("snapshot", "moved").annotate(undoable=Q(moved__isnull=False))


def _checked(row: ProfileMerge | None) -> ProfileMerge:
    if row is None:
        raise NotUndoable(_("This merge is no longer there: it was undone, or the person was erased."))
    if row.moved is None:
        raise NotUndoable(
            _("It was made before Nudge wrote down what moves, so nobody knows what to give back.")
        )
    if ProfileMerge.objects.filter(winner_id=row.winner_id, pk__gt=row.pk).exists():
        raise NotUndoable(_("Another profile was merged after this one; undo that merge first."))
    return row


def _moved(row: ProfileMerge) -> dict[str, Any]:
    return row.moved or {}


def _held(row: ProfileMerge) -> list[tuple[int, str, str]]:
    """The identifiers that moved and are still the winner's, but for those that it uses as its own by now."""
    moved = _moved(row).get(merging.ROWS, {}).get(_IDENTIFIERS, [])
    filled = _moved(row).get(merging.FILLED, [])
    before = _moved(row).get(merging.BEFORE, {})
    adopted = [
        (kind, getattr(row.winner, kind))
        for kind in NAMES
        if kind not in filled and getattr(row.winner, kind) != before.get(kind)
    ]
    rows = row.winner.identifiers.filter(pk__in=moved).order_by("kind", "value")
    return [
        (pk, kind, value)
        for pk, kind, value in rows.values_list("pk", "kind", "value")
        if (kind, value) not in adopted
    ]


def _lost(row: ProfileMerge, names: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(kind, value) for kind, value in row.snapshot["identifiers"] if (kind, value) not in names]


def _taken_back(row: ProfileMerge, winner: Profile, names: Collection[tuple[str, str]]) -> dict[str, Any]:
    """The winner's fields that came from the loser and are unchanged: field -> value."""
    was, found = row.snapshot, {}
    for field in _moved(row).get(merging.FILLED, []):
        name = field.removeprefix(_ATTRIBUTE)
        if name != field:
            if name in winner.attributes and winner.attributes[name] == was["attributes"].get(name):
                found[field] = winner.attributes[name]
        elif field in NAMES:
            value = getattr(winner, field)
            if (field, value) in names or (value == was[field] and field == "phone"):
                found[field] = value
        elif _same(getattr(winner, field), was.get(field)):
            found[field] = getattr(winner, field)
    return found


def _same(present: Any, was: Any) -> bool:
    if isinstance(present, datetime):
        return isinstance(was, str) and present == datetime.fromisoformat(was)
    return present is not None and (str(present) if isinstance(present, date) else present) == was


def _undo(merge_id: int, now: datetime, by: Any) -> Plan:
    told = ProfileMerge.objects.filter(pk=merge_id).values_list("winner_id", flat=True).first()
    winner = Profile.objects.select_for_update().filter(pk=told or 0).first()
    row = _checked(ProfileMerge.objects.select_for_update().filter(pk=merge_id, winner=winner).first())
    if winner is None:
        raise ProfileMerge.DoesNotExist
    row.winner = winner
    held = _held(row)
    names = [(kind, value) for _id, kind, value in held]
    lost = _lost(row, names)
    fields = _taken_back(row, winner, names)
    loser = row.loser_id
    _recreate(row, lost)
    rows = dict(_moved(row).get(merging.ROWS, {}))
    rows[_IDENTIFIERS] = [pk for pk, _kind, _value in held]
    for table, (column, key) in {**merging.TABLES, merging.EVENTS: (merging.PROFILE_ID, "seq")}.items():
        give_back(table, rows, loser, winner.pk, column, key)
    said_since = combining.part(loser, winner.pk, _moved(row))
    _take_back(winner, row, fields)
    signals.profiles_unmerging.send(sender=None, loser=loser, winner=winner.pk, moved=_moved(row))
    with connection.cursor() as cursor:
        cursor.execute(_PURCHASES, {"loser": loser, "winner": winner.pk})
    row.delete()
    changes.touch([loser, winner.pk], (changes.EVERYTHING, changes.MERGED))
    consent.record(_noes(loser, said_since))
    conflicts.keep_apart([(loser, winner.pk)], _name(by), now)
    audit.record(by, "profile.unmerged", winner, loser=loser)
    log.append(
        [
            log.NewEvent(
                id=log.event_id("unmerge", merge_id, profile_id),
                profile_id=profile_id,
                name="profile_unmerged",
                occurred_at=now,
                properties={"parted": other},
                source="nudge",
            )
            for profile_id, other in ((winner.pk, loser), (loser, winner.pk))
        ]
    )
    return Plan(row, names, lost, fields, {table: len(keys) for table, keys in rows.items()})


def _name(by: Any) -> str:
    user = getattr(by, "user", by)
    return user.get_username() if hasattr(user, "get_username") else str(user or "")


def give_back(
    table: str,
    rows: Mapping[str, Sequence[int]],
    loser: int,
    winner: int,
    column: str = merging.PROFILE_ID,
    key: str = "id",
) -> None:
    """Point those of a table's rows at the loser again that `merging.repoint` moved and that nobody moved since.

    Args:
        rows: table -> keys, as in `moved["rows"]`.
    """
    if not rows.get(table):
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = %s WHERE {column} = %s AND {key} = ANY(%s)",
            [loser, winner, list(rows[table])],
        )


def _recreate(row: ProfileMerge, lost: Collection[tuple[str, str]]) -> None:
    """Insert the profile as it was, without names that are others' now."""
    gone = [kind for kind in NAMES if (kind, row.snapshot.get(kind)) in lost]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name = 'crm_profile'"
        )
        # A column that came later has a default.
        columns = [name for (name,) in cursor.fetchall() if name in row.snapshot]
        cursor.execute(
            f"""
            INSERT INTO crm_profile ({", ".join(columns)})
            SELECT {", ".join(f"p.{name}" for name in columns)} FROM crm_profilemerge m,
                jsonb_populate_record(NULL::crm_profile, m.snapshot - %s::text[]) AS p WHERE m.id = %s
            """,
            [gone, row.pk],
        )
        cursor.execute("UPDATE crm_profile SET updated_at = now() WHERE id = %s", [row.loser_id])


def _take_back(winner: Profile, row: ProfileMerge, fields: Collection[str]) -> None:
    for field in fields:
        winner.sources.pop(field, None)
        if field.startswith(_ATTRIBUTE):
            del winner.attributes[field.removeprefix(_ATTRIBUTE)]
        else:
            setattr(winner, field, None)
    for field in ("first_seen", "last_seen"):
        if _same(getattr(winner, field), row.snapshot.get(field)):
            before = _moved(row).get(merging.BEFORE, {}).get(field)
            setattr(winner, field, datetime.fromisoformat(before) if before else None)
    merging.store([winner])


def _noes(loser: int, said: Sequence[tuple[combining.Row, combining.Row]]) -> list[consent.Change]:
    """Nobody knows which of the two said no since; whoever did must not be written to."""
    return [
        consent.Change(
            loser,
            now["kind"],
            now["key"],
            consent.UNSUBSCRIBED,
            now["source"],
            datetime.fromisoformat(now["changed_at"]),
            now["wording"],
        )
        for was, now in said
        if now["state"] == consent.UNSUBSCRIBED and was["state"] != consent.UNSUBSCRIBED
    ]
