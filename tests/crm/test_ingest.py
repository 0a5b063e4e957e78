"""Taking events in: every answer to a row, storing each once, and how many statements it takes."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import identity, ingest, signals
from crm.models import ApiKey, Event, Identifier, Profile

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ANN = {"email": "ann@example.com"}


def event(**fields):
    return {"name": "looked", "profile": ANN} | fields


def take(*events, **options):
    return ingest.ingest(json.dumps({"events": events}).encode(), "test", NOW, **options)


def raw(*rows: bytes):
    return ingest.ingest(b'{"events": [' + b",".join(rows) + b"]}", "test", NOW)


@pytest.mark.django_db
class TestRows:
    def test_what_is_stored(self):
        number = uuid.uuid4()
        result = take(
            event(id=str(number), occurred_at="2026-10-31T10:00:00+02:00", properties={"a": [1, {"b": None}]})
        )
        assert (result.accepted, result.duplicates, result.rejected) == (1, 0, [])
        stored = Event.objects.get()
        assert (stored.pk, stored.name, stored.source) == (number, "looked", "test")
        assert stored.occurred_at == datetime(2026, 10, 31, 8, tzinfo=UTC)
        assert stored.properties == {"a": [1, {"b": None}]}
        assert stored.profile == Profile.objects.get(email="ann@example.com")

    @pytest.mark.parametrize("at", [None, "2026-11-01T12:05:01Z", "9999-12-31T23:59:59Z"])
    def test_without_a_usable_time_it_happened_now(self, at):
        assert take(event(occurred_at=at)).accepted == 1
        assert Event.objects.get().occurred_at == NOW

    def test_a_clock_may_be_a_little_ahead(self):
        take(event(occurred_at="2026-11-01T12:04:59Z"))
        assert Event.objects.get().occurred_at == NOW + timedelta(minutes=4, seconds=59)

    @pytest.mark.parametrize(
        ("bad", "code", "field"),
        [
            (7, "invalid_value", ""),
            ({"profile": ANN}, "missing_field", "name"),
            ({"name": "looked"}, "missing_field", "profile"),
            (event(profile={}), "missing_field", "profile"),
            (event(profile={"email": ""}), "missing_field", "profile"),
            (event(profile={"external_id": " "}), "missing_field", "profile"),
            (event(profile="ann"), "invalid_value", "profile"),
            (event(profile={"email": "nonsense"}), "invalid_email", "profile.email"),
            (event(profile={"email": 5}), "invalid_value", "profile.email"),
            (event(profile={"external_id": "x" * 513}), "too_long", "profile.external_id"),
            (event(profile={"anonymous_id": "\x00"}), "nul_character", "profile.anonymous_id"),
            (event(profile={"id": 10**15}), "unknown_profile", "profile.id"),
            (event(profile={"id": 10**30}), "unknown_profile", "profile.id"),
            (event(profile={"id": -1}), "unknown_profile", "profile.id"),
            (event(profile={"phone": "+48601234567"}), "invalid_value", "profile.phone"),
            (event(name=""), "invalid_name", "name"),
            (event(name=" "), "invalid_name", "name"),
            (event(name="x" * 101), "invalid_name", "name"),
            (event(name="a\x00b"), "invalid_name", "name"),
            (event(name="message_sent"), "reserved_name", "name"),
            (event(id="7"), "invalid_value", "id"),
            (event(occurred_at="yesterday"), "invalid_time", "occurred_at"),
            (event(occurred_at=1700000000), "invalid_time", "occurred_at"),
            (event(occurred_at="2026-10-31T10:00:00"), "invalid_time", "occurred_at"),
            (event(occurred_at="2026-12-31T10:00:00"), "invalid_time", "occurred_at"),
            (event(occurred_at="2016-01-01T00:00:00Z"), "too_old", "occurred_at"),
            (event(occurred_at="0001-01-01T00:00:00+14:00"), "too_old", "occurred_at"),
            (event(properties=[]), "invalid_properties", "properties"),
            (event(properties=None), "invalid_properties", "properties"),
            (event(properties={"a": "x" * 20_000}), "too_large", "properties"),
            (event(properties={"a": [[[[[[[[1]]]]]]]]}), "too_deep", "properties"),
            (event(properties={"a\x00": 1}), "invalid_text", "properties"),
            (event(properties={"a": "\x00"}), "invalid_text", "properties"),
            (event(properties={"a": "\ud800"}), "invalid_text", ""),
        ],
    )
    def test_a_bad_row_is_named_and_spares_its_neighbours(self, bad, code, field):
        result = take(event(name="before"), bad, event(name="after"))
        assert result.accepted == 2
        assert [(row.index, row.code, row.field) for row in result.rejected] == [(1, code, field)]
        assert result.rejected[0].detail
        assert set(Event.objects.values_list("name", flat=True)) == {"before", "after"}

    @pytest.mark.parametrize(
        ("bad", "code"),
        [
            (b'{"name": "\xff", "profile": {"email": "ann@example.com"}}', "invalid_text"),
            (rb'{"name": "\ud800", "profile": {"email": "ann@example.com"}}', "invalid_text"),
            (
                b'{"name": "a", "profile": {"email": "ann@example.com"}, "properties": {"b": "\xff"}}',
                "invalid_text",
            ),
            (
                b'{"name": "a", "profile": {"email": "ann@example.com"}, "properties": {"b": NaN}}',
                "invalid_text",
            ),
            (
                b'{"name": "a", "profile": {"email": "ann@example.com"}, "properties": {"b": 1e999999}}',
                "invalid_properties",
            ),
        ],
    )
    def test_bytes_that_are_no_text_and_numbers_beyond_all_bounds(self, bad, code):
        good = json.dumps(event()).encode()
        result = raw(good, bad, good)
        assert result.accepted == 2
        assert [(row.index, row.code) for row in result.rejected] == [(1, code)]

    def test_several_that_postgresql_refuses(self):
        rows = [json.dumps(event()).encode()] * 10
        for index in (2, 3, 9):
            rows[index] = rows[index][:-1] + b', "properties": {"b": 1e999999}}'
        result = raw(*rows)
        assert (result.accepted, [row.index for row in result.rejected]) == (7, [2, 3, 9])

    def test_browsers_may_not_name_profiles_by_number(self):
        [ann] = identity.resolve([identity.Reference(email="ann@example.com")])
        assert take(event(profile={"id": ann})).accepted == 1
        page = ApiKey(scopes=["browser"])
        result = take(event(profile={"id": ann}), event(profile={"id": ann + 1}), key=page)
        assert [(row.index, row.code) for row in result.rejected] == [(0, "not_allowed"), (1, "not_allowed")]

    def test_names_are_compared_as_profiles_keep_them(self):
        take(event(profile={"email": " Ann@Example.COM "}), event(profile={"external_id": " A-1 "}))
        assert set(Identifier.objects.values_list("value", flat=True)) == {"ann@example.com", "A-1"}

    @given(
        body=st.one_of(
            st.binary(max_size=200),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            ["events", "name", "profile", "id", "email", "occurred_at", "properties"]
                        ),
                        inner,
                    )
                ),
            ).map(lambda value: json.dumps({"events": [value]}).encode()),
        )
    )
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_nothing_that_is_sent_breaks_it(self, body):
        try:
            result = ingest.ingest(body, "test", NOW)
        except ingest.BadBatch:
            return
        assert result.accepted + result.duplicates + len(result.rejected) >= 1


@pytest.mark.django_db
class TestBatches:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"{}",
            b'{"events": {}}',
            b'{"events": {"a": 1}}',
            b'{"events": "abc"}',
            b'{"events": null}',
            b'{"events": []}',
            b'{"events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
            b'{"events": [' + b",".join([b"{}"] * 1001) + b"]}",
        ],
    )
    def test_what_is_no_batch(self, body):
        with pytest.raises(ingest.BadBatch):
            ingest.ingest(body, "test", NOW)

    def test_the_number_of_queries_does_not_grow(self):
        def queries(count, name):
            rows = [
                event(
                    profile={"email": f"{name}{n}@example.com", "anonymous_id": f"{name}{n}"},
                    id=str(uuid.uuid4()),
                    occurred_at=(NOW - timedelta(minutes=1)).isoformat(),
                )
                for n in range(count)
            ]
            with CaptureQueriesContext(connection) as captured:
                assert take(*rows).accepted == count
            for row in rows:
                row["id"] = str(uuid.uuid4())
            with CaptureQueriesContext(connection) as again:
                assert take(*rows).accepted == count
            return len(captured), len(again)

        queries(1, "warm")
        first, again = queries(1, "a")
        assert queries(1000, "b") == (first, again)
        assert first <= 27
        assert again <= 8  # half of them ask for the partition, which this test has not committed

    def test_upper_layers_hear_the_names_after_commit(self, django_capture_on_commit_callbacks):
        heard = []
        signals.events_recorded.connect(receiver := lambda names, **kwargs: heard.append(names), weak=False)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                take(event(name="a"), event(name="b"))
                assert heard == []
            assert heard == [{"a", "b"}]
        finally:
            signals.events_recorded.disconnect(receiver)


@pytest.mark.django_db
class TestOnce:
    @pytest.mark.parametrize("at", ["2026-10-31T10:00:00Z", None, "2026-12-31T10:00:00Z"])
    def test_the_same_id_again(self, at):
        sent = event(id=str(uuid.uuid4()), occurred_at=at)
        assert (take(sent).accepted, take(sent).duplicates) == (1, 1)
        later = ingest.ingest(json.dumps({"events": [sent]}).encode(), "test", NOW + timedelta(hours=1))
        assert (later.accepted, later.duplicates) == (0, 1)
        assert Event.objects.count() == 1

    def test_twice_in_one_request(self):
        sent = event(id=str(uuid.uuid4()), occurred_at="2026-10-31T10:00:00Z")
        result = take(sent, sent, event())
        assert (result.accepted, result.duplicates) == (2, 1)

    def test_without_an_id_each_is_one(self):
        assert take(event(), event()).accepted == 2

    def test_a_duplicate_does_not_hide_a_new_one(self):
        first, second = (event(id=str(uuid.uuid4()), occurred_at="2026-10-31T10:00:00Z") for _ in range(2))
        take(first)
        result = take(first, second)
        assert (result.accepted, result.duplicates) == (1, 1)


@pytest.mark.django_db
class TestTraits:
    def identified(self, **traits):
        take(event(name="identified", properties={"traits": traits}))
        return Profile.objects.get(email="ann@example.com")

    def test_they_fill_gaps_in_normal_form(self):
        ann = self.identified(
            first_name=" Ann ", country="Poland", language="pl-pl", timezone="europe/warsaw", age=5
        )
        assert (ann.first_name, ann.country, ann.language, ann.timezone) == (
            "Ann",
            "PL",
            "pl-PL",
            "Europe/Warsaw",
        )

    def test_they_never_overwrite(self):
        self.identified(first_name="Ann")
        ann = self.identified(first_name="Eve", last_name="Ash")
        assert (ann.first_name, ann.last_name) == ("Ann", "Ash")

    @pytest.mark.parametrize(
        "traits", [{"country": "Nowhere"}, {"first_name": 5}, {"timezone": "Mars"}, {"city": ""}]
    )
    def test_odd_ones_are_left_out(self, traits):
        ann = self.identified(**traits, last_name="Ash")
        assert (ann.country, ann.first_name, ann.timezone, ann.city, ann.last_name) == (
            None,
            None,
            None,
            None,
            "Ash",
        )

    def test_several_in_one_request(self):
        take(
            event(name="identified", properties={"traits": {"first_name": "Ann"}}),
            event(name="identified", properties={"traits": {"city": "Oslo"}}),
            event(name="identified", properties={"traits": []}),
            event(name="identified"),
        )
        ann = Profile.objects.get(email="ann@example.com")
        assert (ann.first_name, ann.city) == ("Ann", "Oslo")

    def test_last_seen_moves_at_most_every_few_minutes(self):
        take(event())
        ingest.ingest(json.dumps({"events": [event()]}).encode(), "test", NOW + timedelta(minutes=4))
        assert Profile.objects.get().last_seen == NOW
        ingest.ingest(json.dumps({"events": [event()]}).encode(), "test", NOW + timedelta(minutes=6))
        assert Profile.objects.get().last_seen == NOW + timedelta(minutes=6)
        assert Profile.objects.get().first_seen == NOW


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_the_same_requests_from_many_threads_store_each_event_once(self):
        dated = [
            event(
                id=str(uuid.uuid4()),
                occurred_at="2026-10-31T10:00:00Z",
                profile={"anonymous_id": f"v{n % 7}"},
            )
            for n in range(50)
        ]
        undated = [event(id=str(uuid.uuid4()), profile={"email": f"p{n % 5}@example.com"}) for n in range(50)]
        results, errors = [], []
        ready = threading.Barrier(6)

        def send(rows):
            try:
                ready.wait()
                results.append(take(*rows))
            except Exception as error:
                errors.append(error)
            finally:
                connections.close_all()

        threads = [
            threading.Thread(target=send, args=(rows,))
            for rows in (dated + undated, undated + dated, dated[::-1], undated[::-1], dated, undated)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        assert sum(result.accepted for result in results) == Event.objects.count() == 100
        assert Profile.objects.count() == 12
