"""A draft tried on the past: what it says, that it changes nothing, and that it survives whoever works on it."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.flows import backtest
from campaigns.flows.backtest import simulation_of
from campaigns.flows.definition import DefinitionError
from campaigns.flows.simulated_counts import Result
from campaigns.models import Backtest, Flow
from crm import consent
from crm.models import Identifier, Profile
from delivery import vapid
from delivery.models import SendingRules
from tests.campaigns.admin.conftest import client_with
from tests.campaigns.flows.conftest import World

STEPS = [
    {"key": "s1", "kind": "wait", "config": {"amount": 2, "unit": "days"}},
    {
        "key": "s2",
        "kind": "split",
        "branches": [
            {
                "name": "looked",
                "rule": {"kind": "event", "name": "looked"},
                "steps": [
                    {"key": "s3", "kind": "message", "config": {"message": "hello", "channel": "inapp"}}
                ],
            },
            {"name": "else", "steps": []},
        ],
    },
]
PARTS = {
    "exit_on": [{"name": "ordered"}],
    "goal": {"name": "ordered", "within_days": 7, "value": "total", "exit": False},
    "reentry": {"mode": "never"},
}
OWN = {"campaigns_backtest", "django_session", "crm_logcursor"}


@pytest.fixture
def shop(world: World) -> World:
    """Three people of the last days: one looks, one orders while waiting, one comes too late to be done."""
    world.message.contents.create(
        channel="inapp", content={"title": "Hi", "text": "{{ profile.first_name }}"}
    )
    Flow.objects.create(
        slug="f",
        name="F",
        draft={"trigger": {"kind": "event", "name": "signed_up"}, "steps": STEPS, **PARTS},
    )
    day = timedelta(days=1)
    ann, bob, eve = people = [world.person(name) for name in ("ann", "bob", "eve")]
    for person in people:  # seen by the site's script, so in-app messages reach them
        Identifier.objects.create(profile_id=person, kind=Identifier.ANONYMOUS_ID, value=f"browser {person}")
    for person, ago in ((ann, 10 * day), (bob, 9 * day), (eve, day)):
        world.happens(person, "signed_up", world.now - ago)
    world.happens(ann, "looked", world.now - 9 * day)
    world.happens(bob, "ordered", world.now - 8 * day, total=30)
    world.happens(bob, "looked", world.now - day)
    world.happens(ann, "signed_up", world.now - 40 * day)  # before the days that are looked at
    world.people = people
    return world


def tried(world: World, days: int = 30) -> Result:
    job = backtest.start(Flow.objects.get(), days, "ann", world.now)
    assert not backtest.work(world.now)
    job.refresh_from_db()
    assert (job.state, job.progress, job.problem) == ("done", 1, "")
    result = backtest.read(job)
    assert result is not None
    return result


def checksums() -> dict[str, tuple]:
    """Number and content of all rows of each table but the job's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public' AND NOT c.relispartition"
        )
        found = {}
        for (table,) in cursor.fetchall():
            if table not in OWN:
                cursor.execute(f"SELECT count(*), sum(hashtext(t::text)) FROM {table} t")
                found[table] = cursor.fetchone()
        return found


def test_it_tells_who_would_have_come_and_what_they_would_have_got(shop):
    result = tried(shop)
    assert (result.starts, result.entered, result.people) == (3, 3, 3)
    assert (result.completed, result.exited, result.inside) == (1, 1, 1)
    assert result.reasons == {"ordered": 1}
    assert (result.steps["s1"].reached, result.steps["s1"].here, result.steps["s1"].left) == (3, 1, 1)
    assert result.steps["s2"].branches == {"looked": 1}
    assert (result.channels["inapp"].queued, result.channels["inapp"].sent) == (1, 1)
    assert (result.converted, result.value) == (1, 30)
    assert sum(day.entered for day in result.days.values()) == 3
    assert {example.profile_id for example in result.examples} == set(shop.people)


def test_rules_see_the_log_as_it_was_then(shop):
    """Bob looked, but only after he had passed the split."""
    Flow.objects.update(draft={**Flow.objects.get().draft, "exit_on": []})
    assert tried(shop).steps["s2"].branches == {"looked": 1, "else": 1}


