"""A CRM's products become entries of the catalogue, known by the company's own product number.

Two records with one number are one product, and what came last counts. A product that is deleted in the CRM is no
longer for sale; it stays in the catalogue, as people have bought it and messages speak of it.
"""

from collections.abc import Sequence
from typing import Any

from crm import catalogue, normalise
from crm.amounts import amount, attribute
from crm.catalogue import NUMBERS, TEXTS, Patch
from crm.connectors.base import Record
from crm.models import SourceRecord
from crm.normalise import Rejection
from crm.sync.mapping import ATTRIBUTE, Mapping
from crm.sync.roles import Batch, Item, Outcome


def store(batch: Batch, items: Sequence[Item]) -> list[Outcome]:
    """Create or change the products; see roles."""
    outcomes: list[Outcome] = []
    wanted: dict[str, dict[str, Any]] = {}
    renamed: dict[str, str] = {}  # record id -> the number that it had
    for item in items:
        try:
            values = translate(item.record, batch.mapping)
        except Rejection as error:
            outcomes.append(Outcome("rejected", error))
            continue
        number = values.pop("sku")
        outcomes.append(Outcome("unchanged", local=number))
        wanted[number] = values
        if item.known and item.known.local not in ("", number):
            renamed[item.record.id] = item.known.local
    if renamed:
        _retire(batch, list(renamed), set(renamed.values()) - set(wanted))
    patches = [Patch(number, values) for number, values in wanted.items()]
    states = {each.sku: each.state for each in catalogue.upsert(patches, _source(batch), batch.now)}
    for outcome in outcomes:
        if outcome.local:
            # Of several records about one product the first tells what became of it.
            outcome.state = states.pop(outcome.local, "unchanged")
    return outcomes


def remove(batch: Batch, gone: Sequence[Record]) -> None:
    """What the CRM has no more is no longer for sale, unless another record stands for the same product."""
    records = SourceRecord.objects.filter(connection=batch.connection, object=batch.object)
    ids = [record.id for record in gone]
    numbers = set(records.filter(record_id__in=ids).exclude(local="").values_list("local", flat=True))
    _retire(batch, ids, numbers)


def _retire(batch: Batch, ids: list[str], numbers: set[str]) -> None:
    """These records no longer stand for these products; what no other record stands for is no longer for sale."""
    elsewhere = SourceRecord.objects.filter(local__in=numbers, state=SourceRecord.State.LIVE)
    still = set(
        elsewhere.exclude(connection=batch.connection, object=batch.object, record_id__in=ids).values_list(
            "local", flat=True
        )
    )
    catalogue.retire(numbers - still, _source(batch), batch.now)


def _source(batch: Batch) -> str:
    return f"crm:{batch.connection.slug}"


def translate(record: Record, mapping: Mapping) -> dict[str, Any]:
    """The product's fields, the number included.

    Raises:
        Rejection: a value can't be taken; its field is the CRM's.
    """
    values: dict[str, Any] = {"sku": record.id, "attributes": {}, "active": True}
    for name, target in mapping.fields.items():
        value = record.fields.get(name)
        if target.startswith(ATTRIBUTE):
            own = target.removeprefix(ATTRIBUTE)
            values["attributes"][own] = None if value is None else attribute(own, value, name)
        elif target in TEXTS:
            values[target] = catalogue.text(target, _text(value), name)
        elif target in NUMBERS:
            values[target] = amount(value, name)
        elif target == "active":
            values[target] = value is not False
        else:
            values["sku"] = normalise.identifier(value, name) or record.id
    return values


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
