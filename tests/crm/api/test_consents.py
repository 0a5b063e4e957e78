"""Answers, topics and suppressed addresses over REST."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import api_keys, consent, identity, proof
from crm.models import ChannelTerms, Consent, ConsentChange, Event, Identifier, Suppression, Topic
from tests.crm.api.conftest import Caller

ADA = {"email": "ada@example.com"}
EMAIL = {"kind": "channel", "key": "email", "state": "subscribed"}
NEWS = {"kind": "topic", "key": "news", "state": "subscribed"}


def owner(name, kind="email"):
    return Identifier.objects.get(kind=kind, value=name).profile_id


@pytest.fixture
def news(db):
    return Topic.objects.create(slug="news", name="News", legal_basis="legitimate_interest")


class TestAnswers:
    def test_rows_about_several_people_are_taken_with_their_proof(self, server, news):
        before = datetime(2026, 2, 3, tzinfo=UTC)
        answer = server.post(
            "consents/",
            {
                "profile": {"email": "Ada@Example.com"},
                "consents": [
                    EMAIL | {"wording": "May we?", "page": "https://x.example/a?mail=ada", "language": "pl"},
                    NEWS | {"profile": {"external_id": "c-2"}, "changed_at": "2026-02-03T01:00:00+01:00"},
                    NEWS | {"changed_at": "2999-01-01T00:00:00Z"},
                ],
            },
        )
        assert (answer.status_code, answer.json()) == (200, {"accepted": 3, "pending": 0, "rejected": []})
        assert consent.subscribed([owner("ada@example.com")], "email", "news") == {owner("ada@example.com")}
        entry = ConsentChange.objects.get(kind="channel")
        assert entry.proof.items() >= {"page": "https://x.example/a", "language": "pl"}.items()
        other = ConsentChange.objects.get(profile_id=owner("c-2", "external_id"))
        assert (other.changed_at, other.legal_basis, other.source) == (
            before,
            "legitimate_interest",
            "api",
        )
        assert all(entry.changed_at <= timezone.now() for entry in ConsentChange.objects.all())

    def test_a_bad_row_beside_good_ones_is_named(self, server, news):
        rows = [
            EMAIL,
            NEWS | {"key": "weather"},
            EMAIL | {"key": "E mail"},
            EMAIL | {"state": "pending"},
            EMAIL | {"changed_at": "2026-01-01T00:00:00"},
            EMAIL | {"wording": "\x00"},
            EMAIL | {"legal_basis": "whim"},
            EMAIL | {"profile": {"id": 999_999_999}},
            EMAIL | {"profile": {"email": "nobody"}},
            EMAIL | {"page": "https://[x"},
            {"kind": "channel"},
            7,
        ]
        answer = server.post("consents/", {"profile": ADA, "consents": rows}).json()
        assert (answer["accepted"], [row["index"] for row in answer["rejected"]]) == (1, list(range(1, 12)))
        assert [(row["code"], row["field"]) for row in answer["rejected"][:3]] == [
            ("unknown_topic", "key"),
            ("invalid_value", "key"),
            ("invalid_value", "state"),
        ]

    def test_a_yes_waits_unless_the_server_has_confirmed_it(self, server, news):
        ChannelTerms.objects.create(channel="email", double_opt_in=True)
        body = {"profile": ADA, "consents": [EMAIL]}
        assert server.post("consents/", body).json()["pending"] == 1
        assert Event.objects.filter(name="consent_requested").count() == 1
        body["consents"] = [EMAIL | {"confirmed": True}]
        assert server.post("consents/", body).json() == {"accepted": 1, "pending": 0, "rejected": []}
        assert Consent.objects.get().state == "subscribed"

    def test_the_number_of_queries_does_not_grow(self, server, news, django_assert_max_num_queries):
        server.post("consents/", {"profile": ADA, "consents": [EMAIL]})
        rows = [NEWS | {"profile": {"email": f"p{n}@example.com"}} for n in range(200)]
        with django_assert_max_num_queries(50):
            assert server.post("consents/", {"consents": rows}).json()["accepted"] == 200

    def test_too_many_or_none_are_refused(self, server, browser, news):
        for caller, count in ((server, 0), (server, 1001), (browser, 51)):
            answer = caller.post("consents/", {"profile": {"anonymous_id": "v"}, "consents": [EMAIL] * count})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_batch")


class TestBrowsers:
    def test_a_visitor_answers_for_themselves_alone(self, browser, news):
        identity.resolve([identity.Reference(email="ada@example.com")], proven=())
        sent = {"profile": ADA | {"anonymous_id": "v-1"}, "consents": [EMAIL | {"confirmed": True}]}
        assert browser.post("consents/", sent).json()["accepted"] == 1
        assert not Consent.objects.filter(profile_id=owner("ada@example.com")).exists()
        assert Consent.objects.get().profile_id == owner("v-1", "anonymous_id")
        alone = browser.post("consents/", {"profile": ADA, "consents": [EMAIL]}).json()
        assert alone["rejected"][0]["code"] == "proof_required"
        by_number = browser.post("consents/", {"profile": {"id": 1}, "consents": [EMAIL]}).json()
        assert by_number["rejected"][0]["code"] == "not_allowed"

    def test_a_browser_never_vouches_for_a_confirmation(self, browser, news):
        ChannelTerms.objects.create(channel="email", double_opt_in=True)
        sent = {"profile": {"anonymous_id": "v"}, "consents": [EMAIL | {"confirmed": True}]}
        assert browser.post("consents/", sent).json()["pending"] == 1

    def test_a_proven_name_is_believed(self, news):
        key, secret = api_keys.create("shop", ["browser"], ["https://shop.example.com"])
        key.identity_secret = {"secret": "s3cret"}
        key.save()
        signed = proof.sign("s3cret", "email", "ada@example.com")
        sent = {"profile": ADA | {"proof": signed}, "consents": [EMAIL]}
        assert Caller(secret).post("consents/", sent).json()["accepted"] == 1
        assert Consent.objects.get().profile_id == owner("ada@example.com")

    def test_nothing_is_read_back(self, browser, writer, news):
        for caller in (browser, writer):
            assert caller.get("profiles/1/consents/").status_code == 403
        assert browser.post("topics/", {}).status_code == browser.get("suppressions/").status_code == 403


def test_the_history_of_one_person(server, news):
    for minutes, state in enumerate(["subscribed", "unsubscribed", "subscribed"]):
        at = (timezone.now() - timedelta(minutes=9 - minutes)).isoformat()
        server.post("consents/", {"profile": ADA, "consents": [EMAIL | {"state": state, "changed_at": at}]})
    server.post("consents/", {"profile": ADA, "consents": [NEWS]})
    path = f"profiles/{owner('ada@example.com')}/consents/"
    first = server.get(f"{path}?key=email&limit=2").json()
    second = server.get(f"{path}?key=email&limit=2&cursor={first['next_cursor']}").json()
    states = [row["state"] for row in first["consents"] + second["consents"]]
    assert states == ["subscribed", "unsubscribed", "subscribed"]
    assert len(server.get(path).json()["consents"]) == 4
    assert server.get("profiles/123456789/consents/").status_code == 404


class TestTopics:
    def test_made_read_changed_deleted(self, server, db):
        made = server.post(
            "topics/", {"slug": "deals", "name": "Deals", "translations": {"AR": {"name": "عروض"}}}
        )
        assert made.status_code == 201
        assert made.json()["translations"] == {"ar": {"name": "عروض"}}
        changed = server.send("PATCH", "topics/deals/", {"needs_yes": True})
        assert changed.json() == made.json() | {"needs_yes": True}
        assert [topic["slug"] for topic in server.get("topics/").json()["topics"]] == ["deals"]
        assert server.send("DELETE", "topics/deals/").status_code == 204
        assert server.get("topics/deals/").status_code == 404

    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            ({"slug": "news", "name": "Again"}, 409, "slug"),
            ({"slug": "a b", "name": "A"}, 400, "slug"),
            ({"slug": "a"}, 400, "name"),
            ({"slug": "a", "name": "A", "shown": 1}, 400, "shown"),
            ({"slug": "a", "name": "A", "colour": "red"}, 400, "colour"),
            ({"slug": "a", "name": "A", "translations": {"??": {}}}, 400, "translations.??"),
            ({"slug": "a", "name": "A", "position": 10**30}, 400, "position"),
        ],
    )
    def test_what_can_not_be_taken_is_named(self, server, news, body, status, field):
        answer = server.post("topics/", body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)


class TestSuppressions:
    def test_added_found_and_removed_in_any_spelling(self, server, db):
        rows = [
            {"channel": "email", "address": "Ada@Example.com", "reason": "complaint"},
            {"channel": "email", "address": "ada@example.com"},
            {"channel": "sms", "address": "+48 601 234 567"},
            {"address": "bo@example.com"},
            {"channel": "sms", "address": "12"},
            {"channel": "email", "address": ""},
        ]
        answer = server.post("suppressions/", {"suppressions": rows}).json()
        assert (answer["added"], answer["known"]) == (3, 1)
        assert [row["index"] for row in answer["rejected"]] == [4, 5]
        listed = {
            (row["channel"], row["address"]) for row in server.get("suppressions/").json()["suppressions"]
        }
        assert listed == {("email", "ada@example.com"), ("sms", "+48601234567"), ("all", "bo@example.com")}
        [found] = server.get("suppressions/?address=ADA@example.com").json()["suppressions"]
        assert (found["reason"], found["source"]) == ("complaint", "api")
        gone = server.send("DELETE", "suppressions/", {"suppressions": rows[:1]})
        assert (gone.status_code, Suppression.objects.count()) == (204, 2)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
names = [
    "kind",
    "key",
    "state",
    "changed_at",
    "wording",
    "legal_basis",
    "page",
    "language",
    "profile",
    "slug",
]
names += ["name", "translations", "position", "address", "channel", "reason"]
rows = st.dictionaries(st.sampled_from(names), anything | st.sampled_from(["topic", "news"]), max_size=6)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=rows)
def test_nothing_that_is_sent_is_our_fault(server, news, row):
    calls = [
        ("POST", "consents/", {"profile": ADA, "consents": [EMAIL | row, row]}),
        ("POST", "topics/", {"slug": "x", "name": "X"} | row),
        ("PATCH", "topics/news/", row),
        ("POST", "suppressions/", {"suppressions": [row, {"address": "a@example.com"} | row]}),
        ("DELETE", "suppressions/", {"suppressions": [row]}),
    ]
    for method, path, body in calls:
        answer = server.send(method, path, json.dumps(body))
        assert answer.status_code < 500, (method, path, body)
