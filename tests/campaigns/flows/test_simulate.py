"""What a simulation of the past says is what the engine does when that past happens to it."""

import itertools
from datetime import datetime, timedelta

from django.db.models import Min
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.flows import engine, publish, reading
from campaigns.flows.definition import parse
from campaigns.flows.simulate import Simulation
from campaigns.models import Enrollment, Flow
from tests.campaigns.flows.test_reference import NAMES, definitions
from tests.reading import drain

PEOPLE, FLOWS = 2, 4
_numbers = itertools.count()


class Replay:
    """The same history, lived through by the engine at the moments at which something happens."""

    def __init__(self, world):
        self.world = world

    def happens(self, profile_id: int, name: str, **properties) -> None:
        """Let everything happen that is due before now, and then this."""
        self.catch_up(self.world.now)
        self.world.happens(profile_id, name, **properties)
        self.work()

    def catch_up(self, upto: datetime) -> None:
        while (
            due := Enrollment.objects.filter(state="active").aggregate(due=Min("due_at"))["due"]
        ) and due <= upto:
            self.world.now = due
            self.work()
        self.world.now = upto

    def work(self) -> None:
        drain(reading.CURSOR, lambda: reading.read(self.world.now))
        while engine.advance(self.world.now):
            pass


def of_engine(flow: Flow, profile_id: int) -> list:
    found = []
    for run in Enrollment.objects.filter(flow=flow, profile_id=profile_id).order_by("entered_at", "pk"):
        decisions = run.decisions.exclude(kind="converted").order_by("pk").values_list("at", "step", "kind")
        found.append((run.state, run.reason, list(decisions)))
    return found


def of_simulation(simulation: Simulation, profile_id: int) -> list:
    return [
        (
            run.state,
            run.reason,
            [
                (note.at, note.step, note.kind)
                for note in run.path or []
                if note.kind not in ("sent", "stopped")
            ],
        )
        for run in simulation.runs.get(profile_id, [])
    ]


def simulated(flow: Flow, since: datetime, until: datetime, **options) -> Simulation:
    simulation = Simulation(flow.pk, flow.slug, parse(flow.draft), since, until, follow=True, **options)
    assert simulation.run()
    result = simulation.result()
    assert result.entered == result.completed + result.exited + result.inside
    for each in result.channels.values():
        assert each.queued == each.sent + each.waiting + sum(each.stopped.values())
    return simulation


@st.composite
def drafts(draw):
    """Some of them begin by a date that the event tells, and may be put off by a later one."""
    found = draw(definitions())
    if draw(st.integers(0, 2)) == 0:
        found["trigger"] = {"kind": "date", "event": "go", "property": "on"}
    return found


happenings = st.lists(
    st.tuples(
        st.integers(0, PEOPLE - 1),
        st.sampled_from(NAMES),
        st.integers(1, 30),  # hours since the one before
        st.integers(-20, 70),  # hours until the date that it tells
        st.fixed_dictionaries(
            {"n": st.sampled_from([3, 3, 3, 1])}, optional={"k": st.sampled_from(["a", "b"])}
        ),
    ),
    min_size=5,
    max_size=12,
)


def test_a_simulation_tells_what_the_engine_does(world):
    @settings(
        max_examples=3,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(st.lists(drafts(), min_size=FLOWS, max_size=FLOWS), happenings)
    def agree(several, history):
        since = world.now
        flows = [world.flow(**draft, slug=f"sim{next(_numbers)}") for draft in several]
        people = [world.person(f"sim{next(_numbers)}") for _number in range(PEOPLE)]
        replay = Replay(world)
        for second, (person, name, hours, ahead, properties) in enumerate(history, start=1):
            # No event at the very moment at which somebody's wait ends: which comes first would be chance.
            replay_at = world.now + timedelta(hours=hours, seconds=second)
            replay.catch_up(replay_at)
            on = (replay_at + timedelta(hours=ahead)).isoformat()
            replay.happens(people[person], name, on=on, **properties)
        replay.catch_up(world.now + timedelta(days=3))
        for flow in flows:
            simulation = simulated(flow, since, world.now)
            for person in people:
                assert of_simulation(simulation, person) == of_engine(flow, person)
            publish.stop(flow.pk, world.now)
        world.now += timedelta(days=1)

    agree()
