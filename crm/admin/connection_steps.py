"""The steps of connecting a CRM, in their order: where a connection stands, and where a step leads."""

from typing import Any

import msgspec
from django.db.models import Count
from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm import connectors
from crm.connectors.base import Connector, ObjectType
from crm.models import Connection, SourceRecord

STEPS = {
    "settings": ("key", gettext_lazy("Account")),
    "objects": ("category", gettext_lazy("Records")),
    "fields": ("compare_arrows", gettext_lazy("Fields")),
    "preview": ("visibility", gettext_lazy("Preview")),
    "writeback": ("edit_square", gettext_lazy("Write back")),
    "schedule": ("event_repeat", gettext_lazy("Schedule")),
}
FILE_STEPS = {
    "upload": ("upload_file", gettext_lazy("File")),
    "fields": STEPS["fields"],
    "preview": STEPS["preview"],
    "start": ("fact_check", gettext_lazy("Try and start")),
}
READ_ANEW = ("fields", "consent", "ours", "won")


class Step(msgspec.Struct):
    """One step in the bar on top; `url` is empty as long as it can't be gone to."""

    name: str
    label: Any
    icon: str
    url: str
    current: bool
    done: bool
    number: int


class KindCard(msgspec.Struct):
    """One CRM to choose."""

    kind: str
    label: Any
    letters: str
    objects: str
    sandbox: bool
    url: str


class Line(msgspec.Struct):
    """What is done with one kind of records, in figures."""

    found: ObjectType
    fields: int
    consents: int
    ours: int
    won: str
    written: int
    activities: int


def kind_of(connection: Connection) -> type[Connector]:
    """The connector's class; Http404 if this version has none."""
    kind = connectors.kinds().get(connection.kind)
    if kind is None:
        raise Http404
    return kind


def chosen(connection: Connection) -> list[ObjectType]:
    """The objects that are read, in their order."""
    return [found for found in kind_of(connection).objects if found.name in connection.mapping]


def find(connection: Connection, name: str) -> ObjectType | None:
    """The chosen object called `name`, or the first one; None if none is chosen yet."""
    objects = chosen(connection)
    if not name:
        return objects[0] if objects else None
    for found in objects:
        if found.name == name:
            return found
    raise Http404


def of(kind: type[Connector]) -> dict[str, tuple[str, Any]]:
    """The steps of setting such a connection up: icon and label by name."""
    return STEPS if kind.scheduled else FILE_STEPS


def bar(connection: Connection | None, current: str, kind: type[Connector] | None = None) -> list[Step]:
    """All steps; one can be gone to once those that it needs are done.

    Args:
        kind: of what is not begun yet; default: one with all steps.
    """
    kind = kind_of(connection) if connection else kind or Connector
    names = list(of(kind))
    place = names.index(current)
    steps = []
    for number, (name, (icon, label)) in enumerate(of(kind).items()):
        reachable = name in ("settings", "objects", "upload") or bool(connection and connection.mapping)
        url = _url(name, connection.pk) if connection and reachable else ""
        steps.append(Step(name, label, icon, url, name == current, number < place, number + 1))
    return steps


def tabs(connection: Connection, step: str, current: str) -> list[dict[str, Any]]:
    """A tab for each object, within a step that is done for each of them."""
    return [
        {"label": each.label, "url": _url(step, connection.pk, each.name), "current": each.name == current}
        for each in chosen(connection)
    ]


def after(connection: Connection, step: str, object_name: str = "") -> str:
    """The address that a step leads to: the next object, or the next step."""
    objects = [found.name for found in chosen(connection)]
    if object_name in objects[:-1]:
        return _url(step, connection.pk, objects[objects.index(object_name) + 1])
    names = list(of(kind_of(connection)))
    return _url(names[names.index(step) + 1], connection.pk)


def before(connection: Connection, step: str, object_name: str = "") -> str:
    """The address of the step before this one."""
    objects = [found.name for found in chosen(connection)]
    if object_name in objects[1:]:
        return _url(step, connection.pk, objects[objects.index(object_name) - 1])
    names = list(of(kind_of(connection)))
    return _url(names[names.index(step) - 1], connection.pk)


def _url(step: str, *args: Any) -> str:
    return reverse(f"admin:crm_connection_{step}", args=args)


def unready(connection: Connection) -> str:
    """Why a draft can't be started yet; empty if it can."""
    for found in chosen(connection):
        part = connection.mapping[found.name]
        if not part.get("fields"):
            return _("No field of “%s” is taken yet.") % found.label
        if found.role == "purchase" and not part.get("won"):
            return _("Step “Fields” has yet to say which of “%s” count as purchases.") % found.label
    return "" if connection.mapping else _("No records are chosen yet.")


def summary(connection: Connection) -> list[Line]:
    """A line for each object."""
    lines = []
    for found in chosen(connection):
        part = connection.mapping[found.name]
        won = part.get("won") or {}
        equals = won.get("equals")
        words = {True: _("yes"), False: _("no")}
        values = ", ".join(equals) if isinstance(equals, list) else words.get(equals, equals)
        lines.append(
            Line(
                found=found,
                fields=len(part.get("fields", ())),
                consents=len(part.get("consent", ())),
                ours=len(part.get("ours", ())),
                won=f"{won['field']} = {values}" if won else "",
                written=len(part.get("write", ())),
                activities=len(part.get("activities", ())),
            )
        )
    return lines


def taken(mapping: dict[str, Any]) -> dict[str, Any]:
    """The parts of a connection's mapping that decide what records become."""
    return {name: {key: part.get(key) for key in READ_ANEW} for name, part in mapping.items()}


def records_here(connection: Connection) -> dict[str, int]:
    """How many live records of each object are here."""
    live = SourceRecord.objects.filter(connection=connection, state=SourceRecord.State.LIVE)
    return dict(live.order_by().values_list("object").annotate(Count("pk")))


def card(kind: type[Connector]) -> KindCard:
    """How a CRM presents itself in the first step."""
    choices = [dict(field.choices) for field in kind.Form.base_fields.values() if hasattr(field, "choices")]
    return KindCard(
        kind=kind.kind,
        label=kind.label,
        letters="" if kind.starts_at else str(kind.label)[:1],
        objects=", ".join(str(found.label) for found in kind.objects),
        sandbox=any("sandbox" in each for each in choices),
        url=reverse(kind.starts_at) if kind.starts_at else f"?kind={kind.kind}",
    )
