"""Who comes into which place: a reader of the event log turns `location` events into `entered_place`.

A person enters a place with a location within its radius, once, and has left it with a later one that is clearly
outside: beyond LEAVING times the radius. In between, at the edge, nothing changes. What a device tells late, after
something newer, changes nothing at all. The newest location also becomes the profile's coordinates, and its country
and time zone where nobody surer has told them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from crm import geography, log, present, signals, wake
from crm.models import LastLocation, PersonPlace
from crm.places_rows import Outcome, Patch, patch, upsert

__all__ = ["CURSOR", "Outcome", "Patch", "connect", "patch", "point", "read", "upsert"]

CURSOR = "places"
LOCATION, ENTERED = "location", "entered_place"
LEAVING = 1.2
SOURCE = "location"  # what Profile.sources says of what is derived from here

# Places within reach of each point. The band of latitudes comes from the index; longitudes are compared around the
# circle, so that the date line and the poles need no care. The distance is the haversine formula.
_NEAR = """
    WITH reach AS (SELECT coalesce(max(radius), 0) AS metres FROM crm_place WHERE active)
    SELECT e.n, p.id, p.distance FROM jsonb_to_recordset(%s::jsonb)
        AS e(n int, lat double precision, lon double precision) CROSS JOIN reach
    CROSS JOIN LATERAL (
        SELECT id, radius, 2 * %s * asin(sqrt(least(1, sin(radians(latitude - e.lat) / 2) ^ 2
            + cos(radians(latitude)) * cos(radians(e.lat)) * sin(radians(longitude - e.lon) / 2) ^ 2))) AS distance
        FROM crm_place
        WHERE active AND latitude BETWEEN e.lat - degrees(reach.metres / %s) - 1e-6
            AND e.lat + degrees(reach.metres / %s) + 1e-6
    ) AS p
    WHERE p.distance <= p.radius ORDER BY e.n, p.id
"""
_PLACES = """
    SELECT id, slug, name, latitude, longitude, radius, make_interval(mins => cooldown_minutes)
    FROM crm_place WHERE id = ANY(%s)
"""
_SAVE_PEOPLE = """
    INSERT INTO crm_personplace AS s (profile_id, place_id, inside, entered_at)
    SELECT r.profile, p.id, r.inside, r.entered
    FROM jsonb_to_recordset(%s::jsonb) AS r(profile bigint, place bigint, inside boolean, entered timestamptz)
    JOIN crm_place p ON p.id = r.place ORDER BY r.profile, p.id
    ON CONFLICT (profile_id, place_id) DO UPDATE SET inside = excluded.inside, entered_at = excluded.entered_at
"""
_SAVE_LAST = """
    INSERT INTO crm_lastlocation (profile_id, latitude, longitude, located_at, place_id)
    SELECT r.profile, r.lat, r.lon, r.at, p.id
    FROM jsonb_to_recordset(%s::jsonb)
        AS r(profile bigint, lat double precision, lon double precision, at timestamptz, place bigint)
    LEFT JOIN crm_place p ON p.id = r.place ORDER BY r.profile
    ON CONFLICT (profile_id) DO UPDATE SET latitude = excluded.latitude, longitude = excluded.longitude,
        located_at = excluded.located_at, place_id = coalesce(excluded.place_id, crm_lastlocation.place_id)
"""
# A zone or country is taken where there is none, or where the one that is there came from coordinates too.
_SAVE_PROFILES = """
    UPDATE crm_profile p SET latitude = r.lat, longitude = r.lon,
        timezone = CASE WHEN r.zone IS NOT NULL AND r.own_zone THEN r.zone ELSE p.timezone END,
        country = CASE WHEN r.country IS NOT NULL AND r.own_country THEN r.country ELSE p.country END,
        sources = p.sources || jsonb_strip_nulls(jsonb_build_object('latitude', r.said, 'longitude', r.said,
            'timezone', CASE WHEN r.zone IS NOT NULL AND r.own_zone THEN r.said END,
            'country', CASE WHEN r.country IS NOT NULL AND r.own_country THEN r.said END)),
        updated_at = now()
    FROM (
        SELECT n.*, held.id AS held,
            coalesce(held.timezone, '') = '' OR held.sources -> 'timezone' ->> 0 = %(source)s AS own_zone,
            coalesce(held.country, '') = '' OR held.sources -> 'country' ->> 0 = %(source)s AS own_country,
            jsonb_build_array(%(source)s, n.at) AS said
        FROM jsonb_to_recordset(%(rows)s::jsonb) AS n(profile bigint, lat double precision, lon double precision,
            at text, zone text, country text)
        JOIN crm_profile held ON held.id = n.profile ORDER BY held.id
    ) AS r WHERE p.id = r.held AND (p.latitude, p.longitude) IS DISTINCT FROM (r.lat, r.lon)
