"""Every table about people is in their export, is emptied by their erasure and follows a merge."""

import io
import json
import zipfile

import pytest
from django.utils import timezone

from analytics.goals import earned
from analytics.rollups import keeping
from crm import merging, portability, privacy
from crm.models import Event, Profile
from tests.crm.privacy import rows

pytestmark = pytest.mark.django_db

SECRETS = "zyxsecretzyx"
# What an erased person leaves behind: by table the columns that may still say what they said.
STAYS = {
    "crm.event": {"name"},
    "crm.consentchange": {"key", "source", "wording", "wording_version", "proof"},
    # By their ids CRM records are kept from returning, and are erased in the CRM.
    "crm.sourcerecord": {"record_id"},
    "crm.crmpurchase": {"object", "record_id"},
    "crm.crmerasure": {"object", "record_id", "detail"},
    # Which fields have changed, and why somebody is looked at; gone in a moment.
    "crm.change": {"fields"},
    "campaigns.segmentcandidate": {"cause", "event"},
    # Our own words for what was sent, and where in a flow.
    "analytics.conversion": {"currency"},
    "analytics.credit": {"currency", "account_currency"},
    "analytics.engagement": {"ended"},
    "campaigns.decision": {"kind", "step"},
    "campaigns.webhookcall": {"step", "url", "method"},
    "campaigns.crmwrite": {"step"},
    "campaigns.enrollment": {"step"},
    "delivery.delivery": {"cause", "channel", "variant", "locale", "reason", "origin_step"},
}
# Not in a person's export, and why.
NOT_EXPORTED = {
    "crm.change": "who is to be looked at in the next seconds",
    "campaigns.segmentcandidate": "who is to be looked at in the next seconds",
    "crm.crmerasure": "what is done after an erasure",
    "crm.erasedname": "what is left after an erasure",
    "delivery.slot": "a place kept for a message of the list of deliveries",
    "delivery.place": "what limits count, which is the list of deliveries again",
    "delivery.placelock": "what a dispatcher locks",
    "campaigns.catchupperson": "who is about to be let into a flow",
    "campaigns.flowmoment": "who is to be looked at within the hour",
}
# Rows that a merge does not move, and why.
NOT_MOVED = {
    "crm.change": "says that the merged profile is gone",
    "campaigns.segmentcandidate": "whoever is gone is in no segment",
    "campaigns.flowmoment": "found again by the change of the winner",
    "crm.crmerasure": "the number of the erased profile",
    "crm.erasedname": "the number of the erased profile",
    "delivery.placelock": "what a dispatcher locks",
    "crm.profilemerge": "the merge itself, which leads to the winner",
    "crm.crmpurchase": "found by the numbers of merged profiles too",
    "crm.writtenrecord": "found by the numbers of merged profiles too",
    "crm.computedvalue": "computed anew of what the winner has then",
}


@pytest.fixture
def person() -> Profile:
    """Somebody with a row in every table."""
    profile = Profile.objects.create(
        email=f"{SECRETS}@example.com",
        first_name=SECRETS,
        attributes={"note": SECRETS},
        sources={"email": [SECRETS, "2026-01-01T00:00:00Z"]},
    )
    rows.make(profile)
    rows.crm_record(profile)
    return profile


def opened(profile: Profile) -> dict[str, list | dict]:
    """The files of the archive, parsed."""
    whole = b"".join(portability.archive(profile))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        return {name: json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json")}


def test_the_export_holds_every_table_and_says_so(person):
    files = opened(person)
    exported = {label: part.name for part in portability.parts() for label in part.tables}
    missing = {
        label
        for label in rows.about_people()
        if label not in NOT_EXPORTED and not files.get(f"{exported.get(label)}.json")
    }
    assert not missing
    manifest = files["manifest.json"]
    assert manifest["schema"] == "nudge.person/1"
    assert {each["file"]: each["rows"] for each in manifest["files"]} == {
        name: len(content) for name, content in files.items() if name != "manifest.json"
    }
    assert files["profile.json"][0]["email"] == person.email
    [device] = files["devices.json"]
    assert "endpoint" not in device
    assert files["crm_records.json"][0]["record_id"]


def test_an_erasure_leaves_nothing_in_any_table(person):
    assert len({line.split(":")[0] for line in rows.everything() if "zyx" in line}) > 15
    privacy.erase([person.pk], "request", timezone.now(), crms=True)
    keeping.forget([person.pk])  # as the log's reader does when it comes to the erasure
    earned.refresh([], [person.pk])
    left: dict[str, set[str]] = {}
    for line in rows.everything():
        label, _colon, row = line.partition(": ")
        told = {name for name, value in json.loads(row).items() if "zyx" in json.dumps(value)}
        if told - STAYS.get(label, set()):
            left.setdefault(label, set()).update(told)
    assert left == {}
    event = Event.objects.get(source="api")
    assert event.properties == {"total": 12.5}
    [profile] = opened(Profile.objects.get(pk=person.pk))["profile.json"]
    assert not profile["email"]


def test_a_merge_moves_every_table(person):
    winner = Profile.objects.create(email="winner@example.com")
    before = rows.of(person.pk)
    assert before >= set(rows.about_people()) - {"crm.consentchange"}
    merging.merge([(person.pk, winner.pk)], "test", timezone.now())
    assert rows.of(person.pk) <= set(NOT_MOVED)
    assert before - rows.of(winner.pk) <= set(NOT_MOVED)
    files = opened(winner)
    assert files["purchases.json"]
    assert files["written_to_crms.json"]
