"""Bulk upsert of profiles: matching, identifiers, patches, outcomes, and how many statements it takes."""

import threading
from datetime import UTC, date, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from crm.models import Identifier, Profile
from crm.profiles import ProfilePatch, Rejection, Row, row, upsert, validate

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CRM = "hub:contacts"


def one(kind, value, **fields):
    attributes = fields.pop("attributes", {})
    (outcome,) = upsert(
        [Row(kind, value, ProfilePatch(attributes=attributes, **fields))], "test", NOW
    ).outcomes
    return outcome


def names(profile_id):
    return set(Identifier.objects.filter(profile=profile_id).values_list("kind", "value"))


@pytest.mark.django_db
class TestMatching:
    def test_a_new_record_becomes_a_profile_with_its_names(self):
        outcome = one(
            CRM, "1", email="ann@example.com", external_id="A-1", phone="+48600100200", first_name="Ann"
        )
        profile = Profile.objects.get(pk=outcome.profile_id)
        assert outcome.state == "created"
        assert (profile.email, profile.first_name, profile.attributes) == ("ann@example.com", "Ann", {})
        assert names(profile.pk) == {
            (CRM, "1"),
            ("email", "ann@example.com"),
            ("external_id", "A-1"),
            ("phone", "+48600100200"),
        }

    def test_the_records_own_id_counts_more_than_its_email(self):
        first = one(CRM, "1", email="ann@example.com")
        assert one(CRM, "1", email="ann.new@example.com").profile_id == first.profile_id
        assert names(first.profile_id) == {(CRM, "1"), ("email", "ann.new@example.com")}

    def test_a_visitor_known_by_email_is_found_by_the_crm(self):
        visitor = one("email", "ann@example.com")
        outcome = one(CRM, "1", email="ann@example.com", first_name="Ann")
        assert (outcome.state, outcome.profile_id) == ("updated", visitor.profile_id)
        assert (CRM, "1") in names(visitor.profile_id)

    def test_a_customer_number_is_found_before_an_email(self):
        customer = one("external_id", "A-1")
        assert one(CRM, "1", external_id="A-1", email="ann@example.com").profile_id == customer.profile_id

    def test_a_second_record_with_the_same_email_is_rejected_and_names_the_first(self):
        one(CRM, "1", email="ann@example.com")
        outcome = one(CRM, "2", email="ann@example.com")
        assert (outcome.state, outcome.code, outcome.field) == ("rejected", "duplicate_email", "email")
        assert "1" in outcome.detail
        assert Profile.objects.count() == 1

    def test_records_of_two_crms_with_one_email_are_one_person(self):
        assert (
            one(CRM, "1", email="ann@example.com").profile_id
            == one("sf:Contact", "x", email="ann@example.com").profile_id
        )

    def test_an_email_of_somebody_else_is_rejected(self):
        ann = one(CRM, "1", email="ann@example.com")
        one(CRM, "2", email="bob@example.com")
        outcome = one(CRM, "2", email="ann@example.com")
        assert (outcome.code, outcome.field) == ("email_taken", "email")
        assert str(ann.profile_id) in outcome.detail
        assert Profile.objects.get(identifiers__value="2").email == "bob@example.com"

    def test_two_customer_numbers_are_two_customers_even_with_one_email(self):
        one("external_id", "A-1", email="ann@example.com")
        assert one("external_id", "A-2", email="ann@example.com").code == "email_taken"
        assert one(CRM, "9", external_id="A-2", email="ann@example.com").code == "email_taken"

    def test_a_phone_may_be_shared(self):
        ann = one(CRM, "1", phone="+48600100200")
        bob = one(CRM, "2", phone="+48600100200")
        assert bob.state == "created"
        assert Identifier.objects.get(kind="phone").profile_id == ann.profile_id
        assert Profile.objects.get(pk=bob.profile_id).phone == "+48600100200"

    def test_a_released_email_can_be_taken_in_the_same_batch(self):
        one(CRM, "1", email="a@example.com")
        one(CRM, "2", email="b@example.com")
        rows = [
            Row(CRM, "1", ProfilePatch(email=None)),
            Row(CRM, "2", ProfilePatch(email="a@example.com")),
            Row(CRM, "1", ProfilePatch(email="b@example.com")),
        ]
        assert [outcome.state for outcome in upsert(rows, "test", NOW).outcomes] == ["updated"] * 3
        assert Profile.objects.get(identifiers__value="1", identifiers__kind=CRM).email == "b@example.com"

    def test_a_profiles_own_number_must_exist(self):
        ann = one("email", "ann@example.com")
        assert one("id", str(ann.profile_id), first_name="Ann").state == "updated"
        for number in ("999999999", "x", "9" * 30):
            assert one("id", number, first_name="Ann").code == "unknown_profile"


