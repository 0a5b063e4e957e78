"""Writing into HubSpot: property values in batches, and events for the timeline."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from django.utils.translation import gettext as _

from crm import normalise
from crm.connectors.base import Activity, Change, FieldKind
from crm.connectors.hubspot_api import Api, Batch
from crm.connectors.hubspot_errors import RefusedError
from crm.connectors.hubspot_values import Kind, written

# HubSpot refuses a whole batch for one bad value, with these.
ABOUT_A_ROW = (400, 404, 409, 413)
ALREADY_THERE = 409
UNKNOWN = 404

Properties = dict[str, str]


class Writer:
    """Writes values into records of one object.

    Args:
        kinds: of all its properties.
    """

    def __init__(self, api: Api, kind: Kind, kinds: dict[str, FieldKind]):
        self.api, self.kind, self.kinds = api, kind, kinds

    def write(self, changes: Sequence[Change]) -> list[str | None]:
        """See Connector.write. Changes of the same record are written as one."""
        rows: dict[str, Properties] = {}
        for change in changes:
            values = {
                name: written(value, self.kinds.get(name, "text")) for name, value in change.values.items()
            }
            rows.setdefault(change.id, {}).update(values)
        said = self._write(rows)
        return [said.get(change.id) for change in changes]

    def _write(self, rows: dict[str, Properties]) -> dict[str, str | None]:
        """Why each row was refused, if it was; a refused batch is tried in halves."""
        if not rows:
            return {}
        inputs: list[dict[str, Any]] = [
            # By its trace id a row's own error can be told, instead of the whole batch being refused.
            {"id": record_id, "properties": values, "objectWriteTraceId": record_id}
            for record_id, values in rows.items()
        ]
        try:
            return _outcome(rows, self.api.update(self.kind, inputs))
        except RefusedError as error:
            if error.status not in ABOUT_A_ROW:
                raise
            hopeless = {
                key: _sentence(error.said) for key, row in rows.items() if error.properties & set(row)
            }
            if len(rows) == 1 or len(hopeless) == len(rows):
                return dict.fromkeys(rows, _sentence(error.said))
        if hopeless:
            return {**hopeless, **self._write({key: row for key, row in rows.items() if key not in hopeless})}
        keys = list(rows)
        middle = len(keys) // 2
        return {
            **self._write({key: rows[key] for key in keys[:middle]}),
            **self._write({key: rows[key] for key in keys[middle:]}),
        }


def _outcome(rows: dict[str, Properties], batch: Batch) -> dict[str, str | None]:
    said: dict[str, str | None] = {
        key: None for row in batch.results for key in (row.id, row.object_write_trace_id) if key in rows
    }
    for error in batch.errors:
        for keys in (error.context.get("objectWriteTraceId"), error.context.get("ids")):
            said |= dict.fromkeys(set(keys or ()) & set(rows), _sentence(error.message))
    unnamed = _sentence(batch.errors[0].message if batch.errors else "")
    return {key: said.get(key, unnamed) for key in rows}


def _sentence(message: str) -> str:
    if not message:
        return _("HubSpot does not say what became of it.")
    return _("HubSpot refused it: %s") % normalise.shortened(message, 300)


def erase(api: Api, kind: Kind, ids: Sequence[str]) -> list[str | None]:
    """See Connector.erase. HubSpot takes one record at a time, and forgets its email address for good."""
    said: list[str | None] = []
    for record_id in ids:
        try:
            api.erase(kind, record_id)
        except RefusedError as error:
            if error.status not in ABOUT_A_ROW:
                raise
            said.append(None if error.status == UNKNOWN else _sentence(error.said))
        else:
            said.append(None)
    return said


def send(api: Api, portal_id: str, activities: Sequence[Activity]) -> list[str | None]:
    """See Connector.send. HubSpot takes one event at a time, and each `uuid` once."""
    said: list[str | None] = []
    forbidden = ""
    for activity in activities:
        if forbidden:
            said.append(forbidden)
            continue
        moment = activity.occurred_at.astimezone(UTC).isoformat(timespec="milliseconds")
        event = {
            "eventName": f"pe{portal_id}_{activity.name}",
            "objectId": activity.record_id,
            "occurredAt": moment.replace("+00:00", "Z"),
            "properties": {name: written(value, "text") for name, value in activity.properties.items()},
            "uuid": activity.id,
        }
        try:
            api.send(event)
        except RefusedError as error:
            if error.status == 403:
                forbidden = _(
                    "HubSpot takes events only from accounts with an Enterprise plan, and from apps with the "
                    "scope analytics.behavioral_events.send. Fields can be written back without them."
                )
                said.append(forbidden)
                continue
            if error.status not in ABOUT_A_ROW:
                raise
            said.append(None if error.status == ALREADY_THERE else _sentence(error.said))
        else:
            said.append(None)
    return said
