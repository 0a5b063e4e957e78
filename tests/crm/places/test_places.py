"""Coming into places: against a reference that walks through each person's locations one by one."""

import math
import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm import geography, identity, log, places
from crm.models import Event, LastLocation, PersonPlace, Place, Profile
from crm.normalise import Rejection
from tests.crm.concurrently import until_readable

START = datetime(2026, 9, 1, tzinfo=UTC)
METRE = 1 / 111_195  # degrees of latitude


def located(at, profile_id, latitude, longitude, **more):
    properties = {"latitude": latitude, "longitude": longitude, **more}
    return log.NewEvent(uuid.uuid4(), profile_id, "location", at, properties, "test")


def follow():
    until_readable()
    while places.read(limit=7)[1]:
        pass


def entered():
    found = Event.objects.filter(name="entered_place").order_by("occurred_at")
    return [(event.profile_id, event.properties["place"], event.occurred_at) for event in found]


def vector(latitude, longitude):
    one, two = math.radians(latitude), math.radians(longitude)
    return math.cos(one) * math.cos(two), math.cos(one) * math.sin(two), math.sin(one)


degrees = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


class TestDistance:
    @given(degrees, degrees)
    @settings(deadline=None, max_examples=100)
    def test_is_the_angle_between_two_directions(self, one, two):
        a, b = vector(*one), vector(*two)
        cross = (
            a[1] * b[2] - a[2] * b[1],
            a[2] * b[0] - a[0] * b[2],
            a[0] * b[1] - a[1] * b[0],
        )
        angle = math.atan2(math.hypot(*cross), sum(x * y for x, y in zip(a, b, strict=True)))
        assert geography.distance(*one, *two) == pytest.approx(geography.EARTH_RADIUS * angle, abs=0.5)

    @pytest.mark.django_db
    def test_the_database_finds_the_places_that_python_finds(self):
        chance = random.Random(5)
        spots = [(89.99, 10), (-89.99, 170), (0, 180), (10, -179.999), (52.2, 21), (52.201, 21.001), (0, 0)]
        for number, (latitude, longitude) in enumerate(spots):
            Place.objects.create(
                slug=f"p{number}",
                name="P",
                latitude=latitude,
                longitude=longitude,
                radius=chance.choice((50, 300, 5000, 80_000)),
            )
        points = [
            places._Point(
                located(START, 1, 0, 0),
                1,
                max(-90, min(90, latitude + chance.gauss(0, 0.3))),
                (longitude + chance.gauss(0, 30 if abs(latitude) > 80 else 0.3) + 180) % 360 - 180,
                0,
            )
            for latitude, longitude in spots * 40
        ]
        places._measure(points)
        stored, hits = list(Place.objects.all()), 0
        for point in points:
            expected = {
                place.pk: metres
                for place in stored
                if (
                    metres := geography.distance(
                        point.latitude, point.longitude, place.latitude, place.longitude
                    )
                )
                <= place.radius
            }
            assert point.near.keys() == expected.keys()
            assert all(point.near[pk] == pytest.approx(expected[pk], abs=0.01) for pk in expected)
            hits += len(expected)
        assert hits > 50


def walk(tellings, radius, cooldown):
    """The reference: times at which somebody enters, of tellings (moment, metres, accuracy) as they arrive."""
    newest, inside, last, found = None, False, None, []
    for at, metres, accuracy in tellings:
        if newest is not None and at <= newest:
            continue
        newest = at
        if metres <= radius:
            if not inside and accuracy <= radius:
                inside = True
                if last is None or at - last >= cooldown:
                    last = at
                    found.append(at)
        elif inside and metres - accuracy > 1.2 * radius:
            inside = False
    return found


