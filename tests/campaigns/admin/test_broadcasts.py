"""Broadcasts in the admin: the figures, and the launch."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns import audience, broadcasts
from campaigns.models import Broadcast, Segment
from crm.models import Consent, Device, Profile, Topic
from delivery.models import Delivery

LIST = "admin:campaigns_broadcast_changelist"


def text(response) -> str:
    return unescape(re.sub(r"\s+", " ", response.content.decode()))


@pytest.fixture
def broadcast(message) -> Broadcast:
    segment = Segment.objects.create(
        slug="poland",
        name="Poland",
        rule={"kind": "attribute", "field": "country", "op": "eq", "value": "PL"},
    )
    people(3)
    Profile.objects.create(country="AE")
    return Broadcast.objects.create(name="May sale", message=message, segment=segment)


def people(number: int) -> list[Profile]:
    return Profile.objects.bulk_create([Profile(country="PL") for _ in range(number)])


def agree(person: Profile, state="subscribed", kind="channel", key="webpush") -> None:
    Consent.objects.create(
        profile=person, kind=kind, key=key, state=state, source="test", changed_at=timezone.now()
    )


def launch_url(broadcast: Broadcast) -> str:
    return reverse("admin:campaigns_broadcast_launch", args=[broadcast.pk])


def do_url(broadcast: Broadcast, what: str) -> str:
    return reverse("admin:campaigns_broadcast_do", args=[broadcast.pk, what])


def change_url(broadcast: Broadcast) -> str:
    return reverse("admin:campaigns_broadcast_change", args=[broadcast.pk])


def launched(broadcast: Broadcast) -> bool:
    return Broadcast.objects.get(pk=broadcast.pk).launched_at is not None


SUBMITTED = {"_form_submitted": "on"}


class TestReach:
    def test_only_who_agreed_and_has_a_browser_can_be_reached(self, broadcast):
        reached, gone, silent = Profile.objects.filter(country="PL").order_by("pk")
        for person in (reached, gone, Profile.objects.get(country="AE")):
            agree(person)
        for number, (person, state) in enumerate([(reached, "active"), (gone, "gone"), (silent, "active")]):
            Device.objects.create(profile=person, endpoint=f"https://push.example/{number}", state=state)
        assert audience.reach(broadcast) == audience.Reach(3, 2, 1, no_address=1)

    def test_who_left_the_topic_has_not_agreed(self, broadcast):
        broadcast.message.topic = "offers"
        first, second, third = Profile.objects.filter(country="PL")
        for person in (first, second, third):
            agree(person)
        agree(first, "unsubscribed", "topic", "offers")
        agree(second, "subscribed", "topic", "offers")
        assert audience.reach(broadcast).agreed == 2
        topic = Topic.objects.create(slug="offers", name="Offers", needs_yes=True)
        assert audience.reach(broadcast).agreed == 1
        topic.delete()
        agree(third, "pending", "topic", "offers")
        assert audience.reach(broadcast).agreed == 1


class TestFigures:
    def test_the_equation_holds_in_every_state(self, broadcast):
        people(17)
        broadcasts.launch(broadcast.pk)
        broadcast.refresh_from_db()
        rows = list(Delivery.objects.filter(origin_id=broadcast.pk).order_by("pk"))
        now = timezone.now()
        for row, state in zip(rows, [*Delivery.State.values, "suppressed"], strict=False):
            row.state, row.sent_at, row.lease_until, row.reason = state, now, now, "no consent"
            row.save()
        rows[-1].profile.delete()
        [found] = audience.figures([broadcast]).values()
        assert (found.audience, found.deleted) == (20, 1)
        assert (found.sent, found.suppressed, found.failed, found.expired) == (2, 2, 1, 1)
        parts = found.sent + found.waiting + found.suppressed + found.failed + found.expired + found.deleted
        assert parts == found.audience
        assert ("suppressed", "no consent", 2) in found.reasons

    def test_the_list_takes_one_query_for_all_figures(self, broadcast, viewer):
        numbers = []
        for more in range(2):
            for index in range(1 + 4 * more):
                copy = Broadcast.objects.create(
                    name=f"Copy {more}{index}", message=broadcast.message, segment=broadcast.segment
                )
                broadcasts.launch(copy.pk)
            with CaptureQueriesContext(connection) as queries:
                shown = viewer.get(reverse(LIST))
            numbers.append(len(queries))
        assert numbers[0] == numbers[1]
        assert "Copy 14" in text(shown)

    def test_the_page_follows_it_and_stops_when_it_is_over(self, broadcast, publisher):
        broadcasts.plan(broadcast.pk, undo_seconds=30)
        address = reverse("admin:campaigns_broadcast_live", args=[broadcast.pk])
        shown = publisher.get(address, {"state": "scheduled"})
        assert "HX-Refresh" not in shown
        assert 'hx-trigger="every 2s"' in text(shown)
        assert re.search(r"begins in (29|30) seconds", text(shown))
        broadcasts.work(now=timezone.now() + timedelta(minutes=1))
        assert publisher.get(address, {"state": "scheduled"})["HX-Refresh"] == "true"
        Delivery.objects.update(state="sent", sent_at=timezone.now())
        broadcasts.work()
        over = text(publisher.get(address, {"state": "finished"}))
        assert "hx-trigger" not in over
        assert "100 %" in over

    def test_the_page_of_a_launched_one_shows_the_equation_and_no_form(self, broadcast, publisher):
        broadcasts.launch(broadcast.pk)
        shown = text(publisher.get(change_url(broadcast)))
        assert 'data-testid="broadcast-figures"' in shown
        assert re.search(r"<b>3</b><span>Audience</span>", shown)
        assert re.search(r"<b>3</b><span>waiting</span>", shown)
        assert 'name="_save"' not in shown
        assert 'data-testid="broadcast-launch"' not in shown

    def test_an_empty_list_says_what_to_do(self, db, editor):
        assert "Make the first broadcast" in text(editor.get(reverse(LIST)))


class TestRights:
    def test_nobody_gets_in_without_a_login(self, broadcast, client):
        live = reverse("admin:campaigns_broadcast_live", args=[broadcast.pk])
        for address in (reverse(LIST), change_url(broadcast), launch_url(broadcast), live):
            assert "login" in client.get(address)["Location"]

    def test_only_who_has_the_right_launches(self, broadcast, viewer, editor):
        for client in (viewer, editor):
            assert client.get(launch_url(broadcast)).status_code == 403
            assert client.post(launch_url(broadcast), SUBMITTED).status_code == 403
            assert "broadcast-launch" not in text(client.get(change_url(broadcast)))
            assert client.post(do_url(broadcast, "pause")).status_code == 403
        assert not launched(broadcast)

    def test_what_was_launched_cannot_be_changed_or_deleted(self, broadcast, editor):
        broadcasts.launch(broadcast.pk)
        response = editor.post(change_url(broadcast), {"name": "Other"})
        assert response.status_code == 403
        assert (
            editor.post(reverse("admin:campaigns_broadcast_delete", args=[broadcast.pk])).status_code == 403
        )

    def test_making_one(self, broadcast, editor):
        form = {"message": broadcast.message_id, "segment": broadcast.segment_id, "channel": "webpush"}
        editor.post(reverse("admin:campaigns_broadcast_add"), {"name": "June", **form})
        made = Broadcast.objects.get(name="June")
        assert (made.state, made.when, made.priority) == (Broadcast.State.DRAFT, "now", 3)
        weekly = {
            "when": "local",
            "repeat": "weekly",
            "weekdays": [1, 5],
            "day": "2026-03-02",
            "time": "09:00",
        }
        editor.post(
            change_url(made), {"name": "June", **form, **weekly, "exclusions": [broadcast.segment_id]}
        )
        made.refresh_from_db()
        assert (made.weekdays, made.when, made.exclusions.count()) == ([1, 5], "local", 1)
        del weekly["time"]
        assert "Say at what time." in text(editor.post(change_url(made), {"name": "June", **form, **weekly}))
        wrong = editor.post(
            reverse("admin:campaigns_broadcast_add"), {"name": "", **form, "channel": "pigeon"}
        )
        assert "not one of the available choices" in text(wrong)


class TestLaunch:
    def test_the_dialog_says_how_many_and_what(self, broadcast, publisher):
        shown = text(publisher.get(launch_url(broadcast)))
        assert '<dd data-testid="launch-size">3</dd>' in shown
        assert "Hello there" in shown
        assert 'name="confirm"' not in shown
        assert not launched(broadcast)

    def test_launching(self, broadcast, publisher):
        response = publisher.post(launch_url(broadcast), SUBMITTED, headers={"HX-Request": "true"})
        assert response["HX-Redirect"] == change_url(broadcast)
        assert launched(broadcast)
        assert not Delivery.objects.exists()  # the count-down
        broadcasts.work(now=timezone.now() + timedelta(minutes=1))
        assert Delivery.objects.filter(origin_type="broadcast", origin_id=broadcast.pk).count() == 3
        again = publisher.post(launch_url(broadcast), SUBMITTED)
        assert "launched already" in text(again)
        assert Delivery.objects.count() == 3

    def test_many_people_want_their_number_typed(self, broadcast, publisher, settings):
        settings.NUDGE_BROADCAST_CONFIRM = 2
        assert 'name="confirm"' in text(publisher.get(launch_url(broadcast)))
        for typed in ("", "May sale", "4", "3.5"):
            shown = text(publisher.post(launch_url(broadcast), {**SUBMITTED, "confirm": typed}))
            assert "This is not the number of people" in shown
        assert not launched(broadcast)
        publisher.post(launch_url(broadcast), {**SUBMITTED, "confirm": " 3 "})
        assert launched(broadcast)

    def test_taking_back_pausing_and_cancelling(self, broadcast, publisher):
        publisher.post(launch_url(broadcast), SUBMITTED)
        assert 'data-testid="broadcast-undo"' in text(publisher.get(change_url(broadcast)))
        publisher.post(do_url(broadcast, "undo"))
        assert not launched(broadcast)
        broadcasts.launch(broadcast.pk)
        for what, state in (
            ("pause", "paused"),
            ("resume", "sending"),
            ("cancel", "cancelled"),
            ("pause", "cancelled"),
        ):
            assert publisher.get(do_url(broadcast, what)).status_code == 405
            shown = publisher.post(do_url(broadcast, what), follow=True)
            broadcast.refresh_from_db()
            assert broadcast.state == state
        assert "Only what is planned or under way can be paused." in text(shown)
        assert (
            LogEntry.objects.filter(object_id=str(broadcast.pk), change_message__contains="Cancelled").count()
            == 1
        )
        assert publisher.post(do_url(broadcast, "explode")).status_code == 404

    def test_a_copy_is_a_draft(self, broadcast, editor, publisher):
        broadcasts.launch(broadcast.pk)
        address = reverse("admin:campaigns_broadcast_duplicate", args=[broadcast.pk])
        assert publisher.post(address, SUBMITTED).status_code == 403
        editor.post(address, {**SUBMITTED, "name": "May sale (copy)"})
        copy = Broadcast.objects.get(name="May sale (copy)")
        assert (copy.state, copy.audience, copy.segment_id) == ("draft", None, broadcast.segment_id)

    def test_a_test_is_no_part_of_it(self, broadcast, editor):
        Profile.objects.filter(country="AE").update(external_id="me")
        me = Profile.objects.get(country="AE")
        sent = {**SUBMITTED, "person": str(me.pk), "channel": "webpush"}
        editor.post(reverse("admin:campaigns_broadcast_test", args=[broadcast.pk]), sent)
        [delivery] = Delivery.objects.all()
        assert (delivery.origin_type, delivery.origin_id, delivery.profile_id) == ("test", None, me.pk)

    def test_a_message_without_words_is_not_launched(self, broadcast, publisher):
        broadcast.message.contents.all().delete()
        assert "no text for this channel" in text(publisher.get(launch_url(broadcast)))
        publisher.post(launch_url(broadcast), SUBMITTED)
        assert not launched(broadcast)

    def test_a_broken_segment_is_not_launched(self, broadcast, publisher):
        Segment.objects.update(rule={"kind": "attribute", "field": "shoe_size", "op": "eq", "value": 1})
        assert "The segment's rule has a mistake" in text(publisher.get(launch_url(broadcast)))
        publisher.post(launch_url(broadcast), SUBMITTED)
        assert not launched(broadcast)


def test_an_address_that_names_no_broadcast_leads_back(admin_client):
    answer = admin_client.get(reverse("admin:campaigns_broadcast_change", args=["none"]), follow=True)
    assert answer.redirect_chain[0][1] == 302
    assert "doesn’t exist" in answer.content.decode()
