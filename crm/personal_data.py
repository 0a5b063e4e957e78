"""What the crm layer knows about one person, for `crm.portability`."""

import msgspec
from django.db import connection
from django.utils.translation import gettext_lazy as _

from crm.models import (
    AuditEntry,
    ComputedValue,
    Consent,
    ConsentChange,
    CrmPurchase,
    Device,
    Event,
    Identifier,
    LastLocation,
    PersonPlace,
    Preference,
    ProductInterest,
    Profile,
    ProfileMerge,
    SyncReject,
    WrittenRecord,
)
from crm.portability import Rows, columns, register, rows, table

# An address to push to and its keys would let whoever finds the file write to the device.
_SECRET = ("endpoint", "p256dh", "auth", "application_key")


def connect() -> None:
    """Called once when the app is ready."""
    register("profile", _("Fields and attributes, and who told each."), _profile, "crm.profile")
    register("identifiers", _("The names this person is known by."), table(Identifier), "crm.identifier")
    register("consents", _("Present answers by channel and topic."), table(Consent), "crm.consent")
    register(
        "consent_history",
        _("Every answer that was given, with its proof."),
        table(ConsentChange, order="changed_at"),
        "crm.consentchange",
    )
    register("preferences", _("How often and when to write."), table(Preference), "crm.preference")
    register(
        "devices",
        _("Browsers and apps that may receive pushes, without the secrets to push to them."),
        table(Device, *_SECRET),
        "crm.device",
    )
    register("events", _("Everything that was recorded."), _events, "crm.event")
    register("interests", _("Products of interest."), table(ProductInterest), "crm.productinterest")
    register("places", _("Shops and areas that were visited."), _places, "crm.personplace")
    register(
        "last_location",
        _("Where this person was last."),
        lambda pk: rows(LastLocation.objects.filter(pk=pk), *columns(LastLocation)),
        "crm.lastlocation",
    )
    register("computed", _("What was computed from events."), _computed, "crm.computedvalue")
    register("purchases", _("Purchases that a CRM told of."), _purchases, "crm.crmpurchase")
    register("merges", _("Profiles that became part of this one."), _merges, "crm.profilemerge")
    register("crm_records", _("This person's records in connected CRMs."), _crm_records)
    register("crm_rejects", _("Records of CRMs that could not be taken."), _rejects, "crm.syncreject")
    register(
        "written_to_crms",
        _("What was written into CRMs about this person."),
        _written,
        "crm.writtenrecord",
    )
    register("access", _("When the people who run this site looked at or changed the profile."), _access)


def _profile(profile_id: int) -> Rows:
    return rows(
        Profile.objects.filter(pk=profile_id), *(field.attname for field in Profile._meta.concrete_fields)
    )


def _events(profile_id: int) -> Rows:
    names = ("id", "name", "occurred_at", "received_at", "source", "properties")
    return rows(Event.objects.filter(profile_id=profile_id).order_by("occurred_at", "id"), *names)


def _places(profile_id: int) -> Rows:
    found = PersonPlace.objects.filter(profile_id=profile_id).order_by("pk")
    return rows(found, "place__name", *columns(PersonPlace, "place_id"))


def _computed(profile_id: int) -> Rows:
    found = ComputedValue.objects.filter(profile_id=profile_id).order_by("attribute_id")
    return rows(found, "attribute__slug", "attribute__name", "number", "text", "at")


def _purchases(profile_id: int) -> Rows:
    found = CrmPurchase.objects.filter(profile_id__in=_known(profile_id)).order_by("occurred_at", "pk")
    return rows(found, "connection__name", *("object", "record_id", "occurred_at", "properties", "cancelled"))


def _written(profile_id: int) -> Rows:
    found = WrittenRecord.objects.filter(profile_id__in=_known(profile_id)).order_by("pk")
    return rows(found, "connection__name", "object", "record_id", "values", "written_at")


def _known(profile_id: int) -> list[int]:
    """What remembers a profile by its number may know a person by that of a profile that was merged into theirs."""
    merged = ProfileMerge.objects.filter(winner_id=profile_id).values_list("loser_id", flat=True)
    return [profile_id, *merged]


def _merges(profile_id: int) -> Rows:
    found = ProfileMerge.objects.filter(winner_id=profile_id).order_by("merged_at")
    return rows(found, "loser_id", "reason", "snapshot", "merged_at")


def _records(columns_: str, more: str, profile_id: int) -> Rows:
    """Rows joined to the CRM records that this person is known by."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT c.name AS connection, s.object, s.record_id, {columns_} FROM crm_identifier i
            JOIN crm_connection c ON c.slug = split_part(i.kind, ':', 1)
            JOIN crm_sourcerecord s ON s.connection_id = c.id AND s.object = substr(i.kind, length(c.slug) + 2)
                AND s.record_id = i.value
            {more}
            WHERE i.profile_id = %s ORDER BY s.id
            """,
            [profile_id],
        )
        names = [column[0] for column in cursor.description or ()]
        yield from (dict(zip(names, row, strict=True)) for row in cursor.fetchall())


def _crm_records(profile_id: int) -> Rows:
    return _records("s.state, s.modified_at, s.synced_at", "", profile_id)


def _rejects(profile_id: int) -> Rows:
    found = SyncReject._meta.db_table
    join = f"JOIN {found} r ON (r.connection_id, r.object, r.record_id) = (c.id, s.object, s.record_id)"
    for row in _records("r.detail, r.raw, r.first_seen, r.last_seen", join, profile_id):
        yield {**row, "raw": msgspec.Raw(row["raw"].encode())}


def _access(profile_id: int) -> Rows:
    found = AuditEntry.objects.filter(object_type="crm.profile", object_id=str(profile_id)).order_by("pk")
    return rows(found, "at", "action", "actor_type", "detail")
