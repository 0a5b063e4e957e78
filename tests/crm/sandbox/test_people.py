"""The seeded people: believable, the same for a seed, with a known share of bad values."""

import time
from collections import Counter
from datetime import date

import phonenumbers
import pytest

from crm.sandbox.hubspot_properties import KNOWN_ZONES, contacts
from crm.sandbox.hubspot_seed import contact_values
from crm.sandbox.people import HISTORY_END, people


@pytest.fixture(scope="module")
def crowd():
    return list(people(5000, seed=1))


def test_a_seed_gives_the_same_people_and_another_seed_gives_others(crowd):
    assert list(people(5000, seed=1)) == crowd
    assert list(people(5000, seed=2)) != crowd


def test_five_thousand_people_take_less_than_two_seconds():
    began = time.process_time()
    list(people(5000, seed=3))
    assert time.process_time() - began < 2


def test_they_come_from_many_countries_and_write_their_names_in_their_script(crowd):
    assert len({person.country_code for person in crowd}) >= 25
    names = {
        person.country_code: "".join(
            p.first_name + p.last_name for p in crowd if p.country_code == person.country_code
        )
        for person in crowd
    }
    assert any("\u0600" <= letter <= "\u06ff" for letter in names["SA"])
    assert any("\u4e00" <= letter <= "\u9fff" for letter in names["JP"])
    assert any(letter in "ąćęłńóśźż" for letter in names["PL"])


def test_addresses_are_unique_and_lead_nowhere(crowd):
    addresses = [person.email for person in crowd if "@" in person.email]
    assert len(set(addresses)) == len(addresses)
    assert {address.partition("@")[2] for address in addresses} == {
        "example.com",
        "example.org",
        "example.net",
    }
    assert all(address.isascii() and address == address.lower() for address in addresses)
    assert 0.03 < sum(not person.email for person in crowd) / len(crowd) < 0.05


def test_phone_numbers_belong_to_the_country(crowd):
    for person in crowd:
        if person.phone:
            number = phonenumbers.parse(person.phone)
            assert phonenumbers.is_valid_number(number), person.phone
            assert phonenumbers.region_code_for_number(number) == person.country_code, person.phone


def test_history_spans_three_years_and_has_a_bulk_edit_with_one_stamp(crowd):
    created = [person.created for person in crowd]
    assert created == sorted(created)
    assert (created[-1] - created[0]).days > 1000
    assert all(person.created <= person.modified <= HISTORY_END for person in crowd)
    stamps = Counter(person.modified for person in crowd)
    assert stamps.most_common(1)[0][1] > 50


def test_one_person_in_a_hundred_carries_a_bad_value(crowd):
    def bad(person):
        birthday_ok = True
        try:
            date.fromisoformat(person.birthday or "2000-01-01")
        except ValueError:
            birthday_ok = False
        return {
            "email": bool(person.email) and "@" not in person.email,
            "birthday": not birthday_ok,
            "timezone": person.timezone not in KNOWN_ZONES,
            "emoji": "🌸" in person.first_name,
            "nul": "\x00" in person.last_name,
            "huge": len(person.company) > 15_000,
        }

    found = Counter(name for person in crowd for name, is_bad in bad(person).items() if is_bad)
    assert sum(found.values()) == 50
    assert found["nul"] == found["huge"] == 1
    assert min(found.values()) >= 1
    assert set(found) == {"email", "birthday", "timezone", "emoji", "nul", "huge"}


def test_every_value_has_a_property_and_every_option_is_allowed(crowd):
    schema = contacts()
    for person in crowd:
        values = contact_values(person)
        assert set(values) <= set(schema.definitions)
        refused = {problem["name"] for problem in schema.problems(values)}
        assert refused <= {"email", "hs_email_optout"}, refused  # a bad address; read-only
