"""Steps that write about people: their profile, their lists and what they agreed to."""

import threading

import pytest
from django.db import connection, transaction

from campaigns.flows import contention, engine
from campaigns.models import Decision, Enrollment, Segment, SegmentMembership
from campaigns.segments import lists
from crm import consent
from crm.models import Consent, ConsentChange, Profile, Topic
from tests.campaigns.flows.standing import advance, facts, form_of, problems, queries, rehearsed, stand, step
from tests.crm.concurrently import run


def event(**properties):
    return {"event": {"properties": properties}}


@pytest.fixture
def meanwhile():
    """While another batch of the engine holds a person, do something."""

    def doing(profile_id, work):
        held, done = threading.Event(), threading.Event()

        def holder():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT FROM crm_profile WHERE id = %s FOR KEY SHARE", [profile_id])
                held.set()
                assert done.wait(30)

        def worker():
            try:
                assert held.wait(30)
                work()
            finally:
                done.set()

        run(holder, worker)

    return doing


class TestUpdate:
    SET = {
        "attributes.plan": {"from": "event.properties.plan"},
        "attributes.visits": {"add": 0.2},
        "attributes.old": None,
        "lifecycle_stage": "customer",
    }

    def test_values_of_all_kinds_are_written_and_say_who_told_them(self, world):
        ann = world.person("ann")
        Profile.objects.filter(pk=ann).update(attributes={"visits": 0.1, "old": "x", "kept": True})
        people = [(ann, event(plan="gold"))]
        foreseen = rehearsed(world, "update", {"set": self.SET}, people)
        stand(world, world.flow([step("update", set=self.SET)]), people)
        advance(world)
        profile = Profile.objects.get(pk=ann)
        assert profile.attributes == {"visits": 0.3, "plan": "gold", "kept": True}
        assert profile.lifecycle_stage == "customer"
        assert profile.sources["attributes.plan"][0] == profile.sources["lifecycle_stage"][0] == "flow"
        assert facts() == foreseen

    def test_what_one_cannot_have_is_noted_and_the_others_get_theirs(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        Profile.objects.filter(pk=ann).update(attributes={"visits": "many"})
        wanted = {
            "attributes.visits": {"add": 1},
            "birthday": {"from": "event.properties.born"},
            "attributes.plan": {"from": "event.properties.plan"},
        }
        flow = world.flow([step("update", set=wanted)])
        stand(world, flow, [(ann, event(born="yesterday")), (bob, event(born="1990-05-04", plan="gold"))])
        advance(world)
        assert Profile.objects.get(pk=ann).attributes == {"visits": "many"}
        assert Profile.objects.get(pk=bob).attributes == {"visits": 1, "plan": "gold"}
        assert str(Profile.objects.get(pk=bob).birthday) == "1990-05-04"
        [told] = facts(profile_id=ann)
        assert set(told["refused"]) == {"attributes.visits", "birthday"}
        assert told["missing"] == ["attributes.plan"]
        assert set(Enrollment.objects.values_list("state", flat=True)) == {"completed"}

    def test_two_runs_of_a_person_add_twice_and_each_of_them_once(self, world):
        ann = world.person("ann")
        add = step("update", set={"attributes.carts": {"add": 1}})
        stand(world, world.flow([add, step("wait", "s2", amount=1)]), [(ann, {}), (ann, {})])
        advance(world)
        assert Profile.objects.get(pk=ann).attributes == {"carts": 2}
        Enrollment.objects.update(step="s1", step_state={}, due_at=world.now)  # as by moving to a new version
        advance(world)
        assert Profile.objects.get(pk=ann).attributes == {"carts": 2}

    def test_a_batch_takes_as_many_queries_as_one_person(self, world):
        flow = world.flow([step("update", set=self.SET)])
        people = [(world.person(f"p{number}"), event(plan="gold")) for number in range(20)]
        queries(world, flow, people[:1])
        assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])
        assert Profile.objects.filter(attributes__plan="gold").count() == 20

    def test_nobody_is_waited_for(self, world, meanwhile):
        ann, bob = world.person("ann"), world.person("bob")
        stand(world, world.flow([step("update", set={"attributes.a": 1})]), [(ann, {}), (bob, {})])
        meanwhile(ann, lambda: engine.advance(world.now))
        assert Enrollment.objects.get(profile_id=ann).step_state["reason"] == contention.BUSY
        assert Profile.objects.get(pk=bob).attributes == {"a": 1}
        assert Profile.objects.get(pk=ann).attributes == {}
        advance(world, seconds=2)
        assert Profile.objects.get(pk=ann).attributes == {"a": 1}

    def test_settings(self, world):
        assert problems("update") == {"set"}
        wrong = {
            "email": "a@x.com",
            "plan": 1,
            "attributes.": 1,
            "birthday": "soon",
            "city": {"add": 1},
            "attributes.x": {"sub": 1},
        }
        assert problems("update", set=wrong) == {f"set.{name}" for name in wrong}
        assert problems("update", set=self.SET) == set()
        assert form_of("update", {"set": self.SET}) == {"set": self.SET}