@pytest.mark.django_db
class TestPatches:
    def test_only_what_is_set_changes(self):
        one(CRM, "1", first_name="Ann", city="Kraków", attributes={"plan": "free", "points": 3, "old": True})
        outcome = one(CRM, "1", city=None, attributes={"plan": "vip", "old": None})
        profile = Profile.objects.get(pk=outcome.profile_id)
        assert (profile.first_name, profile.city) == ("Ann", None)
        assert profile.attributes == {"plan": "vip", "points": 3}

    def test_a_row_that_changes_nothing_writes_nothing(self):
        fields = {
            "email": "ann@example.com",
            "birthday": date(1990, 5, 1),
            "latitude": 50.06,
            "attributes": {"n": 1.5},
        }
        outcome = one(CRM, "1", **fields)
        before = Profile.objects.get(pk=outcome.profile_id).updated_at
        with CaptureQueriesContext(
            connection,
        ) as queries:
            again = upsert([Row(CRM, "1", ProfilePatch(**fields))], "test").outcomes[0]
        assert again.state == "unchanged"
        assert not [q for q in queries if q["sql"].lstrip().startswith(("UPDATE", "INSERT", "DELETE"))]
        assert Profile.objects.get(pk=outcome.profile_id).updated_at == before

    @pytest.mark.parametrize(
        ("old", "new", "state"), [(1, 1.0, "unchanged"), (1, True, "updated"), ("1", 1, "updated")]
    )
    def test_values_are_compared_as_jsonb_does(self, old, new, state):
        one(CRM, "1", attributes={"a": old})
        assert one(CRM, "1", attributes={"a": new}).state == state

    def test_numbers_are_not_burnt_by_known_people(self):
        first = one(CRM, "1")
        for _ in range(5):
            one(CRM, "1", city="Łódź")
        assert one(CRM, "2").profile_id == first.profile_id + 1

    def test_text_survives_exactly(self):
        text = 'tab\there, back\\slash, "quotes", newline\n, emoji 🌸, عربي'
        outcome = one(CRM, "1", first_name=text, attributes={text: text})
        profile = Profile.objects.get(pk=outcome.profile_id)
        assert (profile.first_name, profile.attributes) == (text, {text: text})


@pytest.mark.django_db
@pytest.mark.parametrize("known", [False, True])
def test_the_number_of_statements_does_not_depend_on_the_size(known, django_assert_num_queries):
    def rows(prefix, size, city):
        return [
            Row(CRM, f"{prefix}{n}", ProfilePatch(email=f"{prefix}{n}@example.com", city=city))
            for n in range(size)
        ]

    counts = []
    for prefix, size in (("a", 10), ("b", 1000)):
        if known:
            upsert(rows(prefix, size, "Rome"), "test", NOW)
        with CaptureQueriesContext(connection) as queries:
            result = upsert(rows(prefix, size, "Oslo"), "test", NOW)
        assert result.count("updated" if known else "created") == size
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 8


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_the_same_new_people_make_each_once():
    rows = [Row(CRM, str(n), ProfilePatch(email=f"p{n}@example.com")) for n in range(200)]
    start = threading.Barrier(2)
    results = []

    def work(batch):
        start.wait()
        try:
            results.append(upsert(batch, "test", NOW))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(batch,)) for batch in (rows, rows[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Profile.objects.count() == 200
    assert sum(result.count("created") for result in results) == 200
    assert sum(result.count("unchanged") for result in results) == 200


# --- Against an obvious model ------------------------------------------------------------------------------


class Model:
    """People as plain dicts, one row after the other, every lookup a search through all of them."""

    def __init__(self):
        self.people = []

    def who(self, kind, value):
        return next((person for person in self.people if (kind, value) in person["names"]), None)

    def apply(self, kind, value, fields, attributes):
        fields = {**fields, kind: value} if kind in ("external_id", "email") else dict(fields)
        person = self.who(kind, value)
        for name in ("external_id", "email"):
            if person is None and name != kind and fields.get(name):
                person = self.who(name, fields[name])
                if person and any(k == kind and v != value for k, v in person["names"]):
                    return "rejected"
                number = fields.get("external_id")
                if person and number and person["fields"].get("external_id") not in (None, number):
                    return "rejected"
        for name in ("external_id", "email"):
            if fields.get(name) and self.who(name, fields[name]) not in (None, person):
                return "rejected"
        state = "updated"
        if person is None:
            person = {"names": set(), "fields": {}, "attributes": {}}
            self.people.append(person)
            state = "created"
        before = (set(person["names"]), dict(person["fields"]), dict(person["attributes"]))
        if kind == CRM:
            person["names"].add((kind, value))
        for name, new in fields.items():
            old = person["fields"].get(name)
            if old == new:
                continue
            if name in ("external_id", "email"):
                person["names"].discard((name, old))
                if new:
                    person["names"].add((name, new))
            person["fields"][name] = new
        person["attributes"] |= attributes
        person["attributes"] = {key: new for key, new in person["attributes"].items() if new is not None}
        if state == "updated" and before == (person["names"], person["fields"], person["attributes"]):
            return "unchanged"
        return state


KEYS = st.one_of(
    st.tuples(st.just(CRM), st.sampled_from("1234")),
    st.tuples(st.just("external_id"), st.sampled_from("AB")),
    st.tuples(st.just("email"), st.sampled_from(["a@x.com", "b@x.com", "c@x.com"])),
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "external_id": st.sampled_from(["A", "B", None]),
        "email": st.sampled_from(["a@x.com", "b@x.com", "c@x.com", None]),
        "city": st.sampled_from(["Rome", "Oslo", None]),
    },
)
ATTRIBUTES = st.dictionaries(st.sampled_from("pq"), st.sampled_from([7, 2.5, "x", True, None]), max_size=2)
BATCHES = st.lists(st.lists(st.tuples(KEYS, CHANGES, ATTRIBUTES), min_size=1, max_size=6), max_size=4)


@pytest.mark.django_db
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES)
def test_batches_act_like_one_row_after_the_other(batches):
    Profile.objects.all().delete()
    model = Model()
    for batch in batches:
        rows = [
            Row(*key, ProfilePatch(**fields, attributes=dict(attributes)))
            for key, fields, attributes in batch
        ]
        expected = [model.apply(*key, fields, attributes) for key, fields, attributes in batch]
        assert [outcome.state for outcome in upsert(rows, "test", NOW).outcomes] == expected
    stored = [
        (names(p.pk), p.external_id, p.email, p.city, p.attributes) for p in Profile.objects.order_by("pk")
    ]
    assert stored == [
        (
            person["names"],
            *(person["fields"].get(name) for name in ("external_id", "email", "city")),
            person["attributes"],
        )
        for person in model.people
    ]


