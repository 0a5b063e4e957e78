"""Numbers that PostgreSQL stores but Python's decoders refuse must not reach anybody who reads them later."""

import json
from datetime import UTC, datetime

import pytest

from crm import ingest, log, profiles
from crm.models import Event, Profile
from crm.patches import row
from tests.crm.concurrently import until_readable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
BEYOND_DOUBLE = ["1e400", "-1e400", "1" + "0" * 400, "1" + "0" * 5000, "1e5000", "1" + "0" * 400 + ".5"]


def send(properties: str, name: str = "looked"):
    body = (
        f'{{"events": [{{"name": "{name}", "profile": {{"email": "a@x.com"}}, "properties": {properties}}}]}}'
    )
    return ingest.ingest(body.encode(), "test", NOW)


@pytest.mark.django_db
class TestEvents:
    @pytest.mark.parametrize("number", BEYOND_DOUBLE)
    @pytest.mark.parametrize("shape", ['{"x": %s}', '{"x": [{"y": %s}]}', '{"\\u0061": %s}'])
    def test_a_number_nobody_can_compute_with_is_refused(self, number, shape):
        result = send(shape % number)
        assert [(row.code, row.field) for row in result.rejected] == [("invalid_properties", "properties")]
        assert not Event.objects.exists()

    @pytest.mark.parametrize("name", ["identified", "looked"])
    def test_whatever_the_event_is_called(self, name):
        assert [row.code for row in send(f'{{"traits": {{"a": {BEYOND_DOUBLE[3]}}}}}', name).rejected] == [
            "invalid_properties"
        ]

    @pytest.mark.parametrize("number", ["1e308", "-1.7e308", "9223372036854775808", "0.1e-300", "1" * 308])
    def test_what_a_double_holds_is_kept(self, number):
        assert send(f'{{"x": {number}}}').accepted == 1

    def test_digits_in_a_text_are_no_number(self):
        assert send(json.dumps({"x": "1" * 5000})).accepted == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", ["1e308", "1" * 308, "1e-300", *BEYOND_DOUBLE])
def test_readers_of_the_log_get_past_any_number_a_visitor_sends(number):
    send(f'{{"x": {number}}}')
    send('{"x": 1}')
    until_readable()
    with log.read("test") as batch:
        assert batch.events[-1].properties == {"x": 1}


@pytest.mark.django_db
class TestAttributes:
    @pytest.mark.parametrize("value", [10**400, -(10**400), [10**400], {"a": 10**309}])
    def test_a_number_nobody_can_compute_with_is_refused(self, value):
        with pytest.raises(profiles.Rejection) as refused:
            row({"email": "a@x.com", "attributes": {"size": value}})
        assert (refused.value.code, refused.value.field) == ("invalid_number", "attributes.size")

    def test_a_long_whole_number_is_kept_exactly(self):
        profiles.upsert([row({"email": "a@x.com", "attributes": {"size": 10**30}})], "test", NOW)
        assert Profile.objects.get().attributes == {"size": 10**30}

    def test_nesting_beyond_reason_is_refused(self):
        value: object = 1
        for _ in range(900):
            value = [value]
        with pytest.raises(profiles.Rejection) as refused:
            row({"email": "a@x.com", "attributes": {"deep": value}})
        assert refused.value.code == "too_deep"
