"""Deals, opportunities and orders that are won become `purchase` events of the person they belong to.

The log is never rewritten: a deal that changes after it was won gives `purchase_corrected` (the new value and the
one before), one that is lost, reopened or deleted gives `purchase_cancelled`. A won deal nobody can be found for
is rejected, and tried again with the next runs, as its person may be on the way. Once recorded, a purchase stays
with that person, whoever the CRM links to the deal later.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.db import connection as database
from django.utils.translation import gettext as _

from crm import log, normalise
from crm.amounts import amount, attribute
from crm.connectors.base import Record
from crm.models import CrmPurchase
from crm.normalise import Rejection
from crm.profiles import State
from crm.sync.mapping import Mapping
from crm.sync.roles import Batch, Item, Outcome

PURCHASE, CORRECTED, CANCELLED = "purchase", "purchase_corrected", "purchase_cancelled"
PROPERTIES = "properties."


def store(batch: Batch, items: Sequence[Item]) -> list[Outcome]:
    """Record what these deals became; see roles."""
    absorbed = {loser: item.record for item in items for loser in item.record.absorbed}
    known = _known(batch, [*(item.record.id for item in items), *absorbed])
    people = _people(batch, [item.record for item in items])
    events: list[log.NewEvent] = []
    saved: list[CrmPurchase] = []
    outcomes = []
    for item in items:
        try:
            outcomes.append(_decide(batch, item.record, known.get(item.record.id), people, events, saved))
        except Rejection as error:
            outcomes.append(Outcome("rejected", error))
    # A deal that was merged into another goes on in that one; that it is gone itself comes later, if it is told at all.
    present = known | {purchase.record_id: purchase for purchase in saved}
    for loser, record in absorbed.items():
        purchase = present.get(loser)
        if purchase and not purchase.cancelled:
            _cancel(batch, purchase, record.modified_at, events)
            saved += [] if purchase in saved else [purchase]
    log.append(events)
    _save(saved)
    return outcomes


def remove(batch: Batch, gone: Sequence[Record]) -> None:
    """Cancel the purchases of deals that no longer exist."""
    known = _known(batch, [record.id for record in gone])
    events: list[log.NewEvent] = []
    saved = []
    for record in gone:
        purchase = known.get(record.id)
        if purchase and not purchase.cancelled:
            _cancel(batch, purchase, record.modified_at, events)
            saved.append(purchase)
    log.append(events)
    _save(saved)


def _known(batch: Batch, record_ids: list[str]) -> dict[str, CrmPurchase]:
    """What these deals were recorded as, with the profiles as they are after merges."""
    held = CrmPurchase.objects.filter(
        connection=batch.connection, object=batch.object, record_id__in=record_ids
    )
    known = {purchase.record_id: purchase for purchase in held}
    with database.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE now (was, id) AS (
                SELECT unnest(%s::bigint[]), unnest(%s::bigint[])
                UNION SELECT now.was, m.winner_id FROM now JOIN crm_profilemerge m ON m.loser_id = now.id
            )
            SELECT was, id FROM now JOIN crm_profile USING (id)
            """,
            [[purchase.profile_id for purchase in known.values()]] * 2,
        )
        present = dict(cursor.fetchall())
    for purchase in known.values():
        purchase.profile_id = present.get(purchase.profile_id, purchase.profile_id)
    return known


