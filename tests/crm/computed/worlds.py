"""Random people, definitions and histories, and how to store them."""

import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from crm import log
from crm.computed import backfill, definitions, keeping
from crm.models import ComputedAttribute, Profile
from tests.crm.computed.reference import Happening

# A week in which Europe and, a week later, North America set their clocks back; Havana does so at one in the morning.
NOW = datetime(2024, 11, 4, 4, 30, tzinfo=UTC)
ZONES = ["UTC", "Europe/Warsaw", "America/Havana", "Asia/Kathmandu", "Pacific/Apia", "Asia/Beirut"]
NAMES = ["visit", "order"]
VALUES = [
    "shoes",
    "hats",
    "",
    "B",
    "b",
    1,
    1.0,
    2.5,
    0.1,
    0.2,
    -3,
    True,
    None,
    ["shoes"],
    {"a": 1},
    "2024-10-01",
]

offsets = st.one_of(
    st.sampled_from(
        [
            timedelta(0),
            timedelta(microseconds=1),
            timedelta(days=1),
            timedelta(days=3),
            timedelta(days=3, microseconds=1),
            timedelta(days=3, microseconds=-1),
            timedelta(days=30),
            timedelta(hours=-5),
            timedelta(days=-2),
        ]
    ),
    st.integers(0, 24 * 25).map(lambda hours: timedelta(hours=hours)),
)
bags = st.fixed_dictionaries({}, optional={"x": st.sampled_from(VALUES), "y": st.sampled_from(VALUES)})
happenings = st.builds(Happening, st.sampled_from(NAMES), offsets.map(lambda offset: NOW - offset), bags)

wheres = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "property": st.just("y"),
                "op": st.sampled_from(["eq", "ne"]),
                "value": st.sampled_from(["shoes", 1]),
            }
        ),
        st.just({"property": "y", "op": "is_set"}),
        st.just({"property": "x", "op": "gt", "value": 0}),
    ),
    max_size=1,
)


def config(kind, windowed=True, **fields):
    optional = {"where": wheres}
    if windowed:
        optional["last_days"] = st.sampled_from([1, 3, 30])
    return st.fixed_dictionaries(
        {"kind": st.just(kind), "event": st.sampled_from(NAMES), **fields}, optional=optional
    )


x, types = st.just("x"), st.sampled_from(["text", "number", "moment"])
configs = st.one_of(
    config("count"),
    *(config(kind, property=x) for kind in ("sum", "average", "min", "max", "distinct")),
    *(config(kind, property=x, **{"as": types}) for kind in ("first", "last", "most_frequent")),
    config("last"),
    config(
        "missing", property=x, threshold=st.sampled_from([1, 2.5]), figure=st.sampled_from(["sum", "last"])
    ),
    config("usual", of=st.sampled_from(["hour", "weekday"])),
    config("days_since", windowed=False, which=st.sampled_from(["first", "last"])),
    config(
        "streak",
        windowed=False,
        unit=st.sampled_from(["days", "weeks"]),
        which=st.sampled_from(["current", "longest"]),
    ),
)


def person(zone: str) -> int:
    return Profile.objects.create(timezone=zone).pk


def record(events: list[tuple[int, Happening]]) -> None:
    """Store each person's event; a later one in the list is later in the log."""
    log.append(
        [
            log.NewEvent(uuid.uuid4(), profile_id, event.name, event.at, event.properties, "test")
            for profile_id, event in events
        ]
    )


def define(slug: str, config: dict) -> ComputedAttribute:
    return definitions.create(slug, slug, config)


def fill(now: datetime = NOW) -> None:
    assert not backfill.run(60, now)


def keep_up(now: datetime = NOW) -> None:
    """All that the background work does, until nothing is left."""
    keeping.follow_moves(now)
    while keeping.read(now, 3)[1]:
        pass
    while keeping.recompute_due(now, 2):
        pass