@pytest.mark.django_db(transaction=True)
class TestEntering:
    def test_once_on_coming_in_whatever_arrives_late(self):
        Place.objects.create(
            slug="store", name="Store", latitude=52.2, longitude=21.0, radius=100, cooldown_minutes=60
        )
        chance = random.Random(3)
        total = 0
        people = [Profile.objects.create().pk for _ in range(40)]
        tellings = {person: [] for person in people}
        for batch in range(3):
            events = []
            for person in people:
                for number in range(6):
                    minutes = batch * 240 + number * 40 + chance.choice((0, 0, 0, -100))
                    metres = chance.choice((3, 60, 99, 101, 115, 119, 121, 400, 5000))
                    accuracy = chance.choice((0, 0, 10, 150))
                    at = START + timedelta(minutes=minutes, seconds=chance.randrange(30))
                    tellings[person].append((batch, at, metres, accuracy))
                    events.append(located(at, person, 52.2 + metres * METRE, 21.0, accuracy=accuracy or None))
            log.append(events)
            until_readable()
            while places.read(limit=len(events))[1]:
                pass
        for person in people:
            # Within one batch the order of time counts, as all of it is known.
            came = sorted(tellings[person], key=lambda row: (row[0], row[1]))
            expected = walk([row[1:] for row in came], 100, timedelta(minutes=60))
            assert [at for who, _slug, at in entered() if who == person] == expected
            total += len(expected)
        assert total > 40

    def test_what_is_no_point_or_no_person_is_passed_over(self):
        Place.objects.create(slug="s", name="S", latitude=0, longitude=0, radius=1000)
        person, gone = Profile.objects.create().pk, Profile.objects.create()
        events = [
            located(START, person, *pair)
            for pair in (("x", 0), (None, None), (91, 0), (0, 181), (True, 0), ("NaN", 0), ([], {}))
        ]
        log.append([*events, located(START, gone.pk, 0, 0)])
        gone.delete()
        follow()
        assert (entered(), LastLocation.objects.count()) == ([], 0)
        log.append([located(START, person, "0.001", "0")])
        follow()
        assert [row[1] for row in entered()] == ["s"]

    def test_a_crash_tells_nobody_twice_and_a_merge_loses_nothing(self, monkeypatch):
        Place.objects.create(slug="s", name="S", latitude=0, longitude=0, radius=1000)
        loser, winner = (Profile.objects.create().pk for _ in range(2))
        log.append([located(START, loser, 0, 0)])
        append = log.append
        monkeypatch.setattr(log, "append", lambda events: append(events) and 1 / 0)
        until_readable()
        with pytest.raises(ZeroDivisionError):
            places.read()
        monkeypatch.setattr(log, "append", append)
        assert not PersonPlace.objects.exists()
        identity.merge([(loser, winner)], "test")
        follow()
        follow()
        assert [row[:2] for row in entered()] == [(winner, "s")]

    def test_the_newest_location_is_the_profiles_and_tells_zone_and_country_where_nobody_surer_did(self):
        unknown, known = Profile.objects.create(), Profile.objects.create(timezone="Asia/Tokyo", country="JP")
        log.append([located(START, each.pk, 52.23, 21.01) for each in (unknown, known)])
        follow()
        log.append([located(START - timedelta(days=1), unknown.pk, 0, 0)])
        follow()
        unknown.refresh_from_db()
        known.refresh_from_db()
        assert (unknown.latitude, unknown.timezone, unknown.country) == (52.23, "Europe/Warsaw", "PL")
        assert (known.latitude, known.timezone, known.country) == (52.23, "Asia/Tokyo", "JP")
        assert unknown.sources["timezone"][0] == "location"
        log.append([located(START + timedelta(days=1), unknown.pk, 48.85, 2.35)])
        follow()
        unknown.refresh_from_db()
        assert (unknown.timezone, unknown.country) == ("Europe/Paris", "FR")

    def test_queries_do_not_grow_with_the_locations(self, django_assert_max_num_queries):
        Place.objects.create(slug="s", name="S", latitude=0, longitude=0, radius=1000)
        places.read()  # the first time makes the cursor
        counts = []
        for many in (2, 50):
            people = Profile.objects.bulk_create([Profile() for _ in range(many)])
            log.append([located(START, each.pk, 0, 0) for each in people])
            until_readable()
            with django_assert_max_num_queries(30) as queries:
                assert places.read()[0] == many
            counts.append(len(queries))
        assert counts[0] == counts[1]


class TestZones:
    def test_one_bad_name_leads_to_the_next_best_zone(self):
        for bad in ("Mars/Base", "../../etc/passwd", "a\0b", "x" * 9000, "Europe", "\ud800", "", None, 7):
            assert str(geography.zone_for({"timezone": bad})) == "UTC"
            assert str(geography.zone_for({"timezone": bad, "country": "PL"})) == "Europe/Warsaw"
            place = {"latitude": 24.7, "longitude": 46.7}
            assert str(geography.zone_for({"timezone": bad, "country": "PL", **place})) == "Asia/Riyadh"
        assert str(geography.zone_for({"timezone": "Asia/Tokyo", "country": "PL"})) == "Asia/Tokyo"

    def test_the_accounts_own_zone_may_be_bad_too(self, settings):
        settings.TIME_ZONE = "Asia/Tokyo"
        assert str(geography.zone_for({"country": "??"})) == "Asia/Tokyo"
        assert geography.zone_at(0, -30) is None  # the sea
        assert geography.zone_at(float("nan"), 0) is None
        assert geography.country_at(52.37, 4.9) == "NL"


@pytest.mark.django_db
class TestRows:
    def test_created_changed_and_left_alone(self):
        row = {"name": "Old Town", "latitude": "52.2", "longitude": 21, "attributes": {"a": 1}}
        states = [
            places.upsert([places.patch(each)], "test")[0].state
            for each in (row, row, {"slug": "old-town", "radius": 200, "attributes": {"a": None}})
        ]
        assert states == ["created", "unchanged", "updated"]
        place = Place.objects.get()
        assert (place.slug, place.radius, place.kind, place.attributes) == ("old-town", 200, "store", {})

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            ({"name": "A", "latitude": 91, "longitude": 0}, "latitude"),
            ({"name": "A", "latitude": "", "longitude": 0}, "latitude"),
            ({"name": "A", "radius": 0}, "radius"),
            ({"name": "A", "radius": float("nan")}, "radius"),
            ({"name": ""}, "name"),
            ({"slug": "a b"}, "slug"),
            ({"slug": "a", "colour": "red"}, "colour"),
        ],
    )
    def test_what_cannot_be_taken_is_named(self, row, field):
        with pytest.raises(Rejection) as refused:
            places.patch(row)
        assert refused.value.field == field

    def test_a_new_place_needs_a_position_and_those_beside_it_are_kept(self):
        good = {"name": "A", "latitude": 1, "longitude": 1}
        found = places.upsert([places.patch({"name": "B"}), places.patch(good)], "test")
        assert [each.state for each in found] == ["rejected", "created"]
        assert found[0].rejection.field == "latitude"
