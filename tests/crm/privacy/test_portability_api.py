"""Export and erasure by the API and the command line; both are recorded."""

import io
import json
import tracemalloc
import uuid
import zipfile
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from crm import api_keys, partitions, portability
from crm.models import AuditEntry, Event, Profile

pytestmark = pytest.mark.django_db


@pytest.fixture
def person() -> Profile:
    """Somebody."""
    return Profile.objects.create(email="ada@example.com", first_name="Ada")


def bearer(*scopes: str) -> dict[str, str]:
    _key, text = api_keys.create(uuid.uuid4().hex, scopes)
    return {"Authorization": f"Bearer {text}"}


def test_export_needs_a_key_that_reads_and_writes_and_is_recorded(client, person):
    address = f"/api/v1/profiles/{person.pk}/export/"
    for scopes in (["read"], ["write"], ["browser"]):
        assert client.get(address, headers=bearer(*scopes)).status_code == 403
    assert not AuditEntry.objects.filter(action="profile.exported").exists()
    both = bearer("read", "write")
    answer = client.get(address, headers={**both, "Accept": "application/zip"})
    assert (answer.status_code, answer["Content-Type"], answer["Cache-Control"]) == (
        200,
        "application/zip",
        "no-store",
    )
    archive = zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))
    assert json.loads(archive.read("profile.json"))[0]["first_name"] == "Ada"
    entry = AuditEntry.objects.get(action="profile.exported")
    assert (entry.actor_type, entry.object_id, entry.address) == ("key", str(person.pk), "127.0.0.1")
    assert client.get("/api/v1/profiles/999999/export/", headers=both).status_code == 404


def test_erasing_twice_is_the_same_as_once(client, person):
    address = f"/api/v1/profiles/{person.pk}/"
    assert client.delete(address, headers=bearer("read")).status_code == 403
    assert client.delete(f"{address}?crms=perhaps", headers=bearer("write")).status_code == 400
    for _time in range(2):
        assert client.delete(address, headers=bearer("write")).status_code == 204
    person.refresh_from_db()
    assert (person.email, person.first_name) == (None, None)
    assert client.delete("/api/v1/profiles/999999/", headers=bearer("write")).status_code == 404
    assert AuditEntry.objects.filter(action="profile.erased", object_id=str(person.pk)).count() == 2


def test_no_import_brings_anybody_back_but_they_may_return(client, person):
    headers = bearer("read", "write")
    client.delete(f"/api/v1/profiles/{person.pk}/", headers=headers)
    ada, bob = {"email": "Ada@Example.com", "city": "London"}, {"email": "bob@example.com"}

    def post(path: str, body: dict) -> dict:
        answer = client.post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)
        return {"status": answer.status_code, **answer.json()}

    refused = post("profiles/", ada)
    assert (refused["status"], refused["error"]["code"]) == (409, "erased")
    bulk = post("profiles/bulk/", {"profiles": [ada, bob]})
    assert bulk["created"] == 1
    assert [(row["index"], row["code"]) for row in bulk["rejected"]] == [(0, "erased")]
    events = post("events/", {"events": [{"profile": {"email": ada["email"]}, "name": "seen"}]})
    assert events["rejected"][0]["code"] == "erased"
    assert not Profile.objects.filter(email="ada@example.com").exists()
    back = post("profiles/?returning=true", ada)
    assert back["status"] == 201
    assert back["id"] != person.pk
    assert AuditEntry.objects.get(action="profile.returned").object_id == str(back["id"])
    assert post("profiles/", ada)["status"] == 200


def test_commands(person, tmp_path):
    path = tmp_path / "person.zip"
    call_command("export_person", person.pk, path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="exists"):
        call_command("export_person", person.pk, path)
    with pytest.raises(CommandError, match="--yes"):
        call_command("erase_person", person.pk)
    call_command("erase_person", person.pk, "--yes")
    person.refresh_from_db()
    assert person.email is None
    actors = set(AuditEntry.objects.values_list("actor_type", "actor"))
    assert actors == {("command", "export_person"), ("command", "erase_person")}


def test_the_archive_streams(person):
    """8,000 events of a person take no more memory than a few thousand."""
    now = timezone.now()
    partitions.ensure([now, now - timedelta(seconds=8_000)])
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO crm_event (id, profile_id, name, occurred_at, properties, source)
            SELECT gen_random_uuid(), %s, 'seen', now() - n * interval '1 second',
                jsonb_build_object('page', md5(n::text)), 'api'
            FROM generate_series(1, 8000) n
            """,
            [person.pk],
        )
    tracemalloc.start()
    sizes = [len(piece) for piece in portability.archive(person)]
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Event.objects.filter(profile=person).count() == 8_000
    assert max(sizes) < 256 * 1024
    assert sum(sizes) > 400_000
    assert peak < 8 * 1024 * 1024