class TestValidate:
    def test_values_come_out_in_normal_form(self):
        patch = validate(
            {
                "email": " Ann@Example.COM ",
                "phone": "600 100 200",
                "country": "Poland",
                "language": "pt_br",
                "timezone": "Mars/Olympus",
                "birthday": "1990-05-01",
                "first_name": "  Ann ",
                "last_name": "",
                "attributes": {"plan": "vip", "gone": None},
            }
        )
        assert patch == ProfilePatch(
            email="ann@example.com",
            phone="+48600100200",
            country="PL",
            language="pt-BR",
            timezone="Europe/Warsaw",
            birthday=date(1990, 5, 1),
            first_name="Ann",
            last_name=None,
            attributes={"plan": "vip", "gone": None},
        )
        assert patch.city is UNSET

    @pytest.mark.parametrize(
        ("data", "code", "field"),
        [
            ({"email": "not-an-email"}, "invalid_email", "email"),
            ({"email": 7}, "invalid_type", "email"),
            ({"phone": "call me"}, "invalid_phone", "phone"),
            ({"country": "Narnia"}, "unknown_country", "country"),
            ({"language": "Klingonish!"}, "unknown_language", "language"),
            ({"birthday": "31/02/1990"}, "invalid_date", "birthday"),
            ({"birthday": "1990-02-31"}, "invalid_date", "birthday"),
            ({"birthday": "2999-01-01"}, "impossible_date", "birthday"),
            ({"latitude": 91}, "out_of_range", "latitude"),
            ({"longitude": float("nan")}, "out_of_range", "longitude"),
            ({"first_name": "A\x00nn"}, "nul_character", "first_name"),
            ({"first_name": "A\ud800nn"}, "invalid_unicode", "first_name"),
            ({"first_name": "x" * 1001}, "too_long", "first_name"),
            ({"attributes": {"company": "x" * 17_000}}, "too_long", "attributes.company"),
            ({"attributes": {"deep": [{"a": "\x00"}]}}, "nul_character", "attributes.deep"),
            ({"attributes": {"": 1}}, "invalid_name", "attributes"),
            ({"attributes": []}, "invalid_type", "attributes"),
            ({"surname": "Ann"}, "unknown_field", "surname"),
        ],
    )
    def test_what_cannot_be_taken_is_named(self, data, code, field):
        with pytest.raises(Rejection) as caught:
            validate(data)
        assert (caught.value.code, caught.value.field) == (code, field)
        assert caught.value.detail

    def test_the_key_of_a_row(self):
        assert row({"email": "A@x.com", "external_id": 7}).kind == "external_id"
        assert row({"email": "A@x.com"}) == Row("email", "a@x.com", ProfilePatch(email="a@x.com"))
        assert row({"id": 12, "city": "Rome"}).value == "12"
        with pytest.raises(Rejection) as caught:
            row({"city": "Rome"})
        assert caught.value.code == "missing_key"