class TestLists:
    def test_people_come_onto_a_list_and_leave_it(self, world):
        vips = lists.create("VIPs")
        flow = world.flow([step("list_change", list="vips", do="add")])
        leaving = world.flow([step("list_change", list="vips", do="remove")], slug="leaving")
        people = [(world.person(f"p{number}"), {}) for number in range(9)]
        foreseen = rehearsed(world, "list_change", {"list": "vips", "do": "add"}, people[:1])
        assert not SegmentMembership.objects.exists()
        queries(world, flow, people[:1])
        assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])
        assert facts()[:1] == foreseen
        assert SegmentMembership.objects.filter(segment=vips).count() == 9
        assert world.names(people[0][0]) == ["segment_entered", "flow_completed"]
        stand(world, leaving, people[:4])
        stand(world, flow, people[3:])
        advance(world)
        assert set(SegmentMembership.objects.values_list("profile_id", flat=True)) >= {
            p for p, _ in people[4:]
        }
        assert not SegmentMembership.objects.filter(profile_id=people[0][0]).exists()

    def test_settings(self, world):
        Segment.objects.create(slug="rule", name="Rule", rule={"all": []})
        lists.create("VIPs")
        assert problems("list_change", list="rule") == problems("list_change", list="gone") == {"list"}
        assert problems("list_change", list="vips") == set()
        config = {"list": "vips", "do": "remove"}
        assert form_of("list_change", config) == config


