"""What every kind of step must do. A new kind needs an entry in SAMPLES, and what it refers to in `shop`."""

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.forms import CheckboxSelectMultiple
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from campaigns.flows import steps
from campaigns.flows.definition import Branch, Step
from campaigns.flows.steps.base import StepKind
from campaigns.models import Enrollment, Flow, FlowVersion, Segment
from crm import connectors, consent
from crm.models import Connection, Profile
from delivery.models import CouponCode, CouponPool, Message, MessageContent
from tests.campaigns.flows.stepping import held, run_of

NOW = datetime(2026, 5, 4, 10, tzinfo=UTC)
BOUGHT = {"kind": "event", "name": "purchase"}
TWO = [Branch(name="One"), Branch(name="Other")]
SLOW = {"timeout": {"amount": 2, "unit": "days"}}

# Settings of each kind, in the shape in which its form stores them, with the branches that they need.
SAMPLES: dict[str, list[tuple[dict[str, Any], list[Branch]]]] = {
    "message": [
        ({"message": "hello", "channel": "webpush"}, []),
        ({"message": "hello", "channels": "preferred"}, []),
        (
            {
                "message": "hello",
                "chain": [
                    {"channel": "webpush", "wait": {"minutes": 30}, "unless": "clicked"},
                    {"channel": "inapp"},
                ],
            },
            [],
        ),
    ],
    "wait": [
        ({"amount": 2, "unit": "days"}, []),
        ({"until": "time", "at": "09:30", "days": [1, 5]}, []),
        ({"until": "time", "days": [7]}, []),
        ({"until": "date", "property": "starts.at", "offset": {"hours": -24}, "if_past": "leave"}, []),
        (
            {
                "until": "date",
                "field": "birthday",
                "offset": {"days": 2},
                "yearly": True,
                "at": "08:00",
                "if_past": "go_on",
            },
            [],
        ),
        ({"until": "best_hour", "within_hours": 36}, []),
    ],
    "wait_for": [
        ({**SLOW, "events": [{"name": "purchase"}]}, TWO),
        ({**SLOW, "events": [{"name": "purchase"}], "since": "entry"}, TWO),
        ({**SLOW, "rule": BOUGHT}, TWO),
    ],
    "split": [({"name": "Bought?"}, [Branch(name="Yes", rule=BOUGHT), Branch(name="No")])],
    "random": [({"name": "Short?"}, [Branch(name="A", percent=30), Branch(name="B", percent=70)])],
    "exit": [({"reason": "has bought"}, []), ({}, [])],
    "update": [({"set": {"attributes.plan": "gold", "attributes.seen": {"add": 1}, "city": None}}, [])],
    "list_change": [({"list": "friends", "do": "add"}, []), ({"list": "friends", "do": "remove"}, [])],
    "consent": [
        ({"state": "unsubscribed", "channel": "webpush"}, []),
        ({"state": "subscribed", "channel": "inapp", "wording": "Yes", "legal_basis": "contract"}, []),
    ],
    "crm_write": [
        ({"connection": "all", "fields": {"Level": {"from": "event.properties.plan"}, "Score": 7}}, []),
    ],
    "webhook": [
        ({"url": "https://hooks.example.com/a"}, []),
        (
            {
                "url": "https://hooks.example.com/b",
                "method": "PUT",
                "headers": {"X-Shop": "ours"},
                "body": {"plan": {"from": "event.properties.plan"}},
                "reply": {"attributes.score": "result.score"},
                "wait_minutes": 30,
            },
            [],
        ),
    ],
    "start_flow": [({"flow": "other"}, [])],
    "coupon": [({"pool": "spring", "if_empty": "go_on"}, []), ({"pool": "spring", "if_empty": "wait"}, [])],
}

each_kind = pytest.mark.parametrize("name", sorted(steps.registry))
each_sample = pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name in sorted(steps.registry) for number in range(len(SAMPLES.get(name, [None])))],
)


def sample(name: str, number: int = 0) -> Step:
    config, branches = SAMPLES[name][number]
    return Step(key="s", kind=name, config=config, branches=branches)


