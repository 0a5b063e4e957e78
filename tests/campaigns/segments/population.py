"""Random people and random rules about them, and how to store the people."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta

from django.db import connection
from hypothesis import strategies as st

from crm import log
from crm.models import ComputedAttribute, ComputedValue, Profile
from tests.campaigns.segments import reference, surroundings
from tests.campaigns.segments.reference import Happening, Person

NOW = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)  # the day after a 29 February
NAMES = ["visit", "cart", "purchase"]
TEXTS = [
    "a",
    "b",
    "B",
    "ab",
    "5",
    "",
    "é",
    "2024-02-29",
    "2023-02-29",
    "2024-03-01T12:30:00Z",
    "2024-03-08T02:00+04:00",
]
NUMBERS = [0, 1, 1.0, 5, -2, 2.5, 0.1, 0.2, 0.3, 10**12]
KEYS = ["plan", "score", "tags", "joined"]

# Moments at and around the edges of the windows that the rules use.
OFFSETS = [
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=1, microseconds=1),
    timedelta(days=7),
    timedelta(days=7, microseconds=-1),
    timedelta(days=30),
    timedelta(days=400),
]
moments = st.builds(
    lambda sign, offset: NOW + sign * offset, st.sampled_from([-1, -1, -1, 1]), st.sampled_from(OFFSETS)
)
days = st.sampled_from(
    [
        date(2024, 2, 29),
        date(2024, 3, 1),
        date(2023, 2, 28),
        date(2000, 2, 29),
        date(1990, 12, 30),
        date(1990, 3, 8),
    ]
)
scalars = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.booleans())
values = st.one_of(
    scalars,
    scalars,
    st.none(),
    st.lists(st.sampled_from(["a", "b", 5]), max_size=2),
    st.fixed_dictionaries({"deep": scalars}),
)
bags = st.dictionaries(st.sampled_from(KEYS), values, max_size=3)


def optional(strategy):
    return st.one_of(st.none(), strategy)


# Short name -> what it is, the column its values are stored in, the values that people may have.
COMPUTED = {
    "orders": ({"kind": "count", "event": "purchase"}, "number", st.sampled_from([0.0, 1.0, 5.0])),
    "largest": (
        {"kind": "max", "event": "purchase", "property": "score"},
        "number",
        st.sampled_from([0.1, -2.0, 5.0]),
    ),
    "favourite": (
        {"kind": "most_frequent", "event": "purchase", "property": "plan"},
        "text",
        st.sampled_from(["a", "B", "é", "2024-02-29"]),
    ),
    "bought_at": ({"kind": "last", "event": "purchase"}, "at", moments),
    "quiet": ({"kind": "days_since", "event": "visit"}, "at", moments),
}

# `origin` is the slug of a flow here; `store` puts in what messages say.
told = st.fixed_dictionaries(
    {"message": st.sampled_from(["a", "b"])},
    optional={
        "channel": st.sampled_from(["webpush", "inapp"]),
        "origin": st.sampled_from(surroundings.FLOWS),
    },
)
people = st.builds(
    Person,
    columns=st.builds(
        lambda columns, place: columns | {"latitude": place[0], "longitude": place[1]},
        st.fixed_dictionaries(
            {
                "country": optional(st.sampled_from(["PL", "SA", ""])),
                "city": optional(st.sampled_from(["Łódź", "Lodz", "Riyadh"])),
                "email": optional(st.sampled_from(["a@example.com", "b@example.com", ""])),
                "birthday": optional(days),
                "last_seen": optional(moments),
            }
        ),
        st.sampled_from(surroundings.PLACES),
    ),
    attributes=bags,
    events=st.lists(
        st.one_of(
            st.builds(Happening, st.sampled_from(NAMES), moments, bags),
            st.builds(Happening, st.sampled_from(["message_opened", "message_sent"]), moments, told),
        ),
        max_size=4,
    ),
    consents=surroundings.consents,
    devices=surroundings.browsers,
    suppressed=surroundings.suppressed,
    visited=st.booleans(),
    runs=surroundings.runs,
    lists=surroundings.lists,
    computed=st.fixed_dictionaries(
        {}, optional={slug: values for slug, (_config, _column, values) in COMPUTED.items()}
    ),
)

spans = st.sampled_from(
    [{"days": 1}, {"days": 7}, {"days": 30}, {"hours": 1}, {"hours": 24}, {"minutes": 30}]
)
day_spans = st.sampled_from([{"days": 1}, {"days": 7}, {"days": 30}])
moment_texts = st.one_of(days.map(str), moments.map(lambda at: at.isoformat()))


def operation(scalar, time_text, span, words=True, order=True):
    """op and value for operands whose values look like `scalar`."""

    def pair(strategy):
        return st.lists(strategy, min_size=2, max_size=2).map(sorted)

    choices = [
        st.fixed_dictionaries({"op": st.sampled_from(["eq", "ne"]), "value": scalar}),
        st.fixed_dictionaries(
            {"op": st.sampled_from(["in", "not_in"]), "value": st.lists(scalar, min_size=1, max_size=13)}
        ),
        st.fixed_dictionaries({"op": st.sampled_from(["is_set", "is_not_set"])}),
    ]
    if order:
        numbers, texts = st.sampled_from(NUMBERS), st.sampled_from(TEXTS)
        for kind in {"json": [numbers, texts], "text": [texts], "number": [numbers], "time": [time_text]}[
            order
        ]:
            choices.append(
                st.fixed_dictionaries({"op": st.sampled_from(["gt", "gte", "lt", "lte"]), "value": kind})
            )
            if order != "time":
                choices.append(st.fixed_dictionaries({"op": st.just("between"), "value": pair(kind)}))
        if order == "time":
            choices.append(st.fixed_dictionaries({"op": st.just("between"), "value": pair(days.map(str))}))
    if words:
        choices.append(
            st.fixed_dictionaries(
                {
                    "op": st.sampled_from(["contains", "not_contains", "starts_with"]),
                    "value": st.sampled_from("abP5"),
                }
            )
        )
    if time_text is not None:
        choices.append(
            st.fixed_dictionaries({"op": st.sampled_from(["before", "after"]), "value": time_text})
        )
        choices.append(
            st.fixed_dictionaries({"op": st.sampled_from(["within_last", "within_next"]), "value": span})
        )
        choices.append(
            st.fixed_dictionaries(
                {
                    "op": st.just("anniversary_within"),
                    "value": st.sampled_from([{"days": 0}, {"days": 7}, 366]),
                }
            )
        )
    return st.one_of(choices)


json_operation = operation(scalars, moment_texts, spans, order="json")
paths = st.sampled_from([*KEYS, "plan.deep", "score.deep"])


def merged(*strategies):
    return st.tuples(*strategies).map(
        lambda parts: {key: value for part in parts for key, value in part.items()}
    )


def about(field, operations):
    return merged(st.just({"kind": "attribute", "field": field}), operations)


attribute_rules = st.one_of(
    paths.flatmap(lambda path: about(f"attributes.{path}", json_operation)),
    about("country", operation(st.sampled_from(["PL", "SA", "", "XX"]), None, None, order="text")),
    about("city", operation(st.sampled_from(["Lodz", "Łódź"]), None, None, order="text")),
    about("latitude", operation(st.sampled_from([0.1, 51.75, 7]), None, None, words=False, order="number")),
    about("birthday", operation(days.map(str), days.map(str), day_spans, words=False, order="time")),
    about("computed.orders", operation(st.sampled_from([0, 1, 5]), None, None, words=False, order="number")),
    about(
        "computed.largest", operation(st.sampled_from([0.1, 5, 7]), None, None, words=False, order="number")
    ),
    about("computed.favourite", operation(st.sampled_from(["a", "B", "é"]), None, None, order="text")),
    about("computed.bought_at", operation(moment_texts, moment_texts, spans, words=False, order="time")),
    about(
        "computed.quiet", operation(st.sampled_from([0, 1, 7, 30]), None, None, words=False, order="number")
    ),
    about("last_seen", operation(moment_texts, moment_texts, spans, words=False, order="time")),
)
where = st.lists(merged(paths.map(lambda path: {"property": path}), json_operation), max_size=2)
figures = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]),
        "value": st.sampled_from([0, 1, 2, 0.3, 2.5]),
    }
)
counts = st.fixed_dictionaries(
    {"op": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), "value": st.integers(0, 3)}
)
withins = st.one_of(
    st.fixed_dictionaries({"last": spans}),
    st.fixed_dictionaries({"from": st.just("2024-02-23")}, optional={"to": st.just("2024-03-01")}),
    st.fixed_dictionaries({"to": moments.map(lambda at: at.isoformat())}),
)
event_rules = st.fixed_dictionaries(
    {"kind": st.just("event"), "name": st.sampled_from([*NAMES, "never"])},
    optional={
        "where": where,
        "within": withins,
        "count": counts,
        "aggregate": merged(
            st.fixed_dictionaries(
                {"fn": st.sampled_from(["sum", "avg", "min", "max", "distinct"]), "property": paths}
            ),
            figures,
        ),
        "not_followed_by": st.fixed_dictionaries(
            {"name": st.sampled_from(NAMES)}, optional={"where": where, "within": spans}
        ),
    },
)
message_rules = st.fixed_dictionaries(
    {"kind": st.just("message"), "did": st.sampled_from(["received", "opened"])},
    optional={
        "message": st.sampled_from(["a", "b"]),
        "channel": st.sampled_from(["webpush", "inapp"]),
        "topic": st.sampled_from(["news", "sport"]),
        "flow": st.sampled_from([*surroundings.FLOWS, "gone"]),
        "within": withins,
    },
)
conditions = st.one_of(
    *(attribute_rules, attribute_rules, event_rules, event_rules),
    *(message_rules, surroundings.rules, surroundings.rules),
)


def groups(inner):
    return st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    )


rules = st.one_of(conditions, groups(conditions), groups(st.one_of(conditions, groups(conditions))))


def make_computed() -> dict[str, ComputedAttribute]:
    """The computed attributes that rules ask for, by their slug; made once."""
    found = {attribute.slug: attribute for attribute in ComputedAttribute.objects.filter(slug__in=COMPUTED)}
    return found or {
        slug: ComputedAttribute.objects.create(
            slug=slug, name=slug, config=config, kind=config["kind"], served=True
        )
        for slug, (config, _column, _values) in COMPUTED.items()
    }


def store(population: list[Person]) -> list[int]:
    """Save people and all about them; returns the ids in the same order."""
    surroundings.make()
    saved = Profile.objects.bulk_create(
        [Profile(**person.columns, attributes=person.attributes) for person in population]
    )
    for profile, person in zip(saved, population, strict=True):
        person.pk = profile.pk
        for item in person.events:
            if isinstance(slug := item.properties.get("origin"), str):
                item.properties["origin"] = {"type": "flow", "id": reference.FLOWS[slug]}
    surroundings.connect(population)
    log.append(
        [
            log.NewEvent(uuid.uuid4(), profile.pk, item.name, item.at, item.properties, "test")
            for profile, person in zip(saved, population, strict=True)
            for item in person.events
        ]
    )
    attributes = make_computed()
    ComputedValue.objects.bulk_create(
        ComputedValue(profile=profile, attribute=attributes[slug], **{COMPUTED[slug][1]: found})
        for profile, person in zip(saved, population, strict=True)
        for slug, found in person.computed.items()
    )
    return [profile.pk for profile in saved]


def forget() -> None:
    """Remove everybody; for examples that share one transaction."""
    with connection.cursor() as cursor:
        for table in (*surroundings.TABLES, "crm_event", "crm_computedvalue", "crm_profile"):
            cursor.execute(f"DELETE FROM {table}")


def shown(rule) -> str:
    return json.dumps(rule, ensure_ascii=False)
