"""A row about a person in every table that can hold one, made from the models themselves.

A table that comes into being tomorrow is found here by itself: through a key to Profile, a column called
`profile_id`, or a key to a table that is found so. Of tables whose rows outlive a message, its number leads there.
"""

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models

from crm.models import Connection, Event, Identifier, Profile, SourceRecord
from delivery.models import Delivery

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
APPS = ("crm", "delivery", "campaigns", "analytics")
# Values that a table's rules ask for; a person's own data belong into the others.
FIXED: dict[str, dict[str, Any]] = {
    "crm.identifier": {"kind": "crm:people"},
    "crm.consent": {"kind": "topic", "state": "subscribed"},
    "crm.consentchange": {"kind": "topic", "state": "subscribed"},
    "delivery.delivery": {"state": "sent", "sent_at": NOW, "origin_type": "api", "priority": 3},
    "campaigns.enrollment": {"state": "active", "ended_at": None},
    "crm.profilemerge": {"loser_id": 999_999},
}


BY_NUMBER = {"analytics.credit"}  # has a delivery's number without a key to it


def marker(model: type[models.Model]) -> str:
    """What stands in every text of this table's row."""
    return f"zyx{model._meta.model_name}zyx"


def about_people() -> dict[str, list[models.Field]]:
    """Label of each table about people -> its columns that lead to a person."""
    found: dict[str, list[models.Field]] = {}
    tables = [
        model for app in APPS for model in apps.get_app_config(app).get_models() if model is not Profile
    ]
    for _round in range(3):
        for model in tables:
            ways = [field for field in model._meta.concrete_fields if _leads(field, found)]
            if ways:
                found[model._meta.label_lower] = ways
    return found


def _leads(field: models.Field, found: dict[str, list[models.Field]]) -> bool:
    if field.related_model is not None:
        return field.related_model is Profile or field.related_model._meta.label_lower in found
    return field.attname == "profile_id" or _of_delivery(field)


def _of_delivery(field: models.Field) -> bool:
    return field.attname == "delivery_id" and field.model._meta.label_lower in BY_NUMBER


def make(profile: Profile) -> dict[str, models.Model]:
    """A row about this person in each of these tables, by label."""
    made: dict[str, models.Model] = {}
    other: dict[type[models.Model], models.Model] = {}
    labels = about_people()
    while missing := [label for label in labels if label not in made]:
        for label in missing:
            model = apps.get_model(label)
            needed = {
                field.related_model._meta.label_lower
                for field in labels[label]
                if field.related_model not in (None, Profile)
            } | {"delivery.delivery" for field in labels[label] if _of_delivery(field)}
            if needed <= set(made) | {label}:
                made[label] = _row(model, profile, made, other)
    return made


def _row(model: type[models.Model], profile: Profile, made: dict, other: dict) -> models.Model:
    label = model._meta.label_lower
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if field.name in FIXED.get(label, {}):
            values[field.name] = FIXED[label][field.name]
        elif field.related_model is Profile:
            values[field.name] = profile
        elif field.attname == "profile_id":
            values[field.attname] = profile.pk
        elif _of_delivery(field):
            values[field.attname] = made["delivery.delivery"].pk
        elif field.related_model is not None:
            target = field.related_model
            if target._meta.label_lower in made:
                values[field.name] = made[target._meta.label_lower]
            elif not field.null:
                values[field.name] = _thing(target, other)
        elif not isinstance(field, models.AutoField | models.CompositePrimaryKey):
            values[field.name] = _value(field, marker(model))
    if model is Event:
        return _event(values)
    return model._default_manager.create(**values)


def _thing(model: type[models.Model], other: dict) -> models.Model:
    """Something that is no person's, such as a message or a flow; one of each kind."""
    if model not in other:
        other[model] = _new_thing(model, other)
    return other[model]


def _new_thing(model: type[models.Model], other: dict) -> models.Model:
    if model is Connection:
        found = Connection.objects.filter(slug="crm").first()
        return found or Connection.objects.create(kind="fake", name="CRM", slug="crm")
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if field.related_model is not None:
            if not field.null:
                values[field.name] = _thing(field.related_model, other)
        elif not field.has_default() and not isinstance(field, models.AutoField):
            values[field.name] = _value(field, "ours")
    return model._default_manager.create(**values)


def _value(field: models.Field, text: str) -> Any:
    if field.choices:
        return next(iter(field.flatchoices))[0]
    match field:
        case models.JSONField():
            return {"note": text, "age": 41, "list": [text]}
        case ArrayField():
            return [text]
        case models.DateTimeField():
            return NOW
        case models.DateField():
            return date(2026, 3, 5)
        case models.TimeField():
            return time(22 if field.name.endswith("from") else 7)
        case models.UUIDField():
            return uuid.uuid4()
        case models.BooleanField():
            return True
        case models.DecimalField():
            return Decimal(7)
        case models.FloatField() | models.IntegerField():
            return 7
        case models.BinaryField():
            return text.encode()
        case _:
            return text


def _event(values: dict[str, Any]) -> Event:
    from crm import log

    new = log.NewEvent(
        values["id"], values["profile"].pk, values["name"], NOW, values["properties"] | {"total": 12.5}, "api"
    )
    log.append([new])
    return Event.objects.get(pk=new.id)


def crm_record(profile: Profile) -> None:
    """Let the identifier that `make` gave lead to a live record of a CRM."""
    name = Identifier.objects.get(profile=profile, kind="crm:people")
    SourceRecord.objects.create(
        connection=Connection.objects.get(slug="crm"),
        object="people",
        record_id=name.value,
        modified_at=NOW,
        content_hash=b"1",
    )


def everything() -> list[str]:
    """All rows of the product's tables as text."""
    texts = []
    with connection.cursor() as cursor:
        for app in (*APPS, "admin"):
            for model in apps.get_app_config(app).get_models():
                cursor.execute(f"SELECT to_jsonb(t)::text FROM {model._meta.db_table} t")
                texts += [f"{model._meta.label_lower}: {row[0]}" for row in cursor.fetchall()]
    return texts


def of(profile_id: int) -> set[str]:
    """The labels of the tables with a row that leads to this person."""
    found = set()
    for label, ways in about_people().items():
        model = apps.get_model(label)
        for field in ways:
            path, wanted = field.attname, [profile_id]
            if field.related_model is Delivery:
                path = f"{field.name}__profile_id"
            elif _of_delivery(field):
                wanted = list(Delivery.objects.filter(profile_id=profile_id).values_list("pk", flat=True))
            elif field.related_model not in (None, Profile):
                continue
            if model._default_manager.filter(**{f"{path}__in": wanted}).exists():
                found.add(label)
    return found
