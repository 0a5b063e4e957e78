"""Random changes of people that are stored, each by the way it happens in life where there is one."""

import uuid
from datetime import timedelta

from hypothesis import strategies as st

from campaigns.models import Enrollment, FlowVersion, Segment
from campaigns.segments import memberships
from crm import log, merging, privacy, retention
from crm.models import ComputedValue, Consent, Device, Event, Identifier, Profile, Suppression
from delivery import vapid
from tests.campaigns.segments import population, reference, surroundings

STATES = st.sampled_from(["subscribed", "unsubscribed", "pending"])
WAITS = st.sampled_from([timedelta(minutes=30), timedelta(hours=7), timedelta(days=1), timedelta(days=29)])
EVENTS = st.sampled_from([*population.NAMES, "message_opened", "message_sent"])
COLUMNS = st.fixed_dictionaries(
    {},
    optional={
        "country": st.sampled_from(["PL", "SA", None]),
        "city": st.sampled_from(["Lodz", None]),
        "birthday": population.optional(population.days),
        "last_seen": population.optional(population.moments),
    },
)
COMPUTED = st.sampled_from(sorted(population.COMPUTED)).flatmap(
    lambda slug: st.tuples(st.just(slug), population.optional(population.COMPUTED[slug][2]))
)
FLOW_EVENTS = {"active": "flow_entered", "completed": "flow_completed", "exited": "flow_exited"}


def say(pk, name, at, properties):
    log.append([log.NewEvent(uuid.uuid4(), pk, name, at, properties, "test")])


def wait(pk, other, now, how_long):
    """Nothing but time passes; the caller moves its clock."""


def act(pk, other, now, happening):
    name, offset, properties = happening
    say(pk, name, now - offset, {key: value for key, value in properties.items() if key != "origin"})


def edit(pk, other, now, columns):
    Profile.objects.filter(pk=pk).update(**columns)


def describe(pk, other, now, attributes):
    Profile.objects.filter(pk=pk).update(attributes=attributes)


def move_to(pk, other, now, place):
    Profile.objects.filter(pk=pk).update(latitude=place[0], longitude=place[1])


def answer(pk, other, now, told):
    (kind, key), state = told
    if state is None:
        Consent.objects.filter(profile_id=pk, kind=kind, key=key).delete()
    else:
        values = {"state": state, "source": "test", "changed_at": now}
        Consent.objects.update_or_create(profile_id=pk, kind=kind, key=key, defaults=values)


def subscribe(pk, other, now, state):
    device = Device.objects.filter(profile_id=pk).first() or Device(
        profile_id=pk, endpoint=f"https://push.example.com/new/{pk}"
    )
    device.state, device.application_key = state, vapid.public_key()
    device.save()


def suppress(pk, other, now, channel):
    address = str(pk) if channel == "inapp" else Device.objects.filter(profile_id=pk).first()
    address = getattr(address, "endpoint", address)
    if address and not Suppression.objects.filter(channel=channel, address=address).delete()[0]:
        Suppression.objects.create(channel=channel, address=address, reason="test")


def visit(pk, other, now, _nothing):
    Identifier.objects.create(kind="anonymous_id", value=str(uuid.uuid4()), profile_id=pk)


def compute(pk, other, now, told):
    slug, value = told
    attribute = population.make_computed()[slug]
    ComputedValue.objects.filter(profile_id=pk, attribute=attribute).delete()
    if value is not None:
        ComputedValue.objects.create(
            profile_id=pk, attribute=attribute, **{population.COMPUTED[slug][1]: value}
        )


def run(pk, other, now, told):
    slug, state = told
    flow = reference.FLOWS[slug]
    if state == "active":
        version = FlowVersion.objects.get(flow_id=flow).pk
        Enrollment.objects.create(
            flow_id=flow, version_id=version, profile_id=pk, run_key=str(uuid.uuid4()), entered_at=now
        )
    elif not Enrollment.objects.filter(flow_id=flow, profile_id=pk, state="active").update(
        state=state, ended_at=now
    ):
        return
    say(pk, FLOW_EVENTS[state], now, {"flow": slug})


def enlist(pk, other, now, told):
    slug, comes = told
    on = Segment.objects.get(slug=slug)
    memberships.change(on, [pk] if comes else [], [] if comes else [pk], now, memberships.LIST)


def merge(pk, other, now, _nothing):
    if pk != other:
        merging.merge([(other, pk)], "test", now)


def erase(pk, other, now, _nothing):
    privacy.erase([pk], "test", now)


def remove(pk, other, now, _nothing):
    Event.objects.filter(profile_id=pk).delete()
    Profile.objects.filter(pk=pk).delete()


def appear(pk, other, now, _nothing):
    Profile.objects.create(country="PL")


def forget_events(pk, other, now, name):
    retention._remove(name, now - timedelta(days=7), now)


def _step(do, values=None):
    values = values if values is not None else st.none()
    return st.tuples(st.just(do), st.integers(0, 9), st.integers(0, 9), values)


steps = st.one_of(
    _step(wait, WAITS),
    _step(wait, WAITS),
    *[_step(act, st.tuples(EVENTS, st.sampled_from(population.OFFSETS), population.bags))] * 3,
    _step(edit, COLUMNS),
    _step(describe, population.bags),
    _step(move_to, st.sampled_from(surroundings.PLACES)),
    _step(answer, st.tuples(st.sampled_from(surroundings.QUESTIONS), st.one_of(st.none(), STATES))),
    _step(subscribe, st.sampled_from(["active", "gone"])),
    _step(suppress, st.sampled_from(["webpush", "all", "inapp"])),
    _step(visit),
    _step(compute, COMPUTED),
    _step(
        run,
        st.tuples(st.sampled_from(surroundings.FLOWS), st.sampled_from(["active", "completed", "exited"])),
    ),
    _step(enlist, st.tuples(st.sampled_from(surroundings.LISTS), st.booleans())),
    _step(merge),
    _step(erase),
    _step(remove),
    _step(appear),
    _step(forget_events, EVENTS),
)
LEAVES_THE_LOG = (merge, erase, remove)  # members move without an event, for the person is another one
