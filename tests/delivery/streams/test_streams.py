"""Other systems are told of events: in order, signed, each at least once, and nobody waits for a slow one."""

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from crm import log, merging, privacy
from crm.models import Alert, LogCursor, Profile
from delivery import streams
from delivery.models import EventStream, StreamCall
from delivery.streams import calling, feeding, told
from tests.delivery import services

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DOCS = Path(__file__).resolve().parents[3] / "docs" / "api.md"
SNIPPET = re.search(
    r"```python\n(import base64.*?)```", DOCS.read_text().partition("## Event streams")[2], re.S
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def person(db: None) -> Profile:
    return Profile.objects.create(external_id="C-1", email="ada@example.com", phone="+48600100200")


class Receiver:
    """Verifies as the docs say, and keeps what it took; `answers` are given first, in their order."""

    def __init__(self) -> None:
        self.answers: list[services.Answer] = []
        self.secret, self.ids, self.events = "", [], []
        self.seen: list[dict[str, Any]] = []

    def __call__(self, request: services.Request) -> services.Answer:
        scope: dict[str, Any] = {}
        exec(SNIPPET[1], scope)  # noqa: S102 - it is our own documentation
        assert scope["verified"](self.secret, request.headers, request.body)
        assert not scope["verified"](self.secret, request.headers, request.body + b" ")
        self.ids.append(request.headers["webhook-id"])
        self.seen += request.json["events"]
        if self.answers:
            return self.answers.pop(0)
        self.events += request.json["events"]
        return 204, {}, b""


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def service(receiver: Receiver, settings: Any) -> Iterator[services.Service]:
    with services.serving(receiver) as found:
        settings.NUDGE_WEBHOOK_HOSTS = [found.host]
        yield found


@pytest.fixture
def stream(service: services.Service, receiver: Receiver, db: None) -> EventStream:
    made = EventStream(name="Shop", url=service.url + "/hook", names=["message_sent", "message_bounced"])
    receiver.secret = streams.create(made)
    return made


def happened(
    person: Profile, count: int = 1, name: str = "message_sent", start: int = 0, **more: Any
) -> list[str]:
    """Put events into the log and return their ids."""
    properties = {
        "message": "receipt",
        "delivery": 7,
        "origin": {"type": "api", "id": None, "step": ""},
    } | more
    events = [
        log.NewEvent(
            log.event_id(name, person.pk, n), person.pk, name, NOW, {**properties, "link": n}, "nudge"
        )
        for n in range(start, start + count)
    ]
    log.append(events)
    return [str(event.id) for event in events]


def work(now: datetime = NOW) -> int:
    return streams.calling.run(5.0, now)


def ids(receiver: Receiver) -> list[str]:
    return [event["id"] for event in receiver.events]


def test_what_is_taken_back_and_who_is_compared_is_told(stream, receiver, person):
    EventStream.objects.update(names=["message_machine_opened", "message_withdrawn", "experiment_exposed"])
    happened(person, 1, "message_machine_opened", machine=True, reason="scanner", user_agent="secret")
    happened(person, 1, "message_withdrawn", names=["message_clicked"], rules=3)
    happened(person, 1, "experiment_exposed", experiment="subject-line", arm="b")
    assert work() == 1
    machine, taken, compared = (event["properties"] for event in receiver.events)
    assert (machine["machine"], machine["reason"], "user_agent" in machine) == (True, "scanner", False)
    assert (taken["names"], taken["rules"]) == (["message_clicked"], 3)
    assert (compared["experiment"], compared["arm"]) == ("subject-line", "b")


def test_events_arrive_in_order_in_batches_with_no_contact_data(stream, receiver, person):
    wanted = happened(
        person, 130, url="https://ada@shop.example/a?email=ada@example.com#x", text="call +48600100200"
    )
    happened(person, 3, "message_opened")
    wanted += happened(person, 1, "message_bounced", reason="550 <ada@example.com> unknown")
    assert work() == 2
    assert ids(receiver) == wanted
    assert receiver.ids == [
        f"stream_{pk}" for pk in StreamCall.objects.order_by("pk").values_list("pk", flat=True)
    ]
    first = receiver.events[0]
    assert first == {
        "id": wanted[0],
        "name": "message_sent",
        "occurred_at": "2026-03-02T09:00:00Z",
        "profile": {"id": person.pk, "external_id": None},
        "properties": {
            "message": "receipt",
            "delivery": 7,
            "origin": {"type": "api", "id": None, "step": ""},
            "link": 0,
            "url": "https://shop.example/a",
        },
    }
    assert not any(each in str(receiver.events) for each in ("ada@example.com", "48600100200", "C-1"))
    EventStream.objects.update(tells_numbers=True)
    happened(person, 1, start=500)
    work()
    assert receiver.events[-1]["profile"] == {"id": person.pk, "external_id": "C-1"}
    assert work() == 0
    assert {(call.state, *call.events) for call in StreamCall.objects.all()} == {("taken",)}, (
        "events are kept no longer than they wait"
    )


def test_a_worker_killed_between_call_and_record_repeats_it_under_the_same_id(
    stream, receiver, person, monkeypatch
):
    wanted = happened(person, 150)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(calling, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            work()
    assert work() == 0, "its lease still holds, and nothing overtakes it"
    assert work(NOW + calling.LEASE) == 2
    assert receiver.ids[0] == receiver.ids[1] != receiver.ids[2]
    assert ids(receiver) == wanted[:100] + wanted


def test_a_crash_while_reading_loses_nothing_and_doubles_nothing(stream, receiver, person, monkeypatch):
    wanted = happened(person, 5)
    store = feeding._store

    def torn(*args: Any) -> None:
        store(*args)
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(feeding, "_store", torn)
        with pytest.raises(OSError):  # noqa: PT011 - our own
            feeding.feed(NOW)
    assert not StreamCall.objects.exists()
    work()
    assert ids(receiver) == wanted


def test_what_is_not_taken_is_tried_again_later_and_nothing_overtakes_it(stream, receiver, person):
    receiver.answers = [
        services.CUT,
        (500, {}, b""),
        (302, {"Location": "/"}, b""),
        (429, {"Retry-After": "900"}, b""),
    ]
    wanted = happened(person, 120)
    at, pauses = NOW, []
    for _try in range(4):
        assert work(at) == 1
        head = StreamCall.objects.order_by("pk").first()
        pauses.append(head.next_at - at)
        assert work(head.next_at - timedelta(seconds=1)) == 0
        at = head.next_at
    for pause, least in zip(pauses, [5, 30, 120, 900], strict=True):
        assert least <= pause.total_seconds() <= least * 1.25
    stream.refresh_from_db()
    assert (stream.state, stream.last_status, stream.last_error) == ("failing", 429, "HTTP 429")
    assert Alert.objects.filter(key=calling.alert_key(stream.pk), resolved_at=None).count() == 1
    assert work(at) == 2
    stream.refresh_from_db()
    assert (stream.state, stream.last_error) == ("active", "")
    assert not Alert.objects.filter(resolved_at=None).exists()
    assert ids(receiver) == wanted
    assert len(set(receiver.ids)) == 2


def test_after_three_days_it_pauses_and_loses_nothing(stream, receiver, person):
    receiver.answers = [(500, {}, b"")] * 100
    wanted = happened(person, 2)
    at, tries = NOW, 0
    while EventStream.objects.get().state != "paused":
        tries += work(at)
        at = max(at, StreamCall.objects.get().next_at)
    assert at - NOW >= timedelta(days=3)
    assert 10 < tries < 30
    assert work(at + timedelta(days=1)) == 0
    wanted += happened(person, 1, start=9)
    receiver.answers = []
    streams.resume(stream.pk, now=at)
    assert work(at) == 2
    assert ids(receiver) == wanted


def test_410_pauses_at_once_and_what_happened_may_be_left_out(stream, receiver, person):
    receiver.answers = [(410, {}, b"")]
    happened(person, 1)
    assert work() == 1
    stream.refresh_from_db()
    assert (stream.state, stream.last_status) == ("paused", 410)
    assert Alert.objects.get().title == "The event stream “Shop” was paused"
    happened(person, 1, start=5)
    assert work(NOW + timedelta(days=9)) == 0
    streams.resume(stream.pk, skip=True, now=NOW)
    assert not Alert.objects.filter(resolved_at=None).exists()
    after = happened(person, 1, start=9)
    work()
    assert ids(receiver) == after
    assert sorted(StreamCall.objects.values_list("state", flat=True)) == ["left_out", "taken"]


def test_a_pause_keeps_events_in_the_log(stream, receiver, person):
    streams.pause(stream.pk)
    wanted = happened(person, 2)
    assert work() == 0
    assert not StreamCall.objects.exists()
    assert streams.unread(stream.pk) == 2
    streams.resume(stream.pk, now=NOW)
    work()
    assert ids(receiver) == wanted


def test_only_what_the_api_asked_for_and_certain_messages(stream, receiver, person):
    from tests.delivery import world

    receipt = world.message("receipt")
    EventStream.objects.update(api_only=True, message_ids=[receipt.pk], names=list(told.NAMES))
    wanted = happened(person, 1)
    happened(person, 1, start=1, origin={"type": "flow", "id": 3, "step": "s1"})
    happened(person, 1, start=2, message="other")
    happened(person, 1, "consent_changed", start=3, origin=None, message=None)
    work()
    assert ids(receiver) == wanted
    receipt.delete()
    happened(person, 1, start=4)
    assert work() == 0, "a stream of a message that is gone must not become one of all messages"


def test_a_slow_receiver_holds_up_nobody(stream, receiver, person, settings):
    go_on = threading.Event()
    taken_meanwhile: list[int] = []

    def slow(request: services.Request) -> services.Answer:
        go_on.wait(5)
        taken_meanwhile.append(len(receiver.events))
        return 200, {}, b""

    with services.serving(slow) as other:
        settings.NUDGE_WEBHOOK_HOSTS += [other.host]
        streams.create(EventStream(name="Slow", url=other.url, names=["message_sent"]))
        happened(person, 250)

        def watch() -> None:
            end = time.monotonic() + 5
            while len(receiver.events) < 250 and time.monotonic() < end:
                time.sleep(0.01)
            go_on.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert work() == 6
        watcher.join()
    assert taken_meanwhile[0] == 250


def test_two_workers_make_each_call_once(stream, receiver, person):
    happened(person, 30)
    feeding.feed(NOW)
    first, second = calling.claim(NOW), calling.claim(NOW)
    assert (len(first), len(second)) == (1, 0)
    late = calling.claim(NOW + calling.LEASE)
    taken = calling.httpclient.Response(first[0], 204, {}, b"")
    assert calling.record(late[0], taken, NOW)
    gone = calling.httpclient.Response(first[0], 410, {}, b"")
    assert not calling.record(first[0], gone, NOW), "whoever lost the lease says nothing any more"
    assert EventStream.objects.get().state == "active"


def test_the_secret_changes_over_a_day(stream, receiver, person):
    old = receiver.secret
    new = streams.renew_secret(stream.pk, NOW)
    assert new.startswith("whsec_")
    assert new != old
    for secret in (old, new):
        receiver.secret = secret
        happened(person, 1, start=len(receiver.ids))
        assert work() == 1
    secret = EventStream.objects.get().secret
    assert calling.keys(secret, NOW + streams.OVERLAP) == [new.removeprefix("whsec_")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM delivery_eventstream")
        assert new.removeprefix("whsec_") not in cursor.fetchone()[0]


def test_a_secret_that_cannot_be_read_harms_no_other_stream(stream, receiver, person, service):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE delivery_eventstream SET secret = 'x'")
    other = EventStream(name="Other", url=service.url, names=["message_sent"])
    receiver.secret = streams.create(other)
    happened(person, 1)
    work()
    stream.refresh_from_db()
    assert "secret" in stream.last_error
    assert len(receiver.events) == 1
    receiver.secret = streams.renew_secret(stream.pk)
    work(NOW + timedelta(minutes=1))
    assert len(receiver.events) == 2


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "https://10.0.0.1/", "ftp://x", "https://u:p@shop.example/"]
)
def test_addresses_that_may_not_be_called_are_not(stream, receiver, person, url):
    EventStream.objects.update(url=url)
    happened(person, 1)
    work()
    stream.refresh_from_db()
    assert stream.last_error
    assert stream.last_status is None
    assert not receiver.seen


def test_what_waits_about_the_erased_is_dropped(stream, receiver, person):
    other = Profile.objects.create(external_id="C-2")
    happened(person, 1)
    theirs = happened(other, 99)
    happened(person, 1, start=1)
    feeding.feed(NOW)
    happened(person, 1, start=2)
    assert [call.count for call in StreamCall.objects.order_by("pk")] == [100, 1]
    privacy.erase([person.pk], "request")
    assert [call.count for call in StreamCall.objects.all()] == [99]
    work()
    assert ids(receiver) == theirs


def test_the_merged_are_told_by_their_present_number(stream, receiver, person):
    gone = Profile.objects.create(external_id="C-2")
    happened(gone, 1)
    feeding.feed(NOW)
    merging.merge([(gone.pk, person.pk)], "test")
    happened(person, 1, start=1)
    work()
    assert [event["profile"]["id"] for event in receiver.events] == [gone.pk, person.pk]
    receiver.answers = [(500, {}, b"")]
    happened(gone := Profile.objects.create(external_id="C-3"), 1)
    feeding.feed(NOW)
    merging.merge([(gone.pk, person.pk)], "test")
    privacy.erase([person.pk], "request")
    assert not StreamCall.objects.filter(state="waiting").exists()


def test_queries_do_not_grow_with_the_events(stream, receiver, person):
    happened(person, 10)
    with CaptureQueriesContext(connection) as few:
        feeding.feed(NOW)
    happened(person, 900, start=100)
    with CaptureQueriesContext(connection) as many:
        feeding.feed(NOW)
    assert len(many) == len(few) <= 11, [query["sql"][:80] for query in many]
    with CaptureQueriesContext(connection) as calls:
        assert work() == 10
    assert len(calls) <= 10 * 8 + 12, len(calls)


def test_a_test_event_goes_out_beside_those_that_wait(stream, receiver, person):
    happened(person, 1)
    feeding.feed(NOW)
    stream.refresh_from_db()
    call = streams.try_out(stream, NOW)
    assert (call.state, call.status_code) == ("taken", 204)
    assert [event["name"] for event in receiver.events] == ["test"]
    receiver.answers = [(500, {}, b"")]
    assert streams.try_out(stream, NOW).error == "HTTP 500"
    assert work() == 1


def test_old_calls_go_and_a_removed_stream_leaves_nothing(stream, receiver, person):
    happened(person, 1)
    work()
    assert streams.forget(NOW + streams.KEPT) == 0
    assert streams.forget(NOW + streams.KEPT + timedelta(seconds=1)) == 1
    happened(person, 1, start=3)
    feeding.feed(NOW)
    streams.remove(stream.pk)
    assert not StreamCall.objects.exists()
    assert not LogCursor.objects.filter(name__startswith="stream:").exists()
    assert work() == 0


def test_a_backlog_stays_in_the_log(stream, receiver, person, monkeypatch):
    monkeypatch.setattr(feeding, "MOST_WAITING", 2)
    receiver.answers = [(500, {}, b"")]
    wanted = happened(person, 450)
    for _look in range(4):
        feeding.feed(NOW, limit=100)
    assert StreamCall.objects.count() == 2
    assert streams.backlogs([stream.pk])[stream.pk].events == 200
    work()
    work(NOW + timedelta(minutes=1))
    assert ids(receiver) == wanted