class TestConsent:
    YES = {"topic": "news", "state": "subscribed", "wording": "Send me news", "legal_basis": "consent"}

    @pytest.fixture(autouse=True)
    def _news(self, world):
        Topic.objects.create(slug="news", name="News")

    def say(self, world, profile_id, state, source="person", key="news", **parts):
        change = consent.Change(profile_id, "topic", key, state, source, world.now, **parts)
        consent.record([change])

    def test_a_yes_is_given_only_to_who_has_not_said_no(self, world):
        names = ("never asked", "no", "pending", "yes", "no by flow")
        people = [world.person(name) for name in names]
        for profile_id, state, source in zip(
            people[1:],
            ("unsubscribed", "pending", "subscribed", "unsubscribed"),
            ("person", "sdk", "sdk", "flow"),
            strict=True,
        ):
            self.say(world, profile_id, state, source, wording="theirs")
        before = Consent.objects.count()
        foreseen = rehearsed(world, "consent", self.YES, [(pk, {}) for pk in people])
        assert Consent.objects.count() == before
        world.now += engine.timedelta(hours=1)
        stand(world, world.flow([step("consent", **self.YES)]), [(pk, {}) for pk in people])
        advance(world)
        held = dict(Consent.objects.values_list("profile_id", "state"))
        assert [held[pk] for pk in people] == [
            *("subscribed", "unsubscribed", "pending", "subscribed", "unsubscribed")
        ]
        given = ConsentChange.objects.get(source="flow", state="subscribed")
        assert (given.profile_id, given.wording) == (people[0], "Send me news")
        assert Consent.objects.get(profile_id=people[3]).source == "sdk"
        assert sorted(facts(), key=str) == sorted(foreseen, key=str)
        told = {pk: facts(profile_id=pk)[0].get("refused") for pk in people}
        assert list(told.values()) == [None, "said no", "not confirmed yet", "already so", "said no"]

    def test_a_no_is_written_once_and_its_own_words_stay(self, world):
        ann, bob = world.person("ann"), world.person("bob")
        self.say(world, ann, "subscribed")
        self.say(world, bob, "unsubscribed", wording="I am fed up")
        world.now += engine.timedelta(hours=1)
        config = {"topic": "news", "state": "unsubscribed"}
        stand(world, world.flow([step("consent", **config)]), [(ann, {}), (bob, {})])
        advance(world)
        assert Consent.objects.get(profile_id=ann).state == "unsubscribed"
        held = Consent.objects.get(profile_id=bob)
        assert (held.source, held.wording) == ("person", "I am fed up")
        assert ConsentChange.objects.filter(source="flow").count() == 1
        assert "consent_changed" in world.names(ann)

    def test_a_no_that_is_said_at_this_moment_wins(self, world):
        """Whoever is just writing the answer down is asked again behind it."""
        ann = world.person("ann")
        world.happens(ann, "visited")  # so that the log has room for this month
        config = {"channel": "webpush", "state": "subscribed"}
        flow = world.flow([step("consent", **config)])
        stand(world, flow, [(ann, {})])
        held, done = threading.Event(), threading.Event()

        def person():
            with transaction.atomic():
                consent.record(
                    [consent.Change(ann, "channel", "webpush", "unsubscribed", "person", world.now)]
                )
                held.set()
                assert done.wait(30)

        def worker():
            try:
                assert held.wait(30)
                engine.advance(world.now)
            finally:
                done.set()

        run(person, worker)
        assert Decision.objects.get(kind="consent:wait").detail["reason"] == contention.BUSY
        advance(world, seconds=2)
        assert Consent.objects.get().state == "unsubscribed"
        assert facts()[0]["refused"] == "said no"

    def test_a_no_that_is_stored_behind_the_yes_of_a_flow_is_the_newer_one(self, world, monkeypatch):
        ann = world.person("ann")
        stand(world, world.flow([step("consent", **self.YES)]), [(ann, {})])
        real, said = consent.record, world.now - engine.timedelta(seconds=1)

        def answer():
            real([consent.Change(ann, "topic", "news", "unsubscribed", "person", said)])
            connection.close()

        person = threading.Thread(target=answer)

        def record(changes, *rest):
            if not person.ident:
                person.start()
            return real(changes, *rest)

        monkeypatch.setattr(consent, "record", record)
        engine.advance(world.now)
        person.join(30)
        advance(world, seconds=2)
        assert Consent.objects.get().state == "unsubscribed"

    def test_a_batch_takes_as_many_queries_as_one_person(self, world):
        flow = world.flow([step("consent", **self.YES)])
        people = [(world.person(f"p{number}"), {}) for number in range(20)]
        queries(world, flow, people[:1])
        assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])
        assert Consent.objects.filter(state="subscribed").count() == 20

    def test_settings(self, world):
        assert problems("consent", state="subscribed") == {"about"}
        assert problems("consent", state="subscribed", topic="news", channel="webpush") == {"about"}
        assert problems("consent", state="unsubscribed", topic="gone") == {"about"}
        assert problems("consent", state="unsubscribed", channel="pigeon") == {"about"}
        assert problems("consent", **self.YES) == set()
        config = {"topic": "news", "state": "subscribed", "wording": "Yes", "legal_basis": "contract"}
        assert form_of("consent", config) == config
        config = {"channel": "webpush", "state": "unsubscribed"}
        assert form_of("consent", config) == config
