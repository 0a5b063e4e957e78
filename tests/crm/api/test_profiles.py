"""Profiles over HTTP: upsert, bulk, list, one."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import consent, identity
from crm.models import Profile

ADA = {
    "external_id": "C-1",
    "email": "Ada@Example.com",
    "first_name": "Ada",
    "country": "United Kingdom",
    "birthday": "1990-12-10",
    "attributes": {"plan": "gold"},
}


class TestOne:
    def test_created_then_changed_then_the_same(self, server):
        created = server.post("profiles/", ADA)
        assert (created.status_code, created.json()["state"]) == (201, "created")
        body = created.json()["profile"]
        assert (body["email"], body["country"], body["birthday"]) == ("ada@example.com", "GB", "1990-12-10")
        assert {"kind": "external_id", "value": "C-1"} in body["identifiers"]
        changed = server.post("profiles/", {"email": "ada@example.com", "attributes": {"plan": None, "n": 1}})
        assert (changed.status_code, changed.json()["id"]) == (200, body["id"])
        now = changed.json()["profile"]
        assert (now["attributes"], now["first_name"]) == ({"n": 1}, "Ada")
        again = server.post("profiles/", {"external_id": "C-1", "first_name": "Ada"}).json()
        assert (again["state"], again["profile"]["updated_at"]) == ("unchanged", now["updated_at"])

    def test_whoever_may_only_write_reads_nothing_back(self, writer):
        created = writer.post("profiles/", ADA).json()
        assert created == {"id": Profile.objects.get().pk, "state": "created"}
        path = f"profiles/{created['id']}/"
        assert writer.send("PATCH", path, {"city": "London"}).json() == created | {"state": "updated"}

    @pytest.mark.parametrize(
        ("sent", "code", "field"),
        [
            ({"first_name": "Ada"}, "missing_key", None),
            ({"email": "nonsense"}, "invalid_email", "email"),
            ({"email": "a@example.com", "phone": "12"}, "invalid_phone", "phone"),
            ({"email": "a@example.com", "plan": 1}, "unknown_field", "plan"),
            ({"email": "a@example.com", "first_name": "\x00"}, "nul_character", "first_name"),
            ({"email": "a@example.com", "first_name": 1}, "invalid_type", "first_name"),
            ({"email": "a@example.com", "attributes": []}, "invalid_type", "attributes"),
            ({"email": "a@example.com", "attributes": {"": 1}}, "invalid_name", "attributes"),
        ],
    )
    def test_what_is_wrong_is_named(self, writer, sent, code, field):
        response = writer.post("profiles/", sent)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error.get("field")) == (400, code, field)
        assert not Profile.objects.exists()

    def test_a_name_of_somebody_else(self, writer):
        writer.post("profiles/", {"external_id": "C-1", "email": "ada@example.com"})
        response = writer.post("profiles/", {"external_id": "C-2", "email": "bo@example.com"})
        assert response.status_code == 201
        response = writer.post("profiles/", {"external_id": "C-2", "email": "ada@example.com"})
        assert (response.status_code, response.json()["error"]["code"]) == (409, "email_taken")

    @pytest.mark.parametrize("number", ["1" * 40, "1e400", "-1", '"x"', "null", "true", "1.5"])
    def test_odd_ids(self, writer, number):
        assert writer.post("profiles/", f'{{"id": {number}}}').status_code == 400

    @pytest.mark.parametrize("value", ["1" * 400, "1e400", "-1e-400", "123456789012345678901234567890"])
    @pytest.mark.parametrize("field", ["latitude", "attributes"])
    def test_odd_numbers(self, writer, field, value):
        body = value if field == "latitude" else f'{{"n": {value}}}'
        response = writer.post("profiles/", f'{{"email": "a@example.com", "{field}": {body}}}')
        assert response.status_code in (201, 400)


class TestPatch:
    def test_only_what_is_given_changes(self, server):
        number = server.post("profiles/", ADA).json()["id"]
        sent = {"first_name": None, "attributes": {"visits": 3}}
        body = server.send("PATCH", f"profiles/{number}/", sent).json()
        assert (body["state"], body["profile"]["first_name"]) == ("updated", None)
        assert body["profile"]["attributes"] == {"plan": "gold", "visits": 3}
        assert body["profile"]["email"] == "ada@example.com"
        assert server.send("PATCH", f"profiles/{number}/", sent).json()["state"] == "unchanged"

    @pytest.mark.parametrize(
        ("sent", "status", "code"),
        [
            ({"email": "bo@example.com"}, 409, "email_taken"),
            ({"email": "x"}, 400, "invalid_email"),
            ({"id": 1}, 400, "unknown_field"),
            ([], 400, "invalid_value"),
        ],
    )
    def test_what_is_wrong_is_told(self, server, sent, status, code):
        server.post("profiles/", {"email": "bo@example.com"})
        number = server.post("profiles/", ADA).json()["id"]
        response = server.send("PATCH", f"profiles/{number}/", sent)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)

    @pytest.mark.parametrize("number", ["1", "9" * 30])
    def test_nobody(self, writer, number):
        assert writer.send("PATCH", f"profiles/{number}/", {"city": "Ur"}).status_code == 404


class TestBulk:
    def test_each_row_is_judged_alone(self, writer):
        writer.post("profiles/", {"email": "old@example.com", "first_name": "Old"})
        rows = [
            {"email": "new@example.com"},
            {"email": "bad"},
            {"email": "old@example.com", "first_name": "Older"},
            7,
            {"first_name": "Nobody"},
            {"email": "old@example.com", "first_name": "Older"},
        ]
        response = writer.post("profiles/bulk/", {"profiles": rows})
        assert response.status_code == 200
        body = response.json()
        assert (body["created"], body["updated"], body["unchanged"]) == (1, 1, 1)
        assert [(row["index"], row["code"], row["field"]) for row in body["rejected"]] == [
            (1, "invalid_email", "email"),
            (3, "invalid_value", ""),
            (4, "missing_key", ""),
        ]
        assert set(body["rejected"][0]) == {"index", "code", "detail", "field"}

    @pytest.mark.parametrize("count", [0, 1001])
    def test_not_none_and_not_too_many(self, writer, count):
        response = writer.post("profiles/bulk/", {"profiles": [{"email": "a@example.com"}] * count})
        assert (response.status_code, response.json()["error"]["field"]) == (400, "profiles")

    def test_bad_text_in_one_row_spares_the_others(self, writer):
        rows = [rb'{"email": "a@example.com", "first_name": "\ud800"}', b'{"email": "b@example.com"}']
        response = writer.post("profiles/bulk/", b'{"profiles": [' + b",".join(rows) + b"]}")
        assert response.status_code in (200, 400)
        if response.status_code == 200:
            assert [row["index"] for row in response.json()["rejected"]] == [0]

    def test_the_number_of_queries_does_not_grow(self, writer):
        def queries(rows):
            with CaptureQueriesContext(
                connection,
            ) as captured:
                response = writer.post("profiles/bulk/", {"profiles": rows})
            assert response.json()["rejected"] == []
            return len(captured)

        def people(kind, count):
            return [{"external_id": f"{kind}{n}", "email": f"{kind}{n}@example.com"} for n in range(count)]

        writer.post("profiles/bulk/", {"profiles": people("warm", 1)})
        assert queries(people("a", 1)) == queries(people("b", 1000))


class TestList:
    @pytest.fixture
    def people(self, db):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        return Profile.objects.bulk_create(
            [
                # Three share a moment, so that pages end inside a tie.
                Profile(
                    email=f"p{n}@example.com", external_id=f"P{n}", updated_at=start + timedelta(hours=n // 3)
                )
                for n in range(10)
            ]
        )

    def pages(self, reader, query, limit=4):
        path, seen = f"profiles/?limit={limit}&{query}", []
        while True:
            body = reader.get(path).json()
            seen.append([profile["id"] for profile in body["profiles"]])
            if body["next_cursor"] is None:
                return seen
            path = f"profiles/?limit={limit}&{query}&cursor={body['next_cursor']}"

    def test_all_pages_hold_everybody_once(self, reader, people):
        ids = [profile.pk for profile in people]
        assert self.pages(reader, "") == [ids[:4], ids[4:8], ids[8:]]
        assert self.pages(reader, "", 5) == [ids[:5], ids[5:]]

    def test_changes_since(self, reader, people):
        ids = [profile.pk for profile in people]
        assert self.pages(reader, "updated_since=2026-01-01T01:00:00Z", 2) == [
            ids[3:5],
            ids[5:7],
            ids[7:9],
            ids[9:],
        ]

    def test_pages_by_change_survive_changes(self, reader, people):
        body = reader.get("profiles/?limit=4&updated_since=2026-01-01T00:00:00Z").json()
        Profile.objects.filter(pk=people[0].pk).update(updated_at=datetime(2026, 2, 1, tzinfo=UTC))
        path = f"profiles/?limit=100&updated_since=2026-01-01T00:00:00Z&cursor={body['next_cursor']}"
        rest = [profile["id"] for profile in reader.get(path).json()["profiles"]]
        assert rest == [profile.pk for profile in [*people[4:], people[0]]]

    def test_by_name(self, reader, people):
        for query in ("email=P3@Example.com", "external_id=P3", "email=p3@example.com&external_id=P3"):
            assert self.pages(reader, query) == [[people[3].pk]]
        assert self.pages(reader, "email=p3@example.com&external_id=P4") == [[]]

    @pytest.mark.parametrize(
        "query",
        [
            "phone=%2B48601234567",
            "anonymous_id=visitor",
            "country=poland",
            "language=PL",
            'attributes={"plan":"gold"}',
            'attributes={"plan":"gold"}&country=PL&email=ann@example.com',
        ],
    )
    def test_the_filters_find_one_of_two(self, reader, people, query):
        [ann] = identity.resolve([identity.Reference(anonymous_id="visitor", email="ann@example.com")])
        Profile.objects.filter(pk=ann).update(
            phone="+48601234567", country="PL", language="pl", attributes={"plan": "gold", "n": 1}
        )
        assert self.pages(reader, query) == [[ann]]

    @pytest.mark.parametrize(
        "query", ["colour=red", "limit=1&limit=2", "attributes=[]", "attributes=x", "country=Nowhere"]
    )
    def test_what_it_can_not_be_filtered_by(self, reader, query):
        error = reader.get(f"profiles/?{query}").json()["error"]
        assert error["field"] == query.partition("=")[0]

    def test_a_page_takes_five_queries(self, reader, people, django_assert_num_queries):
        reader.get("profiles/")
        with django_assert_num_queries(5):  # the key, profiles, identifiers, consents, computed attributes
            reader.get("profiles/")

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=1001",
            "limit=x",
            "limit=²",
            "updated_since=yesterday",
            "updated_since=2026-01-01T00:00:00",
            "cursor=x",
            "cursor=bnVsbA",
            "cursor=WzEsIjIwMjYtMDEtMDFUMDA6MDA6MDAiXQ",
            "cursor=WzEsIjIwMjYtMDEtMDFUMDA6MDA6MDBaIl0",
            "cursor=%ff",
            "cursor=WyJ1cGRhdGVkX2F0LGlkIiwiMjAyNi0wMS0wMVQwMDowMDowMFoiLDFd",  # of the list by change
            "cursor=WyJpZCIsOTk5OTk5OTk5OTk5OTk5OTk5OTk5OV0",
            "cursor=WyJpZCIsIngiXQ",
            "email=%00",
        ],
    )
    def test_odd_parameters(self, reader, query):
        assert reader.get(f"profiles/?{query}").status_code == 400


class TestGet:
    def test_with_names_and_consents(self, reader, writer):
        number = writer.post("profiles/", ADA).json()["id"]
        at = datetime(2026, 1, 1, tzinfo=UTC)
        consent.record(
            [consent.Change(number, consent.CHANNEL, "webpush", consent.SUBSCRIBED, "test", at, "May we?")]
        )
        body = reader.get(f"profiles/{number}/").json()
        assert body["consents"] == [
            {"kind": "channel", "key": "webpush", "state": "subscribed", "changed_at": "2026-01-01T00:00:00Z"}
        ]
        assert {row["kind"] for row in body["identifiers"]} == {"email", "external_id"}

    @pytest.mark.parametrize("number", ["1", "9" * 18, "9" * 30])
    def test_nobody(self, reader, number):
        response = reader.get(f"profiles/{number}/")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")

    def test_merged_into_somebody(self, reader):
        [visitor, person] = identity.resolve(
            [identity.Reference(anonymous_id="a"), identity.Reference(email="ada@example.com")]
        )
        identity.resolve([identity.Reference(anonymous_id="a", email="ada@example.com")])
        response = reader.get(f"profiles/{visitor}/")
        assert response.status_code == 404
        assert response.json()["error"]["merged_into"] == person
        json.dumps(response.json())