def test_messages_are_stopped_for_the_reasons_of_sending(shop):
    ann = shop.people[0]
    consent.record([consent.Change(ann, "channel", "inapp", "unsubscribed", "test", shop.now)])
    channel = tried(shop).channels["inapp"]
    assert (channel.sent, channel.stopped) == (0, {"no consent": 1})


def test_limits_count_what_it_would_have_sent(shop):
    """Two messages within an hour, and the same one by two channels."""
    account = SendingRules.of_account()
    cap = account.caps.create(number=1, period="day", channel="inapp")
    hello = {"kind": "message", "config": {"message": "hello", "channel": "inapp"}}
    wait = {"kind": "wait", "config": {"amount": 1, "unit": "hours"}}
    draft = {"trigger": {"kind": "event", "name": "signed_up"}, "reentry": {"mode": "never"}}
    steps = [{**step, "key": f"t{place}"} for place, step in enumerate((hello, wait, hello))]
    Flow.objects.update(draft={**draft, "steps": steps, "when_limited": "skip"})
    channel = tried(shop).channels["inapp"]
    assert (channel.queued, channel.sent, channel.stopped) == (6, 3, {"limit: 1 a day by inapp": 3})

    Flow.objects.update(draft={**draft, "steps": steps})
    assert tried(shop).channels["inapp"].sent == 6  # put off until the next day

    cap.delete()
    account.collision, account.collision_hours = "sent", 24
    account.save()
    steps[2]["config"] = {"message": "hello", "channel": "memory"}
    Flow.objects.update(draft={**draft, "steps": steps})
    for person in shop.people:
        Profile.objects.filter(pk=person).update(email=f"p{person}@example.com")
        consent.record([consent.Change(person, "channel", "memory", "subscribed", "test", shop.now)])
    shop.message.contents.create(channel="memory", content={"text": "Hi"})
    channels = tried(shop).channels
    assert (channels["inapp"].sent, channels["memory"].stopped) == (3, {"sent by another channel": 3})


def test_nothing_changes_in_the_database(shop):
    vapid.public_key()  # every installation has one as soon as anybody is asked to subscribe
    before = checksums()
    tried(shop)
    assert checksums() == before
    with connection.cursor() as cursor:  # the log is the table again
        cursor.execute("SELECT count(*) FROM crm_event")
        assert cursor.fetchone() == (before["crm_event"][0],)


def test_of_very_many_a_stable_share_is_looked_at(shop):
    for number in range(40):
        shop.happens(shop.person(f"more{number}"), "signed_up", shop.now - timedelta(days=3))
    job = backtest.start(Flow.objects.get(), 30, "ann", shop.now)

    def of_some():
        simulation = simulation_of(job, most_starts=10)
        assert simulation.run()
        return simulation.result(), set(simulation.runs)

    result, people = of_some()
    assert result.share < 1
    assert 0 < result.entered <= 10
    assert 15 < result.entered / result.share < 120
    assert of_some()[1] == people


def test_the_number_of_queries_does_not_depend_on_the_number_of_people(shop):
    def queries(people: int) -> int:
        when = shop.now - timedelta(days=50 + 5 * people)
        for number in range(people):
            shop.happens(shop.person(f"{people} {number}"), "signed_up", when)
        flow = Flow.objects.get()
        until = when + timedelta(days=3)
        simulation = simulation_of(Backtest(flow=flow, definition=flow.draft, days=4, until=until))
        with CaptureQueriesContext(connection) as found:
            assert simulation.run()
        assert simulation.result().entered == people
        return len(found)

    queries(1)  # what is asked once and kept
    assert queries(2) == queries(20)


def test_a_worker_that_died_is_followed_by_another_three_times(shop):
    job = backtest.start(Flow.objects.get(), 7, "ann", shop.now)
    Backtest.objects.filter(pk=job.pk).update(tries=1, progress=0.4)
    backtest.work(shop.now)
    job.refresh_from_db()
    assert job.state == "done"
    Backtest.objects.filter(pk=job.pk).update(state="running", tries=backtest.TRIES)
    backtest.work(shop.now)
    job.refresh_from_db()
    assert job.state == "failed"
    assert "3 times" in job.problem