@pytest.fixture
def shop(db) -> Flow:
    """What the samples refer to."""
    cache.clear()
    hello = Message.objects.create(slug="hello", name="Hello")
    for channel in ("webpush", "inapp"):
        MessageContent.objects.create(message=hello, channel=channel, content={"title": "Hello"})
    Segment.objects.create(slug="friends", name="Friends", kind=Segment.Kind.LIST, rule={})
    pool = CouponPool.objects.create(slug="spring", name="Spring")
    CouponCode.objects.bulk_create([CouponCode(pool=pool, code=f"c{number}") for number in range(40)])
    crm = connectors.kinds()["hubspot"]
    people = next(each.name for each in crm.objects if each.role == "person")
    Connection.objects.create(slug="crm", name="CRM", kind="hubspot", state="live", mapping={people: {}})
    other = Flow.objects.create(slug="other", name="Other", state=Flow.State.LIVE)
    definition = {
        "trigger": {"kind": "api"},
        "steps": [{"key": "x", "kind": "exit"}],
        "reentry": {"mode": "always"},
    }
    other.live_version = FlowVersion.objects.create(
        flow=other, number=1, definition=definition, published_at=NOW
    )
    other.save()
    return Flow.objects.create(slug="flow", name="Flow")


def inside(flow: Flow, number: int, stored: bool = True) -> list[Any]:
    """So many new people at the step; their runs are stored, or have numbers of nobody."""
    people = Profile.objects.bulk_create(
        [Profile(first_name="Ann", attributes={"seen": 1}) for _n in range(number)]
    )
    consent.record(
        [
            consent.Change(person.pk, consent.CHANNEL, "inapp", consent.SUBSCRIBED, "test", NOW)
            for person in people
        ]
    )
    context = {
        "event": {"id": "1", "name": "x", "occurred_at": NOW.isoformat(), "properties": {"plan": "gold"}}
    }
    if not stored:
        return [
            run_of(person.pk, number=-person.pk, flow_id=flow.pk, context=context, flow=flow.slug)
            for person in people
        ]
    version, _new = FlowVersion.objects.get_or_create(
        flow=flow, number=1, defaults={"definition": {}, "published_at": NOW}
    )
    runs = Enrollment.objects.bulk_create(
        [
            Enrollment(
                flow=flow, version=version, profile=person, run_key="once", entered_at=NOW, context=context
            )
            for person in people
        ]
    )
    return [
        run_of(run.profile_id, number=run.pk, flow_id=flow.pk, context=context, flow=flow.slug)
        for run in runs
    ]


class Drawn(HTMLParser):
    """What a browser sends of a form as it is drawn."""

    def __init__(self, html: str):
        super().__init__()
        self.posted = QueryDict(mutable=True)
        self.select: tuple[str, bool] = ("", False)
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        name, kind = given.get("name") or "", given.get("type", "text")
        if tag == "select":
            self.select = (name, False)
        elif tag == "option" and self.select[0] and ("selected" in given or not self.select[1]):
            if self.select[1]:
                self.posted.setlist(self.select[0], [])
            # Without a choice a browser sends the first option.
            self.posted.setlist(self.select[0], [given.get("value") or ""])
            self.select = (self.select[0], True)
        elif tag == "textarea":
            self.text = name
            self.posted.setlistdefault(name, [""])
        elif tag == "input" and name and (kind not in ("checkbox", "radio") or "checked" in given):
            self.posted.appendlist(name, given.get("value", "on" if kind == "checkbox" else "") or "")

    def handle_endtag(self, tag):
        if tag == "select":
            self.select = ("", False)
        elif tag == "textarea":
            self.text = ""

    def handle_data(self, data):
        if self.text:
            self.posted.setlist(self.text, [self.posted[self.text] + data.removeprefix("\n")])


@each_kind
def test_it_is_described_and_has_samples(name):
    kind = steps.registry[name]
    assert kind.kind == name
    for words in (kind.label, kind.icon, kind.help):
        assert str(words).strip()
    assert SAMPLES.get(name), "add settings of this kind to SAMPLES"
    assert kind.pure is (type(kind).rehearse is StepKind.rehearse), (
        "what is not pure has a rehearse of its own"
    )
    assert all(field.label for field in kind.Form.base_fields.values())
    # The theme's own list of boxes drops what is to be shown only with other answers.
    widgets = {type(field.widget) for field in kind.Form.base_fields.values()} - {CheckboxSelectMultiple}
    assert all(widget.__module__.startswith(("unfold.", "campaigns.")) for widget in widgets)


