"""Lists and files of members."""

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Segment, SegmentMembership
from campaigns.segments import exporting, list_work
from crm import privacy
from crm.models import AuditEntry


@pytest.fixture
def fair(server, people):
    """An empty list."""
    assert server.post("segments/", {"slug": "fair", "name": "Fair", "kind": "list"}).status_code == 201
    return "segments/fair/members/"


def on_list():
    members = SegmentMembership.objects.filter(segment__slug="fair")
    return sorted(members.values_list("profile__first_name", flat=True))


def test_people_are_put_on_and_taken_off(server, fair, people, django_assert_max_num_queries):
    rows = [
        {"external_id": "C-ada"},
        {"email": "ADA@example.com"},
        {"id": people["bo"].pk},
        {"email": "nobody@example.com"},
        {"shoe": 40},
        {},
        {"phone": "12"},
    ]
    with django_assert_max_num_queries(40):
        answer = server.post(fair, {"profiles": rows}).json()
    assert (answer["added"], answer["known"]) == (2, 0)
    assert [row["index"] for row in answer["rejected"]] == [3, 4, 5, 6]
    assert (answer["rejected"][0]["code"], answer["rejected"][0]["field"]) == ("unknown_profile", "email")
    assert on_list() == ["ada", "bo"]
    assert server.post(fair, {"profiles": rows[:1]}).json()["known"] == 1

    gone = server.post(
        f"{fair}remove/", {"profiles": [{"external_id": "C-bo"}, {"external_id": "C-cy"}]}
    ).json()
    assert (gone["removed"], gone["unknown"], gone["rejected"]) == (1, 1, [])
    assert on_list() == ["ada"]
    assert server.get("segments/fair/").json()["size"] == 1
    why = server.post("segments/fair/explain/", {"profile": {"external_id": "C-ada"}}).json()
    assert (why["holds"], why["member"]) == (True, True)


def test_as_many_queries_for_many_as_for_few(server, fair, people):
    server.post(fair, {"profiles": [{"external_id": f"C-{name}"} for name in people]})
    counted = []
    for names in (["ada"], ["bo", "cy"]):
        with CaptureQueriesContext(connection) as queries:
            server.post(f"{fair}remove/", {"profiles": [{"external_id": f"C-{name}"} for name in names]})
        counted.append(len(queries))
    assert counted[0] == counted[1]


def test_who_was_erased_stays_away(server, fair, people):
    privacy.erase([people["ada"].pk], "request")
    rejected = server.post(fair, {"profiles": [{"id": people["ada"].pk}]}).json()["rejected"]
    assert [row["code"] for row in rejected] == ["erased"]


def test_a_list_is_replaced_in_the_background(server, fair, people):
    server.post(fair, {"profiles": [{"external_id": "C-ada"}, {"external_id": "C-bo"}]})
    rows = [{"external_id": "C-bo"}, {"email": "cy@example.com"}, {"external_id": '=1\0\n",;'}]
    odd = server.send("PUT", fair, {"profiles": [*rows, {"shoe": 40}]})
    assert (odd.status_code, odd.json()["error"]["field"]) == (400, "profiles[3]")
    begun = server.send("PUT", fair, {"profiles": rows})
    assert (begun.status_code, begun.json()["state"], begun.json()["mode"]) == (202, "running", "replace")
    list_work.work()
    [done] = server.get("segments/fair/fillings/").json()["fillings"]
    assert (done["id"], done["state"]) == (begun.json()["id"], "done")
    assert [done[name] for name in ("rows", "added", "removed", "known", "rejected")] == [3, 1, 1, 1, 1]
    assert on_list() == ["bo", "cy"]


def test_a_snapshot_keeps_who_is_in_now(server, poles):
    begun = server.post("segments/poles/snapshot/", {"name": "Poles in May", "slug": "fair"})
    assert (begun.status_code, begun.json()["list"]) == (202, "fair")
    list_work.work()
    assert on_list() == ["ada", "bo"]
    assert (
        server.post("segments/poles/snapshot/", {"name": "P", "slug": ""}).json()["error"]["field"] == "slug"
    )
    again = server.post("segments/poles/snapshot/", {"name": "Poles", "slug": "fair"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "slug_taken")


def test_only_lists_are_changed_by_hand(server, reader, poles):
    for method, path in (("POST", ""), ("PUT", ""), ("POST", "remove/")):
        body = {"profiles": [{"external_id": "C-ada"}]}
        answer = server.send(method, f"segments/poles/members/{path}", body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_a_list")
        assert reader.send(method, f"segments/poles/members/{path}", body).status_code == 403


@pytest.mark.parametrize("profiles", [[], [{}] * 1001, None, "ada"])
def test_batches_have_a_size(server, fair, profiles):
    answer = server.post(fair, {"profiles": profiles})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "profiles")


def test_members_as_a_file(reader, analyst, writer, poles):
    begun = reader.post("segments/poles/exports/", {"columns": ["external_id", "email"]})
    assert (begun.status_code, begun.json()["state"], begun.json()["total"]) == (202, "running", 2)
    path = f"segments/exports/{begun.json()['id']}/"
    early = reader.get(f"{path}download/")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not_ready")
    exporting.work()
    done = reader.get(path).json()
    assert (done["state"], done["rows"], done["progress"]) == ("done", 2, 1.0)
    file = reader.get(f"{path}download/", HTTP_ACCEPT="text/csv")
    assert file["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(file.streaming_content).decode("utf-8-sig"))))
    assert [row["email"] for row in rows] == ["ada@example.com", "bo@example.com"]
    assert [entry.actor for entry in AuditEntry.objects.filter(action__startswith="members.export")] == [
        "reader"
    ] * 2
    for caller in (analyst, writer):
        assert caller.post("segments/poles/exports/", {}).status_code == 403
        assert caller.get(f"{path}download/").status_code == 403
    assert reader.post("segments/poles/exports/", {"columns": ["shoe"]}).json()["error"]["field"] == "columns"


def test_what_cannot_be_undone_is_kept_in_the_audit_log(server, fair):
    assert server.send("PUT", fair, {"profiles": [{"external_id": "C-ada"}]}).status_code == 202
    assert server.send("DELETE", "segments/fair/").status_code == 204
    kept = AuditEntry.objects.order_by("pk").values_list("action", "actor", "object_repr")
    assert list(kept) == [("list.filled", "server", "Fair"), ("segment.deleted", "server", "Fair")]


def test_an_export_can_be_stopped(reader, poles):
    path = f"segments/exports/{reader.post('segments/poles/exports/', {}).json()['id']}/"
    assert reader.send("DELETE", path).status_code == 204
    assert reader.get(path).json()["state"] == "cancelled"
    assert Segment.objects.filter(slug="poles").exists()