def test_it_can_be_cancelled_before_and_while_it_is_worked_out(shop, monkeypatch):
    job = backtest.start(Flow.objects.get(), 7, "ann", shop.now)
    monkeypatch.setattr(backtest, "TELL_EVERY", 0)
    monkeypatch.setattr(backtest.Pace, "give_way", lambda self: backtest.cancel(job, shop.now))
    assert not backtest.work(shop.now)
    job.refresh_from_db()
    assert (job.state, job.result) == ("cancelled", None)
    assert not backtest.cancel(job)


def test_only_a_draft_that_can_run_is_tried(shop):
    Flow.objects.update(draft={"steps": []})
    with pytest.raises(DefinitionError):
        backtest.start(Flow.objects.get(), 30)
    with pytest.raises(ValueError, match="90"):
        backtest.start(Flow.objects.get(), 91)


def test_the_page_asks_shows_and_cancels(shop, admin_client):
    url = reverse("admin:campaigns_flow_backtest", args=[Flow.objects.get().pk])
    assert "Try it" in admin_client.get(url).content.decode()
    answer = admin_client.post(url, {"days": "14"}, follow=True)
    job = Backtest.objects.get()
    assert "backtest-cancel" in answer.content.decode()
    status = reverse("admin:campaigns_flow_backtest_status", args=[job.flow_id, job.pk])
    assert "HX-Refresh" not in admin_client.get(status).headers
    backtest.work(job.until)
    assert admin_client.get(status).headers["HX-Refresh"] == "true"
    assert admin_client.get(url).status_code == 200
    Backtest.objects.filter(pk=job.pk).update(state="running")
    admin_client.post(reverse("admin:campaigns_flow_backtest_cancel", args=[job.flow_id, job.pk]))
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_the_page_shows_figures_steps_and_people(shop, admin_client, client, django_user_model):
    tried(shop)
    url = reverse("admin:campaigns_flow_backtest", args=[Flow.objects.get().pk])
    page = admin_client.get(url).content.decode()
    assert page.count('data-testid="backtest-step"') == 3
    assert page.count('data-testid="backtest-example"') == 3
    assert json.loads(page.split('id="backtest-days-data"')[1].split(">", 1)[1].split("</script>")[0])[
        "series"
    ]
    client.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
    assert client.get(url).status_code == 403


def test_who_sees_no_contact_data_gets_no_figures_that_would_tell_some(shop):
    client = client_with("campaigns.view_flow", "crm.view_profile")
    flow = Flow.objects.get()
    url = reverse("admin:campaigns_flow_backtest", args=[flow.pk])
    asks = {"kind": "attribute", "field": "email", "op": "eq", "value": "ann@example.com"}
    Flow.objects.update(draft={**flow.draft, "entry": asks})
    tried(shop)
    assert "backtest-figures" not in client.get(url).content.decode()
    assert "which you may not see" in client.post(url, {"days": "7"}).content.decode()
    assert Backtest.objects.count() == 1


def test_each_has_one_trial_in_work_and_readers_a_few_a_day(shop):
    flow = Flow.objects.get()
    first = backtest.start(flow, 7, "ann", shop.now)
    with pytest.raises(backtest.BusyError, match="“F”"):
        backtest.start(flow, 7, "ann", shop.now)
    assert backtest.start(flow, 7, "bob", shop.now), "others need not wait for hers"
    assert backtest.cancel(first)
    assert backtest.start(flow, 7, "ann", shop.now, most_a_day=2)
    Backtest.objects.update(state="done")
    with pytest.raises(backtest.BusyError, match="2 times"):
        backtest.start(flow, 7, "ann", shop.now, most_a_day=2)
    tomorrow = shop.now + timedelta(days=1, seconds=1)
    assert backtest.start(flow, 7, "ann", tomorrow, most_a_day=2)


def test_readers_cancel_their_own_trials_only(shop):
    flow = Flow.objects.get()
    reader = client_with("campaigns.view_flow")
    name = User.objects.latest("pk").username
    theirs, own = backtest.start(flow, 7, "ann"), backtest.start(flow, 7, name)
    for job, status in ((theirs, 403), (own, 302)):
        url = reverse("admin:campaigns_flow_backtest_cancel", args=[flow.pk, job.pk])
        assert reader.post(url).status_code == status
