"""Turning CRM records into patches."""

from datetime import UTC, date, datetime

import pytest
from msgspec import UNSET

from crm import tasks
from crm.connectors.base import Record
from crm.normalise import Rejection
from crm.sync import schedule
from crm.sync.mapping import MappingError, fingerprints, parse, translate

AT = datetime(2026, 11, 1, tzinfo=UTC)
MAPPING = parse(
    {
        "fields": {
            **{
                name: name
                for name in ("email", "phone", "country", "timezone", "language", "birthday", "city")
            },
            "number": "external_id",
            "plan": "attributes.plan",
        },
        "consent": {
            "push": {"kind": "channel", "key": "webpush"},
            "no_mail": {"kind": "channel", "key": "email", "inverted": True},
            "news": {"kind": "topic", "key": "news"},
            "news_too": {"kind": "topic", "key": "news"},
        },
    }
)


def taken(known_empty=None, **fields):
    return translate(Record("1", AT, fields), MAPPING, known_empty)


class TestValues:
    def test_a_record_in_the_crms_own_words(self):
        patch = taken(
            email="Ann@X.com", phone="600 100 200", country="Poland", timezone="europe_slash_warsaw",
            language="pl", birthday="1990-05-01", number=17, plan="vip",
        ).patch  # fmt: skip
        assert (patch.email, patch.phone, patch.country) == ("ann@x.com", "+48600100200", "PL")
        assert (patch.timezone, patch.birthday, patch.external_id) == (
            "Europe/Warsaw",
            date(1990, 5, 1),
            "17",
        )
        assert patch.attributes == {"plan": "vip"}

    def test_what_people_type_freely_is_left_out_if_it_makes_no_sense(self):
        translation = taken(
            phone="ask Bob", country="Narnia", language="??", timezone="Mars/Olympus", city="Rome"
        )
        assert translation.patch.city == "Rome"
        assert {"phone", "country", "language", "timezone"} <= set(translation.empty)
        assert translation.patch.phone is UNSET

    def test_an_unknown_time_zone_becomes_the_countrys(self):
        assert taken(country="BR", timezone="Mars/Olympus").patch.timezone == "America/Sao_Paulo"

    def test_a_rejection_names_the_crms_field(self):
        with pytest.raises(Rejection) as caught:
            taken(number="x" * 600)
        assert (caught.value.code, caught.value.field) == ("too_long", "number")

    def test_only_what_the_record_once_filled_is_cleared(self):
        assert taken(None).patch.city is UNSET
        assert taken(["city"]).patch.city is UNSET
        patch = taken([]).patch
        assert patch.city is None
        assert patch.attributes == {"plan": None}


class TestConsent:
    @pytest.mark.parametrize(
        ("fields", "answers"),
        [
            ({}, {}),
            ({"push": True}, {"channel:webpush": True}),
            ({"push": False}, {"channel:webpush": False}),
            ({"push": "maybe"}, {}),
            ({"no_mail": True}, {"channel:email": False}),
            ({"no_mail": False}, {}),
            ({"news": True, "news_too": False}, {"topic:news": False}),
        ],
    )
    def test_answers(self, fields, answers):
        assert taken(**fields).consent == answers


class TestMapping:
    @pytest.mark.parametrize(
        "data",
        [
            {"fields": {"a": "surname"}},
            {"fields": {"a": "attributes."}},
            {"fields": {"a": "city", "b": "city"}},
            {"consent": {"a": {"kind": "mood", "key": "x"}}},
            {"fields": ["a"]},
        ],
    )
    def test_what_cannot_work_is_refused(self, data):
        with pytest.raises(MappingError):
            parse(data)

    def test_the_fingerprint_covers_values_and_mapping_and_takes_anything(self):
        other = parse({"fields": {"email": "external_id"}})
        one, two = Record("1", AT, {"email": "a@x"}), Record("1", AT, {"email": "b@x"})
        broken = Record("1", AT, {"email": "a\ud800"})
        large = Record("1", AT, {"email": 10**400})
        linked = Record("1", AT, {"email": "a@x"}, people=[("contacts", "7")])
        prints = {
            content
            for mapping in (MAPPING, other)
            for content in fingerprints([one, two, broken, large, linked], mapping)
        }
        assert len(prints) == 10
        later = Record("1", datetime.now(UTC), {"email": "a@x", "unmapped": 1})
        full = Record("1", AT, dict.fromkeys(MAPPING.names()) | {"email": "a@x"})
        assert len(set(fingerprints([one, later, full], MAPPING))) == 1


@pytest.mark.django_db
def test_each_due_connection_gets_a_task_of_its_own(monkeypatch):
    started = []
    monkeypatch.setattr(schedule, "due", lambda: [4, 7])
    monkeypatch.setattr(tasks.run_sync, "apply_async", lambda args, queue: started.append((args, queue)))
    tasks.sync_due()
    assert started == [([4], "sync"), ([7], "sync")]
