"""Publishing with choices, approval, people inside, enrolling, why, versions and copies, as the admin does them."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from campaigns.flows import catching_up, editing, publish
from campaigns.models import Enrollment, Flow, FlowJob, FlowSettings, Segment, SegmentMembership
from crm import log
from crm.models import ApiKey, AuditEntry, Identifier, Profile
from delivery.models import Delivery
from tests.campaigns.admin.asking import inside, latest, post, text, url
from tests.campaigns.admin.conftest import client_with

RIGHTS = ("view_flow", "add_flow", "change_flow", "publish_flow", "enroll_flow")


@pytest.fixture
def boss(db):
    return client_with(
        *(f"campaigns.{right}" for right in RIGHTS), "crm.view_profile", "crm.view_contact_data"
    )


@pytest.fixture
def live(flow) -> Flow:
    publish.publish(flow.pk)
    return latest(flow)


def remove(flow: Flow, *keys: str) -> Flow:
    draft = flow.draft
    for key in keys:
        draft = editing.remove(draft, key)[0]
    return editing.save(flow.pk, latest(flow).revision, lambda _old: draft)


class TestPublishing:
    def test_people_move_where_the_dialog_says(self, live, boss):
        inside(live, 2)
        inside(live, 3, "m1")
        remove(live, "w1")
        shown = text(boss.get(url("publish", live)))
        assert "5 people are inside" in shown
        assert "2 people at “Wait: 1 minute” go to" in shown
        post(boss, url("publish", live), live, people="move", **{"to-w1": "-"})
        assert set(live.enrollments.values_list("state", "version__number")) == {("exited", 1), ("active", 2)}
        assert live.enrollments.filter(state="active", step="m1").count() == 3
        assert AuditEntry.objects.get(action="flow.published", detail__version=2).detail["people"] == "move"

    def test_a_step_that_is_not_there_is_refused_in_words(self, live, boss):
        inside(live, 1)
        remove(live, "w1")
        answer = post(boss, url("publish", live), live, people="move", **{"to-w1": "gone"})
        assert "no step" in answer["HX-Trigger"]
        assert latest(live).live_version.number == 1

    def test_a_second_person_approves(self, flow, boss):
        FlowSettings(approval_required=True).save()
        other = client_with("campaigns.view_flow", "campaigns.publish_flow")
        assert "Ask for approval" in text(boss.get(url("publish", flow)))
        assert "approve this draft" in post(boss, url("publish", flow), flow)["HX-Trigger"]
        post(boss, url("ask_approval", flow), flow, note="Please look")
        assert "Please look" in text(other.get(url("publish", flow)))
        assert 'data-testid="approve"' not in text(boss.get(url("publish", flow)))
        assert (
            "Another person" in post(boss, url("answer_approval", flow), flow, answer="approve")["HX-Trigger"]
        )
        post(other, url("answer_approval", flow), flow, answer="approve")
        post(boss, url("publish", flow), flow)
        assert latest(flow).state == Flow.State.LIVE

    def test_only_administrators_change_the_setting(self, boss):
        page = reverse("admin:campaigns_flowsettings_change", args=[1])
        assert boss.post(page, {"approval_required": "on"}).status_code == 403
        admin = client_with("campaigns.change_flowsettings", "campaigns.view_flowsettings")
        admin.post(page, {"approval_required": "on"})
        assert FlowSettings.load().approval_required


class TestStates:
    def test_pausing_tells_how_many_messages_would_be_lost(self, live, boss, message):
        inside(live, 1)
        now = timezone.now()
        person = Profile.objects.first()
        for hours in (0.5, 20, 100):
            Delivery.objects.create(
                cause=f"flow:1:{hours}", message=message, profile=person, channel="webpush",
                origin_type="flow", origin_id=live.pk, queued_at=now, due_at=now,
                expires_at=now + timezone.timedelta(hours=hours),
            )  # fmt: skip
        shown = text(boss.get(url("pause", live)))
        assert "3 messages wait" in shown
        assert "after an hour 1, after a day 2, after a week 3" in shown
        post(boss, url("pause", live), live)
        Delivery.objects.filter(cause="flow:1:0.5").update(expires_at=now)
        assert "1 message is too late" in text(boss.get(url("resume", live)))
        assert AuditEntry.objects.filter(action="flow.paused").count() == 1

    def test_letting_people_finish(self, live, boss):
        inside(live, 2)
        assert "2 people inside go on to the end" in text(boss.get(url("finish", live)))
        post(boss, url("finish", live), live)
        assert latest(live).state == Flow.State.FINISHING
        assert "Only a live or paused" in post(boss, url("finish", live), live)["HX-Trigger"]
        assert "The flow is finishing" in text(boss.get(url("publish", live)))

    def test_nobody_without_the_permission_does_any_of_it(self, live, viewer, editor):
        for name in ("pause", "resume", "finish", "stop", "publish", "answer_approval"):
            assert editor.post(url(name, live), {"revision": 0}).status_code == 403
        inside(live, 1)
        run = live.enrollments.get()
        for address in (
            url("end_run", live, run=run.pk), url("ask_approval", live), url("enroll", live),
            url("restore", live, number=1), url("duplicate", live),
        ):  # fmt: skip
            assert viewer.post(address, {"revision": 0}).status_code == 403, address
        assert latest(live).state == Flow.State.LIVE
        run.refresh_from_db()
        assert run.state == "active"


class TestPeople:
    def test_looking_through_and_ending_a_run(self, live, boss):
        inside(live, 3)
        inside(live, 1, "m1")
        page = url("inside", live)
        assert text(boss.get(page)).count('data-testid="run"') == 4
        assert text(boss.get(page + "?step=m1")).count('data-testid="run"') == 1
        assert text(boss.get(page + "?state=exited")).count('data-testid="run"') == 0
        assert text(boss.get(page + "?q=Person+002")).count('data-testid="run"') == 1
        assert text(boss.get(page + "?version=7")).count('data-testid="run"') == 0
        run = live.enrollments.filter(step="m1").get()
        boss.post(url("end_run", live, run=run.pk), {"note": "asked us to", "shown": "step=m1"})
        run.refresh_from_db()
        assert (run.state, run.reason) == ("exited", "ended by hand")
        assert "Somebody ended their run by hand" in text(boss.get(page + "?state=exited"))
        assert AuditEntry.objects.get(action="flow.run_ended").detail == {"flow": "welcome", "run": run.pk}

    def test_the_number_of_queries_does_not_grow(self, live, boss, django_assert_max_num_queries):
        inside(live, 1)
        boss.get(url("inside", live))
        inside(live, 40)
        with django_assert_max_num_queries(30):
            boss.get(url("inside", live))

    def test_enrolling_named_people_shows_the_numbers_first(self, live, boss):
        people = Profile.objects.bulk_create([Profile(first_name=f"P{n}") for n in range(2)])
        Identifier.objects.create(profile=people[0], kind="external_id", value="c-1")
        typed = f"c-1\n#{people[1].pk}\nnobody@example.com"
        shown = text(boss.post(url("enroll", live), {"people": typed}))
        assert "2 people are meant" in shown
        assert "nobody@example.com" in shown
        assert not Enrollment.objects.exists()
        boss.post(url("enroll", live), {"people": typed, "sure": "1"})
        assert Enrollment.objects.filter(flow=live, profile__in=people).count() == 2
        again = boss.post(url("enroll", live), {"people": typed, "sure": "1"}, follow=True)
        assert "2 people were not let in" in text(again)
        assert Enrollment.objects.count() == 2
        assert AuditEntry.objects.filter(action="flow.enrolled").first().detail == {"people": 2}

    def test_enrolling_a_segment(self, live, boss):
        people = Profile.objects.bulk_create([Profile() for _n in range(4)])
        segment = Segment.objects.create(slug="vip", name="VIP", rule={"all": []})
        SegmentMembership.objects.bulk_create(
            [
                SegmentMembership(segment=segment, profile=each, entered_at=timezone.now())
                for each in people[:3]
            ]
        )
        assert "3 people are meant" in text(boss.post(url("enroll", live), {"segment": "vip"}))
        boss.post(url("enroll", live), {"segment": "vip", "sure": "1"})
        assert Enrollment.objects.count() == 3
        job = FlowJob.objects.get()
        assert (job.state, job.done, job.details) == ("done", 3, {})

    def test_a_paused_flow_lets_nobody_in_by_hand(self, live, boss):
        person = Profile.objects.create()
        publish.pause(live.pk)
        boss.post(url("enroll", live), {"people": f"#{person.pk}", "sure": "1"})
        assert not Enrollment.objects.exists()


class TestWhy:
    def test_asked_on_the_flow_and_on_the_person(self, live, boss):
        inside(live, 1)
        person = Profile.objects.get()
        shown = text(boss.get(url("why", live) + f"?person=%23{person.pk}"))
        assert "They are inside since" in shown
        assert "What happens next" in shown
        assert "push_subscribed" in shown
        assert AuditEntry.objects.get(action="flow.why_asked").object_id == str(person.pk)
        listed = text(boss.get(reverse("admin:campaigns_flow_why_person", args=[person.pk])))
        assert "Welcome" in listed
        assert "inside" in listed

    def test_who_may_not_see_people_gets_no_answer(self, live, viewer):
        inside(live, 1)
        person = Profile.objects.get()
        shown = text(viewer.get(url("why", live) + f"?person=%23{person.pk}"))
        assert "You may not see people" in shown
        assert "Person 000" not in shown
        assert viewer.get(reverse("admin:campaigns_flow_why_person", args=[person.pk])).status_code == 403

    def test_nobody_of_that_name(self, live, boss):
        assert "Nobody has this email" in text(boss.get(url("why", live) + "?person=none@example.com"))


class TestVersions:
    def test_an_old_version_becomes_the_draft_again(self, live, boss):
        before = live.draft
        remove(live, "w1")
        publish.publish(live.pk, User.objects.create_user("Ann"))
        shown = text(boss.get(url("versions", live)))
        assert "Version 2" in shown
        assert "Ann" in shown
        assert "Wait: 1 minute" in shown
        page = url("restore", live, number=1)
        assert "Wait: 1 minute" in text(boss.get(page))
        boss.post(page, {"revision": latest(live).revision})
        assert latest(live).draft == before
        assert latest(live).live_version.number == 2
        assert boss.post(page, {"revision": 0}).status_code == 409

    def test_a_copy_is_a_draft_of_its_own(self, live, boss):
        answer = post(boss, url("duplicate", live), live)
        copy = Flow.objects.exclude(pk=live.pk).get()
        assert answer["HX-Redirect"].endswith(f"/{copy.pk}/builder/")
        assert (copy.draft, copy.state, copy.slug) == (live.draft, Flow.State.DRAFT, "copy-of-welcome")


def test_those_who_qualify_already_are_counted_and_let_in(flow, boss):
    person = Profile.objects.create()
    log.append([log.NewEvent(uuid.uuid4(), person.pk, "push_subscribed", timezone.now(), {}, "test")])
    assert "Also those who qualify already" in text(boss.get(url("publish", flow)))
    assert text(boss.get(url("catching", flow) + "?days=7")) == "1 person"
    post(boss, url("publish", flow), flow, who="also", days="7")
    catching_up.work(5)
    assert Enrollment.objects.get().profile_id == person.pk


def test_flows_that_would_start_each_other_are_not_published(live, boss):
    step = {"key": "again", "kind": "start_flow", "config": {"flow": "welcome"}}
    editing.save(live.pk, 0, lambda draft: editing.insert(draft, "", 0, step))
    shown = text(post(boss, url("publish", live), live))
    assert "start each other again and again" in shown
    assert "goTo('step-again')" in shown
    assert latest(live).live_version.number == 1


def test_what_an_api_key_does_is_told_in_the_audit_log(flow):
    key = ApiKey.objects.create(name="shop", prefix="x", digest=b"x", scopes=["write"])
    assert publish.publish(flow.pk, key).published_by is None
    assert AuditEntry.objects.get(action="flow.published").actor == "shop"


def test_a_failing_step_is_told_and_tried_again(live, boss, viewer):
    inside(live, 1)
    later = timezone.now() + timedelta(days=1)
    Enrollment.objects.update(step_state={"error": True}, due_at=later)
    Flow.objects.update(error="w1: no answer")
    assert 'data-testid="flow-trouble"' in text(boss.get(url("builder", live)))
    told = text(boss.get(url("trouble", live)))
    assert "no answer" in told
    assert 'id="confirm-retry"' in told
    assert 'id="confirm-retry"' not in text(viewer.get(url("trouble", live)))
    assert post(viewer, url("trouble", live), live).status_code == 403
    assert Enrollment.objects.get().due_at == later
    assert post(boss, url("trouble", live), live).status_code == 200
    assert Enrollment.objects.get().due_at < later


def test_the_first_publishing_tells_which_messages_go_out(flow, boss, message):
    assert f"<bdi>{message.name}</bdi>" in text(boss.get(url("publish", flow)))