@each_sample
def test_what_its_form_draws_comes_back_as_it_was(shop, name, number):
    kind, step = steps.registry[name], sample(name, number)
    form = kind.Form(initial=kind.initial(step.config))
    posted = Drawn(form.as_div()).posted
    bound = kind.Form(posted)
    assert bound.is_valid(), bound.errors
    edited_beside = {
        key: step.config[key] for key in (kind.rule_field, kind.events_field) if key in step.config
    }
    stored = {**kind.stored(bound.cleaned_data), **edited_beside}
    assert stored == step.config
    assert kind.problems(step) == []
    assert kind.initial(stored) == kind.initial(step.config)
    assert Drawn(kind.Form(initial=kind.initial(step.config)).as_div()).posted == posted


@each_kind
def test_an_empty_form_and_unfinished_settings_are_no_failure(shop, name):
    kind, whole = steps.registry[name], sample(name)
    assert Drawn(kind.Form(initial=kind.initial({})).as_div()).posted is not None
    kind.Form(QueryDict()).is_valid()
    spoilt = [{}, {"unknown": 1}] + [
        {**whole.config, key: value}
        for key in whole.config
        for value in (None, 17, -1, "", "?", [], [1], {}, {"x": 1}, [{}], True)
    ]
    for config in spoilt:
        step = Step(key="s", kind=name, config=config, branches=whole.branches)
        assert isinstance(kind.problems(step), list)
        assert isinstance(kind.summary(step), str)
        Drawn(kind.Form(initial=kind.initial(config)).as_div())
    assert kind.problems(Step(key="s", kind=name, config={"unknown": 1}, branches=whole.branches))


@each_sample
def test_it_answers_for_everybody_in_json(shop, name, number):
    kind, step = steps.registry[name], sample(name, number)
    people = inside(shop, 3)
    outcomes = kind.run(step, people, NOW)
    assert outcomes.keys() == {person.enrollment_id for person in people}
    for person in people:
        outcome = outcomes[person.enrollment_id]
        assert outcome.kind in ("go_on", "wait", "leave", "skipped")
        assert outcome.branch is None or outcome.branch < len(step.branches)
        assert outcome.until is None or outcome.until > NOW
        assert (outcome.until is not None) is (outcome.kind == "wait")
        for told in (outcome.facts, outcome.context):
            assert json.loads(msgspec.json.encode(told)) == json.loads(json.dumps(told))
        assert kind.told(step, outcome.kind, outcome.facts).strip()
        assert kind.told(step, outcome.kind, {}).strip()
        if outcome.kind == "wait":
            again = kind.run(step, [held(person, outcome)], NOW)[person.enrollment_id]
            assert again.kind == "wait"
    assert isinstance(kind.wakes(step), frozenset)
    if kind.ends:
        assert {outcome.kind for outcome in outcomes.values()} == {"leave"}


@each_sample
def test_a_rehearsal_tells_the_same_and_changes_nothing(shop, name, number):
    kind, step = steps.registry[name], sample(name, number)
    people = inside(shop, 3)
    nobody = [
        run_of(one.profile_id, -one.enrollment_id, flow_id=one.flow_id, context=one.context, flow=one.flow)
        for one in people
    ]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_read_only = on")  # until this savepoint is rolled back
        rehearsed = kind.rehearse(step, nobody, NOW)
        transaction.set_rollback(True)
    outcomes = kind.run(step, people, NOW)
    for person in people:
        told, done = rehearsed[-person.enrollment_id], outcomes[person.enrollment_id]
        if not kind.pure and done.kind == "wait" and told.kind == "go_on":
            continue  # run waits for what others answer; nobody is asked in a rehearsal
        assert (told.kind, told.branch) == (done.kind, done.branch)
        assert told.facts.keys() >= done.facts.keys() - {"queued", "until"}


@each_sample
def test_many_people_take_as_many_queries_as_one(shop, name, number):
    kind, step = steps.registry[name], sample(name, number)
    for does, stored in ((kind.run, True), (kind.rehearse, False)):
        does(step, inside(shop, 1, stored), NOW)  # what is kept once it was asked is asked
        counts = set()
        for size in (1, 10):
            people = inside(shop, size, stored)
            with CaptureQueriesContext(connection) as captured:
                does(step, people, NOW)
            counts.add(len(captured))
        assert len(counts) == 1


@pytest.mark.parametrize("name", sorted(name for name, kind in steps.registry.items() if kind.pure))
def test_a_pure_kind_gives_the_same_answer_twice(shop, name):
    kind, step = steps.registry[name], sample(name)
    people = inside(shop, 2)
    later = NOW + timedelta(minutes=1)
    assert kind.run(step, people, later) == kind.run(step, people, later)