def _people(batch: Batch, records: Sequence[Record]) -> dict[tuple[str, str], int]:
    """(object, record id) of a person -> profile id."""
    asked = {(object_name, record_id) for record in records for object_name, record_id in record.people}
    slug = batch.connection.slug
    with database.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.kind, i.value, i.profile_id FROM crm_identifier i
            JOIN unnest(%s::text[], %s::text[]) AS k(kind, value) USING (kind, value)
            """,
            [
                [f"{slug}:{object_name}" for object_name, _id in asked],
                [record_id for _name, record_id in asked],
            ],
        )
        return {(kind.partition(":")[2], value): profile_id for kind, value, profile_id in cursor.fetchall()}


def _decide(
    batch: Batch,
    record: Record,
    purchase: CrmPurchase | None,
    people: dict[tuple[str, str], int],
    events: list[log.NewEvent],
    saved: list[CrmPurchase],
) -> Outcome:
    won = batch.mapping.won
    if won is None or not won.holds(record.fields.get(won.field)):
        if purchase is None or purchase.cancelled:
            return Outcome("unchanged")
        _cancel(batch, purchase, record.modified_at, events)
        saved.append(purchase)
        return Outcome("updated")
    happened_at, properties = translate(record, batch.mapping)
    if purchase is not None and not purchase.cancelled:
        if purchase.properties == properties:
            return Outcome("unchanged")
        purchase.corrections += 1
        before = {"previous_value": purchase.properties.get("value")}
        events.append(_event(batch, purchase, CORRECTED, record.modified_at, {**properties, **before}))
        purchase.properties = properties
        saved.append(purchase)
        return Outcome("updated")
    profile_id = next((people[person] for person in record.people if tuple(person) in people), None)
    if profile_id is None:
        raise _nobody(record)
    state: State = "created" if purchase is None else "updated"
    if purchase is None:
        purchase = CrmPurchase(
            connection=batch.connection, object=batch.object, record_id=record.id, event_id=uuid.UUID(int=0)
        )
    else:
        purchase.corrections += 1  # won again: another event
    purchase.profile_id, purchase.cancelled = profile_id, False
    purchase.occurred_at, purchase.properties = min(happened_at, batch.now), properties
    event = _event(batch, purchase, PURCHASE, purchase.occurred_at, properties)
    purchase.event_id = event.id
    events.append(event)
    saved.append(purchase)
    return Outcome(state)


def _nobody(record: Record) -> Rejection:
    if not record.people:
        return Rejection("no_person", "", _("No person is linked to it in the CRM."))
    return Rejection(
        "unknown_person",
        "",
        _("Its person, record %s, is not here yet.") % normalise.shortened(record.people[0][1]),
    )


def _cancel(batch: Batch, purchase: CrmPurchase, at: datetime, events: list[log.NewEvent]) -> None:
    purchase.cancelled = True
    purchase.corrections += 1
    events.append(_event(batch, purchase, CANCELLED, at, purchase.properties))


def _event(
    batch: Batch, purchase: CrmPurchase, name: str, at: datetime, properties: dict[str, Any]
) -> log.NewEvent:
    number = log.event_id(
        "crm", batch.connection.slug, batch.object, purchase.record_id, name, purchase.corrections
    )
    at = min(at, batch.now)
    return log.NewEvent(number, purchase.profile_id, name, at, properties, f"crm:{batch.connection.slug}")


def translate(record: Record, mapping: Mapping) -> tuple[datetime, dict[str, Any]]:
    """When it was bought, and the event's properties.

    Raises:
        Rejection: a value can't be taken; its field is the CRM's.
    """
    happened_at = record.modified_at
    properties: dict[str, Any] = {"order_id": record.id}
    for name, target in mapping.fields.items():
        value = record.fields.get(name)
        if value is None:
            continue
        if target == "occurred_at":
            happened_at = _moment(value, name)
        elif target == "value":
            properties["value"] = _plain(amount(value, name))
        elif target == "currency":
            properties["currency"] = (normalise.text(value, name, 3) or "").upper()
        else:
            own = target.removeprefix(PROPERTIES)
            properties[own] = attribute(own, value, name)
    return happened_at, properties


def _moment(value: Any, field: str) -> datetime:
    """A time; of a mere day its noon in UTC, which is that day nearly everywhere."""
    text = normalise.text(value, field) or ""
    try:
        if len(text) == 10:
            return datetime.combine(date.fromisoformat(text), time(12), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Rejection("invalid_date", field, _("“%s” is not a date.") % normalise.shortened(text)) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(number: Decimal | None) -> float | int | None:
    """As JSON has it: whole numbers without a fraction."""
    if number is None:
        return None
    return int(number) if number == number.to_integral_value() else float(number)


def _save(saved: Sequence[CrmPurchase]) -> None:
    fields = ["profile_id", "event_id", "occurred_at", "properties", "cancelled", "corrections"]
    CrmPurchase.objects.bulk_create(
        [purchase for purchase in saved if purchase.pk is None],
        update_conflicts=True,
        unique_fields=["connection", "object", "record_id"],
        update_fields=fields,
    )
    CrmPurchase.objects.bulk_update([purchase for purchase in saved if purchase.pk is not None], fields)
