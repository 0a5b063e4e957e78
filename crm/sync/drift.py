"""Telling what changed about a CRM object's fields since the last run."""

from collections.abc import Sequence

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from crm import alerts
from crm.connectors.base import Field
from crm.models import Connection
from crm.sync.mapping import Mapping

SHOWN = 10  # names in one sentence


class Drift(msgspec.Struct):
    """What is worth knowing about an object's fields.

    Args:
        notes: sentences for the run.
        volatile: a mapped field changes without the record's modified time, so that only a full read sees it.
        returned: a mapped field is there that was not at the last run; what it told meanwhile only a full read sees.
    """

    notes: list[str]
    volatile: bool = False
    returned: bool = False


def check(connection: Connection, object_name: str, mapping: Mapping, fields: Sequence[Field]) -> Drift:
    """Compare the object's fields with those of the last run, and remember them.

    A mapped field that went or became another kind is an alert; what happens to the others is a quiet note.
    """
    present: dict[str, str] = {field.name: field.kind for field in fields}
    before = connection.schema.get(object_name)
    mapped = set(mapping.names())
    drift = Drift([])
    missing = sorted(mapped - set(present))
    if missing:
        drift.notes.append(_missing(missing))
    volatile = sorted(field.name for field in fields if field.volatile and field.name in mapped)
    drift.volatile = bool(volatile)
    if before is None and volatile:
        drift.notes.append(
            _("%s may change without the record's time of change; a full read once a week sees that.")
            % _names(volatile)
        )
    returned = sorted(mapped & (set(present) - set(before))) if before is not None else []
    if returned:
        drift.returned = True
        drift.notes.append(_("The CRM has %s now; everything is read again.") % _names(returned))
    if before is not None:
        drift.notes += _changes(connection, object_name, before, present, mapped)
    _alert_missing(connection, object_name, missing, before)
    if present != before:
        connection.schema = {**connection.schema, object_name: present}
        connection.save(update_fields=["schema"])
    return drift


def _missing(names: Sequence[str]) -> str:
    return ngettext(
        "The mapped field %(names)s no longer exists in the CRM; it was left out.",
        "The mapped fields %(names)s no longer exist in the CRM; they were left out.",
        len(names),
    ) % {"names": _names(names)}


def _alert_missing(
    connection: Connection, object_name: str, missing: Sequence[str], before: dict[str, str] | None
) -> None:
    key = f"sync:{connection.slug}:{object_name}:missing"
    if not missing:
        alerts.resolve(key)
    elif before is None or set(missing) & set(before):
        alerts.raise_alert(
            key,
            _("“%s” maps fields that the CRM no longer has.") % connection,
            _("%s. Map another field, or remove it from the mapping; what it told until now stays.")
            % _names(missing),
        )


def _changes(
    connection: Connection,
    object_name: str,
    before: dict[str, str],
    present: dict[str, str],
    mapped: set[str],
) -> list[str]:
    added = sorted(set(present) - set(before) - mapped)
    removed = sorted(set(before) - set(present) - mapped)
    changed = sorted(name for name in set(before) & set(present) if before[name] != present[name])
    notes = []
    if added:
        notes.append(_("New fields in the CRM: %s.") % _names(added))
    if removed:
        notes.append(_("Fields that the CRM no longer has, none of them mapped: %s.") % _names(removed))
    if concerned := [name for name in changed if name in mapped]:
        told = ", ".join(f"{name} ({before[name]} → {present[name]})" for name in concerned[:SHOWN])
        notes.append(_("Mapped fields are of another kind now: %s.") % told)
        alerts.raise_alert(
            f"sync:{connection.slug}:{object_name}:kinds",
            _("In “%s”, mapped fields are of another kind now.") % connection,
            _("%s. Check that their targets still fit; values that don't fit are on the list of rejects.")
            % told,
        )
    return notes


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return (
        shown
        if len(names) <= SHOWN
        else _("%(names)s and %(more)d more")
        % {
            "names": shown,
            "more": len(names) - SHOWN,
        }
    )
