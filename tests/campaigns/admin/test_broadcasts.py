"""Broadcasts in the admin: the figures, and the launch."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns import audience, broadcasts
from campaigns.admin.broadcasts import TYPED_ABOVE
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
        for address in (reverse(LIST), change_url(broadcast), launch_url(broadcast)):
            assert "login" in client.get(address)["Location"]

    def test_only_who_has_the_right_launches(self, broadcast, viewer, editor):
        for client in (viewer, editor):
            assert client.get(launch_url(broadcast)).status_code == 403
            assert client.post(launch_url(broadcast), SUBMITTED).status_code == 403
            assert "broadcast-launch" not in text(client.get(change_url(broadcast)))
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
        assert Broadcast.objects.get(name="June").state == Broadcast.State.DRAFT
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
        assert Delivery.objects.filter(origin_type="broadcast", origin_id=broadcast.pk).count() == 3
        again = publisher.post(launch_url(broadcast), SUBMITTED)
        assert "launched already" in text(again)
        assert Delivery.objects.count() == 3

    def test_many_people_want_the_name_typed(self, broadcast, publisher):
        people(TYPED_ABOVE - 2)
        assert 'name="confirm"' in text(publisher.get(launch_url(broadcast)))
        for typed in ("", "may sale!"):
            shown = text(publisher.post(launch_url(broadcast), {**SUBMITTED, "confirm": typed}))
            assert "This is not the broadcast's name" in shown
        assert not launched(broadcast)
        publisher.post(launch_url(broadcast), {**SUBMITTED, "confirm": " May sale "})
        assert launched(broadcast)

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
