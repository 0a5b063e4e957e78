"""The engine, in batches of any size, does to everybody what the obvious interpreter does to one person."""

import itertools
from datetime import timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from campaigns.flows import engine, publish, reading, shares
from campaigns.models import Decision, Enrollment, Flow
from delivery.models import Delivery
from tests.campaigns.flows.conftest import World
from tests.campaigns.flows.reference import Happened, Reference
from tests.reading import drain

PEOPLE = 2
FLOWS = 4  # at once, over the same history
NAMES = ("go", "go", "go", "go", "stop", "stop", "stop", "other_go", "stop_too", "bought")
_numbers = itertools.count()

durations = st.builds(dict, amount=st.integers(1, 5), unit=st.sampled_from(["hours", "days"]))
waits = st.builds(lambda config: {"kind": "wait", "config": config}, durations)
plain = st.one_of(
    waits,
    st.just({"kind": "message", "config": {"message": "hello", "channel": "webpush"}}),
    st.just({"kind": "message", "config": {"message": "hello", "channel": "webpush"}}),
    st.just({"kind": "exit", "config": {"reason": "enough"}}),
)


rules = st.sampled_from(["bought", "stop"]).map(lambda name: {"kind": "event", "name": name})


def branching(inner):
    """A split, a random split or a wait for an event, with branches of what `inner` draws."""
    sequences = st.lists(inner, max_size=3)
    first = st.builds(lambda rule, steps: {"name": "first", "rule": rule, "steps": steps}, rules, sequences)
    last = st.builds(lambda steps: {"name": "else", "steps": steps}, sequences)
    splits = st.builds(lambda *branches: {"kind": "split", "branches": list(branches)}, first, first | last)
    shared = st.builds(
        lambda share, one, two: {
            "kind": "random",
            "branches": [
                {"name": "one", "percent": share, "steps": one},
                {"name": "two", "percent": 100 - share, "steps": two},
            ],
        },
        st.sampled_from([0, 30, 60]),
        sequences,
        sequences,
    )
    awaiting = st.builds(
        lambda timeout, names, since, one, two: {
            "kind": "wait_for",
            "config": {"events": [{"name": name} for name in names], "timeout": timeout, **since},
            "branches": [{"name": "yes", "steps": one}, {"name": "no", "steps": two}],
        },
        durations,
        st.sampled_from([["bought"], ["go"], ["bought", "stop"]]),
        st.sampled_from([{}, {"since": "entry"}]),
        sequences,
        sequences,
    )
    return splits | shared | awaiting


def conditional(steps):
    """Some of the steps only for those who meet a rule."""
    return st.builds(
        lambda step, rule: {**step, **({"condition": rule} if rule else {})},
        steps,
        st.one_of(st.none(), st.none(), st.none(), rules),
    )


steps = st.lists(
    st.recursive(conditional(plain), lambda inner: conditional(branching(inner)), max_leaves=6),
    min_size=1,
    max_size=5,
)


def trigger(*names):
    where = st.just([{"property": "n", "op": "gte", "value": 3}])
    return st.builds(
        lambda name, where: {"kind": "event", "name": name, **({"where": where} if where else {})},
        st.sampled_from(names),
        st.sampled_from([None, None, None, "where"]).flatmap(lambda given: where if given else st.none()),
    )


@st.composite
def definitions(draw):
    found = {
        "trigger": draw(trigger("go", "go", "go", "other_go")),
        "steps": [*draw(st.lists(waits, max_size=1)), *draw(steps)],
        "exit_on": draw(st.lists(trigger("stop", "stop", "stop_too", "go"), max_size=2)),
        "reentry": draw(
            st.sampled_from([{"mode": "never"}, {"mode": "always"}, {"mode": "after", "days": 1}])
        ),
    }
    if draw(st.integers(0, 3)) == 0:
        found["key"] = "properties.k"
    if draw(st.integers(0, 3)) == 0:
        found["entry"] = {"kind": "event", "name": "bought"}
    if draw(st.integers(0, 3)) == 0:
        found["exit_rule"] = {"kind": "event", "name": "stop_too"}
    if draw(st.integers(0, 2)) == 0:
        goal = {"name": "bought", "within_days": draw(st.integers(1, 3)), "exit": draw(st.booleans())}
        found["goal"] = goal
    if draw(st.integers(0, 4)) == 0:
        found["holdout_percent"] = 50
    _number(found["steps"], itertools.count())
    return found