"""


class _Point(msgspec.Struct):
    """One usable location of one person. `accuracy` is in metres; 0 if the device did not tell."""

    event: log.LoggedEvent
    profile_id: int
    latitude: float
    longitude: float
    accuracy: float
    near: dict[int, float] = {}  # place id -> metres


class _Place(msgspec.Struct):
    id: int
    slug: str
    name: str
    latitude: float
    longitude: float
    radius: float
    cooldown: timedelta


class _Stay(msgspec.Struct):
    """What PersonPlace holds."""

    inside: bool
    entered_at: datetime


class _Person(msgspec.Struct):
    """What is known of one person; `changed` are the places about which something is new."""

    located_at: datetime | None = None
    stays: dict[int, _Stay] = {}
    changed: set[int] = set()
    newest: _Point | None = None
    place: int | None = None


def connect() -> None:
    """Called once when Django is ready."""
    signals.events_recorded.connect(_wake, dispatch_uid="crm.places")


def _wake(names: set[str], **kwargs: Any) -> None:
    """Something was stored in the log. Called after commit: who has just come in shall hear of it soon."""
    if LOCATION in names:
        wake.on_commit("crm.tasks.follow_places", "ingest")


def read(limit: int = 5000) -> tuple[int, bool]:
    """Handle the next locations of the log; returns how many there were and whether more may be waiting."""
    with log.read(CURSOR, limit, {LOCATION}) as batch:
        _follow(batch.events)
        return len(batch.events), batch.full


def point(properties: dict[str, Any]) -> tuple[float, float, float] | None:
    """(latitude, longitude, accuracy in metres) of a location event; None if it tells no point on earth."""
    latitude, longitude = _number(properties.get("latitude")), _number(properties.get("longitude"))
    if latitude is None or longitude is None or not geography.is_point(latitude, longitude):
        return None
    return latitude, longitude, max(0.0, _number(properties.get("accuracy")) or 0.0)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _follow(events: Sequence[log.LoggedEvent]) -> None:
    told = [(event, found) for event in events if (found := point(event.properties))]
    if not told:
        return
    present_ids = present.hold({event.profile_id for event, _found in told})
    points = [
        _Point(event, present_ids[event.profile_id], *found)
        for event, found in told
        if event.profile_id in present_ids
    ]
    points.sort(key=lambda each: (each.event.occurred_at, each.event.seq))
    _measure(points)
    people = _known({each.profile_id for each in points})
    places = _places(
        {place for each in points for place in each.near}
        | {place for person in people.values() for place in person.stays}
    )
    entered = [(each, place) for each in points for place in _move(people[each.profile_id], each, places)]
    _save(people)
    log.append([_entered(each, places[place]) for each, place in entered])


def _measure(points: Sequence[_Point]) -> None:
    """Note which places each point lies in."""
    rows = [{"n": n, "lat": each.latitude, "lon": each.longitude} for n, each in enumerate(points)]
    radius = geography.EARTH_RADIUS
    with connection.cursor() as cursor:
        cursor.execute(_NEAR, [msgspec.json.encode(rows).decode(), radius, radius, radius])
        for n, place, metres in cursor.fetchall():
            points[n].near = {**points[n].near, place: metres}


def _known(profile_ids: set[int]) -> dict[int, _Person]:
    people = {profile_id: _Person(stays={}, changed=set()) for profile_id in profile_ids}
    for profile_id, at in LastLocation.objects.filter(profile__in=profile_ids).values_list(
        "profile_id", "located_at"
    ):
        people[profile_id].located_at = at
    for stay in PersonPlace.objects.filter(profile__in=profile_ids):
        people[stay.profile_id].stays[stay.place_id] = _Stay(stay.inside, stay.entered_at)
    return people


def _places(ids: set[int]) -> dict[int, _Place]:
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_PLACES, [sorted(ids)])
        return {row[0]: _Place(*row) for row in cursor.fetchall()}


def _move(person: _Person, here: _Point, places: dict[int, _Place]) -> list[int]:
    """Take the person to a point; returns the places they entered by it."""
    at = here.event.occurred_at
    if person.located_at is not None and at <= person.located_at:
        return []
    person.located_at, person.newest = at, here
    for place_id, known in person.stays.items():
        if known.inside and place_id not in here.near and _left(here, places[place_id]):
            known.inside = False
            person.changed.add(place_id)
    entered = []
    for place_id, _metres in sorted(here.near.items(), key=lambda item: (item[1], item[0])):
        place = places[place_id]
        stay = person.stays.get(place_id)
        # A reading that may be off by more than the whole place does not say that somebody is there.
        if here.accuracy > place.radius or (stay and stay.inside):
            continue
        person.changed.add(place_id)
        if stay and at - stay.entered_at < place.cooldown:
            stay.inside = True
            continue
        person.stays[place_id] = _Stay(True, at)
        entered.append(place_id)
    if entered:
        person.place = entered[0]
    return entered


def _left(here: _Point, place: _Place) -> bool:
    metres = geography.distance(here.latitude, here.longitude, place.latitude, place.longitude)
    return metres - here.accuracy > place.radius * LEAVING


def _save(people: dict[int, _Person]) -> None:
    moved = {profile_id: (person, person.newest) for profile_id, person in people.items() if person.newest}
    stays = [
        {"profile": profile_id, "place": place, "inside": stay.inside, "entered": stay.entered_at}
        for profile_id, (person, _here) in moved.items()
        for place in person.changed
        for stay in [person.stays[place]]
    ]
    newest = []
    for profile_id, (person, here) in moved.items():
        zone = geography.zone_at(here.latitude, here.longitude)
        newest.append(
            {
                "profile": profile_id,
                "lat": here.latitude,
                "lon": here.longitude,
                "at": here.event.occurred_at,
                "place": person.place,
                "zone": zone,
                "country": geography.country_of_zone(zone),
            }
        )
    if not newest:
        return
    rows = msgspec.json.encode(newest).decode()
    with connection.cursor() as cursor:
        if stays:
            cursor.execute(_SAVE_PEOPLE, [msgspec.json.encode(stays).decode()])
        cursor.execute(_SAVE_LAST, [rows])
        cursor.execute(_SAVE_PROFILES, {"rows": rows, "source": SOURCE})


def _entered(here: _Point, place: _Place) -> log.NewEvent:
    return log.NewEvent(
        log.event_id("entered", here.event.id, place.id),
        here.profile_id,
        ENTERED,
        here.event.occurred_at,
        {"place": place.slug, "name": place.name, "distance": round(here.near[place.id], 1)},
        "nudge",
    )
