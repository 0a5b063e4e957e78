"""What rules refer to besides people: flows, lists, segments, messages; and who is how connected with them."""

import uuid
from datetime import timedelta

from django.utils import timezone
from hypothesis import strategies as st

from campaigns.models import Enrollment, Flow, FlowVersion, Segment, SegmentMembership
from crm.models import Consent, Device, Identifier, Suppression
from delivery import vapid
from delivery.models import Message
from tests.campaigns.segments import reference
from tests.campaigns.segments.reference import Browser

CHANNELS = ["webpush", "inapp", "memory"]
QUESTIONS = [("channel", name) for name in CHANNELS] + [("topic", "news")]
FLOWS = ["welcome", "winback"]
LISTS = ["guests", "staff"]
TOPICS = {"a": "news", "b": ""}
# Warsaw, 1.0 km and 11 km from it; both sides of the date line; the poles; what is no place at all.
PLACES = [
    (52.2297, 21.0122),
    (52.2387, 21.0122),
    (52.2297, 21.1730),
    (-17.7, 179.95),
    (-17.7, -179.95),
    (89.99, 120.0),
    (-90.0, 0.0),
    (0.1, 0.0),
    (51.75, 19.46),
    (-3.0, 1e-200),
    (95.0, 10.0),
    (10.0, 190.0),
    (None, 20.0),
    (51.75, None),
    (None, None),
]
SEGMENTS = {
    "visitors": {"kind": "event", "name": "visit"},
    "poles": {"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
    "strangers": {
        "not": {"any": [{"kind": "segment", "slug": "visitors"}, {"kind": "list", "slug": "staff"}]}
    },
    "quiet": {
        "all": [
            {"kind": "segment", "slug": "strangers"},
            {"kind": "attribute", "field": "attributes.plan", "op": "ne", "value": "a"},
        ]
    },
}
ADDRESSES = [f"https://push.example.com/{number}" for number in range(3)]

consents = st.dictionaries(
    st.sampled_from(QUESTIONS), st.sampled_from(["subscribed", "subscribed", "unsubscribed", "pending"])
)
browsers = st.lists(
    st.builds(
        Browser, st.just(""), st.sampled_from([True, True, False]), st.sampled_from([True, True, False])
    ),
    max_size=2,
)
# Which of somebody's browsers and addresses are suppressed, and for which channel.
suppressed = st.sets(
    st.sampled_from([(channel, which) for channel in ("webpush", "all", "inapp") for which in (0, 1)])
)
runs = st.dictionaries(
    st.sampled_from(FLOWS), st.lists(st.sampled_from(["active", "completed", "exited"]), max_size=2)
)
lists = st.sets(st.sampled_from(LISTS))

consent_rules = st.builds(
    lambda question, state: {"kind": "consent", question[0]: question[1], "state": state},
    st.sampled_from(QUESTIONS),
    st.sampled_from(["subscribed", "unsubscribed", "pending", "none"]),
)
reachable_rules = st.fixed_dictionaries({"kind": st.just("reachable"), "channel": st.sampled_from(CHANNELS)})
near_rules = st.builds(
    lambda place, radius: {"kind": "near", "latitude": place[0], "longitude": place[1], "radius_km": radius},
    st.sampled_from([(52.2297, 21.0122), (-17.7, 180), (89.9, -60), (-89.999, 10), (0, 0), (-3, 0)]),
    st.sampled_from([0.001, 0.9, 1.2, 12, 13.5, 500, 9_000, 20_038]),
)
flow_rules = st.fixed_dictionaries(
    {
        "kind": st.just("flow"),
        "flow": st.sampled_from(FLOWS),
        "state": st.sampled_from(["in", "completed", "exited", "never"]),
    }
)
random_rules = st.builds(
    lambda percent, salt: {"kind": "random", "percent": percent, "salt": salt},
    st.sampled_from([[0, 100], [0, 50], [50, 100], [0.5, 33.3], [99.99, 100]]),
    st.sampled_from(["", "spring", "ż"]),
)
referring_rules = st.one_of(
    st.fixed_dictionaries({"kind": st.just("segment"), "slug": st.sampled_from([*SEGMENTS, *LISTS])}),
    st.fixed_dictionaries({"kind": st.just("list"), "slug": st.sampled_from(LISTS)}),
)
rules = st.one_of(consent_rules, reachable_rules, near_rules, flow_rules, random_rules, referring_rules)


def make() -> None:
    """Store what rules refer to, once."""
    if reference.FLOWS and Flow.objects.filter(pk__in=reference.FLOWS.values()).exists():
        return
    for slug in FLOWS:
        flow = Flow.objects.create(slug=slug, name=slug)
        FlowVersion.objects.create(flow=flow, number=1, definition={}, published_at=timezone.now())
        reference.FLOWS[slug] = flow.pk
    for slug in LISTS:
        Segment.objects.create(slug=slug, name=slug, kind=Segment.Kind.LIST)
    for slug, rule in SEGMENTS.items():
        Segment.objects.create(slug=slug, name=slug, rule=rule)
    for slug, topic in TOPICS.items():
        Message.objects.create(slug=slug, name=slug, topic=topic)
    reference.SEGMENTS.update(SEGMENTS)
    reference.TOPICS.update(TOPICS)


def name_addresses(person) -> None:
    """Give the browsers of a stored person addresses of their own, and say which of theirs are suppressed."""
    for number, browser in enumerate(person.devices):
        browser.endpoint = f"https://push.example.com/{person.pk}/{number}"
    own = [browser.endpoint for browser in person.devices]
    person.suppressed = {
        (channel, str(person.pk) if channel == "inapp" else own[which] if isinstance(which, int) else which)
        for channel, which in person.suppressed
        if channel == "inapp" or not isinstance(which, int) or which < len(own)
    }


def connect(people) -> None:
    """Store what stored people have to do with all this."""
    now, key = timezone.now(), vapid.public_key()
    for person in people:
        name_addresses(person)
    Consent.objects.bulk_create(
        Consent(profile_id=person.pk, kind=kind, key=name, state=state, source="test", changed_at=now)
        for person in people
        for (kind, name), state in person.consents.items()
    )
    Device.objects.bulk_create(
        Device(
            profile_id=person.pk,
            endpoint=browser.endpoint,
            state="active" if browser.active else "gone",
            application_key=key if browser.our_key else "another",
        )
        for person in people
        for browser in person.devices
    )
    Suppression.objects.bulk_create(
        Suppression(channel=channel, address=address, reason="test")
        for channel, address in {entry for person in people for entry in person.suppressed}
    )
    Identifier.objects.bulk_create(
        Identifier(kind="anonymous_id", value=str(uuid.uuid4()), profile_id=person.pk)
        for person in people
        if person.visited
    )
    versions = dict(FlowVersion.objects.values_list("flow_id", "pk"))
    Enrollment.objects.bulk_create(
        Enrollment(
            flow_id=reference.FLOWS[slug],
            version_id=versions[reference.FLOWS[slug]],
            profile_id=person.pk,
            run_key=str(number),
            state=state,
            entered_at=now,
            ended_at=None if state == "active" else now + timedelta(hours=1),
        )
        for person in people
        for slug, states in person.runs.items()
        for number, state in enumerate(states)
    )
    segments = dict(Segment.objects.values_list("slug", "pk"))
    SegmentMembership.objects.bulk_create(
        SegmentMembership(segment_id=segments[slug], profile_id=person.pk, entered_at=now)
        for person in people
        for slug in person.lists
    )


TABLES = (
    *("crm_consent", "crm_device", "crm_suppression", "crm_identifier"),
    *("campaigns_enrollment", "campaigns_segmentmembership"),
)