def _number(sequence, numbers):
    sequence[:] = [{**step, "key": f"s{next(numbers)}"} for step in sequence]
    for step in sequence:
        if "branches" in step:
            step["branches"] = [{**branch, "steps": list(branch["steps"])} for branch in step["branches"]]
        for branch in step.get("branches", []):
            _number(branch["steps"], numbers)


events = st.tuples(
    st.just("event"),
    st.integers(0, PEOPLE - 1),
    st.sampled_from(NAMES),
    st.integers(0, 3),  # hours it comes late
    st.fixed_dictionaries({"n": st.sampled_from([3, 3, 3, 1])}, optional={"k": st.sampled_from(["a", "b"])}),
)
histories = st.lists(
    st.one_of(
        *[events] * 8,
        *[st.tuples(st.just("pass"), st.sampled_from([0, 1, 2, 24, 30]))] * 3,
        st.tuples(st.sampled_from(["pause", "resume", "publish"]), st.integers(0, FLOWS - 1)),
    ),
    min_size=8,
    max_size=25,
)


class Both:
    """A flow in the engine and in the reference."""

    def __init__(self, world: World, people: list[int], definition: dict):
        self.world, self.people = world, people
        self.flow = world.flow(**definition, slug=f"f{next(_numbers)}")
        self.reference = Reference(definition, world.now - timedelta(days=1000), self._place)

    def _place(self, person: int, what: str) -> float:
        return shares.place(self.people[person], self.flow.slug, what)

    def publish(self, definition):
        Flow.objects.filter(pk=self.flow.pk).update(draft=definition)
        publish.publish(self.flow.pk, now=self.world.now)
        self.reference.publish(definition, self.world.now)

    def pause(self):
        if self.reference.live:
            publish.pause(self.flow.pk)
            self.reference.pause()

    def resume(self):
        if not self.reference.live:
            publish.resume(self.flow.pk, self.world.now)
            self.reference.resume(self.world.now)

    def compare(self):
        for number, profile_id in enumerate(self.people):
            assert self._engine(profile_id) == sorted(
                (run.key, run.state, run.reason, run.decisions, sorted(run.messages))
                for run in self.reference.runs.get(number, [])
            )
            kept_out = Decision.objects.filter(flow=self.flow, profile_id=profile_id, kind="not_entered")
            assert kept_out.count() == self.reference.kept_out.get(number, 0)

    def _engine(self, profile_id):
        found = []
        for run in Enrollment.objects.filter(profile_id=profile_id, flow=self.flow):
            decisions = list(run.decisions.order_by("pk").values_list("step", "kind"))
            messages = Delivery.objects.filter(cause__startswith=f"flow:{run.pk}:")
            key = run.run_key if run.run_key.startswith("key:") else ""
            sent = sorted(messages.values_list("origin_step", flat=True))
            found.append((key, run.state, run.reason, decisions, sent))
        return sorted(found)


def live_through(world, definitions_, others, history, batch):
    """Let all flows see one history, the engine by batches of at most `batch`, and compare what came of it."""
    people = [world.person(f"{next(_numbers)}") for _number in range(PEOPLE)]
    all_ = [Both(world, people, definition) for definition in definitions_]

    def work():
        drain(reading.CURSOR, lambda: reading.read(world.now, batch))
        while engine.advance(world.now, batch):
            pass
        for both in all_:
            both.reference.work(world.now)

    try:
        for what, *rest in history:
            if what == "event":
                person, name, late, properties = rest
                at = world.now - timedelta(hours=late)
                world.happens(people[person], name, at, **properties)
                for both in all_:
                    both.reference.log.append(Happened(person, name, at, properties))
            elif what == "pass":
                work()
                world.now += timedelta(hours=rest[0])
                work()
            else:
                work()
                [number] = rest
                getattr(all_[number], what)(*([others[number]] if what == "publish" else []))
        work()
        for both in all_:
            both.compare()
    finally:
        for both in all_:
            publish.stop(both.flow.pk, world.now)


def test_the_engine_agrees_with_the_reference(world):
    several = st.lists(definitions(), min_size=FLOWS, max_size=FLOWS)

    @settings(
        max_examples=12,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(several, several, histories, st.sampled_from([1, 3, 1000]))
    def agree(definitions_, others, history, batch):
        live_through(world, definitions_, others, history, batch)

    agree()
