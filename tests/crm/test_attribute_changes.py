"""Changes of watched fields are events of the log, whoever writes them."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import attribute_changes, masking, privacy
from crm.models import ComputedAttribute, ComputedValue, Event, Profile

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 4, tzinfo=UTC)


def changes(profile=None):
    found = Event.objects.filter(name="attribute_changed").order_by("seq")
    found = found.filter(profile_id=profile.pk) if profile else found
    return [(each.properties["field"], each.properties["from"], each.properties["to"]) for each in found]


def person(**fields):
    return Profile.objects.create(**fields)


def test_what_is_watched_is_told_by_old_and_new_value_and_nothing_else_is():
    attribute_changes.watch(["city", "attributes.plan", "attributes.address.zip"])
    ann = person(city="Łódź", attributes={"plan": "free"})  # what is created has not changed
    Profile.objects.filter(pk=ann.pk).update(city="Kraków", first_name="Ann")
    Profile.objects.filter(pk=ann.pk).update(city="Kraków")
    Profile.objects.filter(pk=ann.pk).update(attributes={"plan": None, "address": {"zip": 30001}, "other": 1})
    assert sorted(changes(ann), key=str) == [
        ("attributes.address.zip", None, 30001),
        ("attributes.plan", "free", None),
        ("city", "Łódź", "Kraków"),
    ]


def test_many_rows_of_one_statement_are_told_by_one():
    attribute_changes.watch(["country"])
    people = Profile.objects.bulk_create([Profile(country="PL") for _number in range(50)])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Profile.objects.filter(pk__in=[each.pk for each in people]).update(country="DE")
    assert len(queries) == 1
    assert changes() == [("country", "PL", "DE")] * 50


def test_nothing_is_told_while_nobody_watches():
    attribute_changes.watch(["country"])
    attribute_changes.watch_only(lambda: ["city"])
    assert attribute_changes.watched() == {"city"}
    ann = person(country="PL")
    Profile.objects.filter(pk=ann.pk).update(country="DE")
    attribute_changes.watch_only(list)
    Profile.objects.filter(pk=ann.pk).update(city="Berlin")
    assert changes() == []


def test_contact_data_is_not_told():
    attribute_changes.watch(["email", "attributes.work_email"])
    ann = person(attributes={"work_email": "a@work.example"})
    Profile.objects.filter(pk=ann.pk).update(email="ann@example.com")
    Profile.objects.filter(pk=ann.pk).update(
        email="ann@example.org", attributes={"work_email": "b@work.example"}
    )
    assert changes(ann)[0] == ("email", None, "•••")
    told = Event.objects.get(name="attribute_changed", properties__field="attributes.work_email").properties
    assert "work" not in str(masking.data(told)["from"])
    assert "b@" not in str(masking.data(told)["to"])


def test_what_is_not_an_email_by_its_looks_is_outlined_by_the_name_of_its_field():
    told = {"field": "attributes.last_name", "from": "Byron", "to": "Lovelace"}
    assert masking.data(told) == {"field": "attributes.last_name", "from": "•••", "to": "•••"}
    assert masking.data({**told, "field": "attributes.plan"})["to"] == "Lovelace"


def test_a_rule_about_values_of_contact_data_asks_for_it():
    def rule(*where):
        conditions = [{"property": name, "op": "eq", "value": value} for name, value in where]
        return {"kind": "event", "name": "attribute_changed", "where": conditions}

    assert not masking.asks(rule(("field", "attributes.plan"), ("to", "pro")))
    assert not masking.asks(rule(("field", "attributes.last_name")))
    assert masking.asks(rule(("field", "attributes.last_name"), ("to", "Lovelace")))
    assert masking.asks(rule(("to", "Lovelace")))


def test_who_is_erased_leaves_no_value_behind():
    attribute_changes.watch(["city", "attributes.plan"])
    ann = person(city="Łódź", attributes={"plan": "free"})
    Profile.objects.filter(pk=ann.pk).update(city="Kraków")
    privacy.erase([ann.pk], "request", NOW)
    assert [each.properties for each in Event.objects.filter(name="attribute_changed")] == [{"field": "city"}]
    bob = person(city="Ełk")
    Profile.objects.filter(pk=bob.pk).update(city="Pisz")  # and others are told of again
    assert changes(bob) == [("city", "Ełk", "Pisz")]


class TestComputed:
    def attribute(self, state="live", served=True):
        return ComputedAttribute.objects.create(
            slug="orders",
            name="Orders",
            kind="count",
            config={"kind": "count", "event": "order"},
            state=state,
            served=served,
        )

    def test_changes_are_told_against_what_everybody_else_has(self):
        attribute = self.attribute()
        attribute_changes.watch(["computed.orders", "computed.none"])
        assert attribute_changes.watched() == {"computed.orders"}
        ann = person()
        row = ComputedValue.objects.create(profile=ann, attribute=attribute, number=1)
        ComputedValue.objects.filter(profile=ann).update(number=2)
        ComputedValue.objects.filter(profile=ann).update(number=2)
        row.delete()
        assert changes(ann) == [
            ("computed.orders", 0, 1),
            ("computed.orders", 1, 2),
            ("computed.orders", 2, 0),
        ]

    def test_a_definition_that_is_just_being_computed_for_everybody_changes_nobody(self):
        attribute = self.attribute("backfilling")
        attribute_changes.watch(["computed.orders"])
        ComputedValue.objects.create(profile=person(), attribute=attribute, number=1)
        assert changes() == []


def test_a_month_without_a_table_keeps_nobody_from_writing():
    attribute_changes.watch(["city"])
    ann = person(city="Łódź")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_char(now() AT TIME ZONE 'UTC', '\"crm_event_y\"YYYY\"m\"MM')")
        [table] = cursor.fetchone()
        cursor.execute(f"ALTER TABLE crm_event DETACH PARTITION {table}")
        Profile.objects.filter(pk=ann.pk).update(city="Kraków")
    ann.refresh_from_db()
    assert ann.city == "Kraków"
