"""The step that starts other flows."""

from campaigns.flows import definition
from campaigns.flows.steps import start_flow
from campaigns.models import Enrollment, Flow, FlowVersion
from tests.campaigns.flows.standing import advance, facts, form_of, problems, queries, rehearsed, stand, step

WAIT = {"key": "w", "kind": "wait", "config": {"amount": 1, "unit": "days"}}


def test_people_enter_the_other_flow_once_with_what_is_known(world):
    other = world.flow([WAIT], slug="other", trigger={"kind": "api"}, reentry={"mode": "always"})
    ann = world.person("ann")
    people = [(ann, {"event": {"name": "x", "properties": {"a": 1}}, "coupon": {"code": "C"}})]
    foreseen = rehearsed(world, "start_flow", {"flow": "other"}, people)
    flow = world.flow([step("start_flow", flow="other"), WAIT])
    [number] = stand(world, flow, people)
    advance(world)
    assert facts() == foreseen == [{"flow": "other"}]
    run = Enrollment.objects.get(flow=other)
    assert (run.profile_id, run.step) == (ann, "w")
    assert run.context["coupon"] == {"code": "C"}
    assert run.context["event"]["properties"] == {"a": 1}
    assert run.context["started_by"] == {"flow": flow.slug, "run": number, "depth": 1}
    Enrollment.objects.filter(pk=number).update(step="s1", step_state={}, due_at=world.now)
    advance(world)
    assert Enrollment.objects.filter(flow=other).count() == 1
    assert facts()[1]["refused"] == start_flow.ALREADY


def test_its_own_rules_hold_and_this_run_goes_on(world):
    other = world.flow([WAIT], slug="other", trigger={"kind": "api"}, reentry={"mode": "never"})
    ann, bob = world.person("ann"), world.person("bob")
    flow = world.flow([step("start_flow", flow="other")])
    stand(world, flow, [(ann, {}), (ann, {}), (bob, {"started_by": {"depth": start_flow.DEEPEST}})])
    advance(world)
    stand(world, flow, [(ann, {})])
    advance(world)
    assert Enrollment.objects.filter(flow=other).count() == 1
    assert facts(profile_id=bob) == [{"flow": "other", "refused": start_flow.TOO_DEEP}]
    assert facts(profile_id=ann)[-1]["refused"]
    Flow.objects.filter(pk=other.pk).update(state="stopped")
    stand(world, flow, [(world.person("cid"), {})])
    advance(world)
    assert facts()[-1]["refused"]
    assert not Enrollment.objects.filter(flow=flow, state="active").exists()


def test_a_batch_takes_as_many_queries_as_one_person(world):
    world.flow([WAIT], slug="other", trigger={"kind": "api"})
    flow = world.flow([step("start_flow", flow="other")])
    people = [(world.person(f"p{number}"), {}) for number in range(20)]
    queries(world, flow, people[:1])
    assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])
    assert Enrollment.objects.filter(flow__slug="other").count() == 20


def test_flows_that_start_each_other_can_not_be_published(world):
    def starting(target):
        return definition.parse({"steps": [step("start_flow", flow=target)]})

    assert [path for path, _text in start_flow.loops("a", starting("a"))] == ["s1.flow"]
    world.flow([WAIT], slug="c", trigger={"kind": "api"})
    world.flow([step("start_flow", flow="c")], slug="b")
    assert start_flow.loops("a", starting("b")) == []
    assert start_flow.loops("c", starting("b"))
    assert start_flow.loops("c", starting("gone")) == []
    FlowVersion.objects.filter(flow__slug="b").update(definition={"unheard": "start_flow"})
    assert start_flow.loops("c", starting("b")) == []


def test_settings(world):
    other = world.flow([WAIT], slug="other", trigger={"kind": "api"})
    assert problems("start_flow", flow="gone") == {"flow"}
    assert problems("start_flow", flow="other") == set()
    assert form_of("start_flow", {"flow": "other"}) == {"flow": "other"}
    Flow.objects.filter(pk=other.pk).update(state="paused")
    assert problems("start_flow", flow="other") == {"flow"}
