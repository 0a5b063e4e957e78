"""The ledger's list: it adds up, stays quick, and sends what failed once more and only once."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.utils import timezone

from campaigns import audience
from campaigns.models import Broadcast, Segment
from crm.models import AuditEntry
from delivery import dispatch, ledger, spool_drain
from delivery.channels.base import Outcome, Result
from delivery.channels.memory import Memory
from delivery.dispatch.recovery import UNKNOWN
from delivery.links import hits, tokens
from delivery.models import Account, Delivery, LinkSettings, Message
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("spooled")]
LIST = "/admin/delivery/delivery/"
STATES = ("sent", "sent", "delivered", "queued", "failed", "suppressed", "expired")


@pytest.fixture(autouse=True)
def _plain_menu(settings: Any) -> None:
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {"navigation": []}}


@pytest.fixture
def boss(client: Any) -> Any:
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


def reader(client: Any, *permissions: str) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    wanted = ["view_delivery", "view_contact_data", *permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    client.force_login(user)


def fill(message: Message, count: int) -> None:
    """`count` deliveries over ten days and all states, to one person."""
    person = world.person(999)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO delivery_delivery (cause, message_id, profile_id, channel, variant, state, reason, due_at,
                expires_at, origin_type, queued_at, sent_at)
            SELECT 'fill:' || n, %(message)s, %(person)s, (ARRAY['memory', 'email', 'sms'])[1 + n %% 3], 'a', s.state,
                CASE WHEN s.state IN ('failed', 'suppressed') THEN 'no' ELSE '' END, at, at + interval '1 day',
                'api', at, CASE WHEN s.state IN ('sent', 'delivered') THEN at END
            FROM generate_series(1, %(count)s) AS n
            CROSS JOIN LATERAL (SELECT (%(states)s::text[])[1 + n %% 7] AS state,
                %(now)s::timestamptz - n * interval '10 days' / %(count)s AS at) AS s
            """,
            {"message": message.pk, "person": person.pk, "count": count, "states": list(STATES), "now": NOW},
        )
        cursor.execute("ANALYZE delivery_delivery")


def test_its_filters_read_no_whole_table(boss: Any) -> None:
    few, many = world.message("few"), world.message("many")
    fill(many, 20_000)
    world.queue(few, [world.person(1)])
    queries = {
        "": {},
        f"?message__id__exact={few.pk}": {"message": few},
        f"?message__id__exact={many.pk}": {"message": many},
        "?state__exact=failed": {"state": "failed"},
        "?channel=sms": {"channel": "sms"},
        "?queued_at_from=2026-02-25&queued_at_to=2026-02-26": {
            "queued_at__gte": NOW - timedelta(days=5),
            "queued_at__lt": NOW - timedelta(days=4),
        },
    }
    for query, lookups in queries.items():
        assert boss.get(LIST + query).status_code == 200, query
        rows = Delivery.objects.filter(**lookups).order_by("-queued_at", "-pk")[:25]
        plan = rows.explain()
        assert "Seq Scan" not in plan, plan
        assert "Sort" not in plan or "few" in query or lookups.get("message") == few, plan


def test_totals_add_up_for_every_filter_and_are_estimated_where_counting_takes_too_long(boss: Any) -> None:
    message = world.message("sale")
    fill(message, 700)
    everything = ledger.totals(Delivery.objects.all())
    assert everything.exact
    assert everything.total == 700 == Delivery.objects.count()
    assert everything.states["failed"] == 100
    parts = [
        ledger.totals(Delivery.objects.filter(channel=kind)).total for kind in ("memory", "email", "sms")
    ]
    assert sum(parts) == 700
    page = boss.get(f"{LIST}totals/?state__exact=failed").content.decode()
    numbers = [int(text) for text in re.findall(r"<b>(\d+)</b>", page)]
    assert numbers[0] == sum(numbers[1:]) == 100
    guessed = ledger.totals(Delivery.objects.filter(reason=_slow()), timeout_ms=1)
    assert not guessed.exact
    assert guessed.total == sum(guessed.states.values())
    assert Delivery.objects.count() == 700, "the connection goes on"


def _slow() -> Any:
    from django.db.models import TextField
    from django.db.models.expressions import RawSQL

    return RawSQL("pg_sleep(0.05)::text", [], output_field=TextField())


def failed(memory: Memory, count: int, unknown: int = 0, **more: Any) -> list[Delivery]:
    """Deliveries that were refused, the last `unknown` of them with nobody knowing."""
    message = world.message("sale")
    people = [world.person(number) for number in range(count)]
    made = world.queue(message, people, **more)
    lost = {person.pk for person in people[count - unknown :]}
    memory.answer = lambda parcel: Result(
        parcel.number, Outcome.STARTED if parcel.delivery.profile_id in lost else Outcome.REFUSED, 400, "no"
    )
    dispatch.run(NOW)
    memory.reset()
    return made


def test_what_failed_is_sent_again_and_only_once(boss: Any, memory: Memory) -> None:
    failed(memory, 5, unknown=2)
    wanted = f"{LIST}resend/?state__exact=failed"
    assert "<b>3</b> messages failed for certain" in boss.get(wanted).content.decode()
    assert not Delivery.objects.filter(cause__startswith="resend:").exists(), "looking sends nothing"
    for _press in range(2):
        boss.post(wanted)
    again = Delivery.objects.filter(cause__startswith="resend:")
    assert again.count() == 3
    assert set(again.values_list("origin_type", "origin_id", "state")) == {("flow", 7, "queued")}
    entry = AuditEntry.objects.get(action="deliveries.sent_again")
    assert entry.detail == {"rows": 3, "unknown": False, "filters": ["state__exact"]}
    dispatch.run(timezone.now())
    assert len(memory.sent) == 3
    boss.post(wanted, {"unknown": "on"})
    assert again.count() == 5
    originals = Delivery.objects.filter(pk__in=[int(row.cause.split(":")[1]) for row in again])
    assert {row.reason == UNKNOWN for row in originals} == {True, False}
    assert ledger.resendable(Delivery.objects.all()) == ledger.Resendable(0, 0)


def test_of_one_that_was_not_in_the_list_nothing_is_sent(boss: Any, memory: Memory) -> None:
    failed(memory, 2)
    boss.post(f"{LIST}resend/?channel=sms")
    boss.post(f"{LIST}resend/?queued_at_from=2026-03-03")
    assert not Delivery.objects.filter(cause__startswith="resend:").exists()


def test_a_broadcast_still_adds_up_when_failed_ones_are_sent_again(memory: Memory) -> None:
    everybody = Segment.objects.create(slug="all", name="All", rule={"all": []})
    broadcast = Broadcast.objects.create(
        segment=everybody,
        name="Sale",
        message=world.message("other"),
        channel="memory",
        audience=3,
        launched_at=NOW,
        state="sending",
    )
    failed(memory, 3, origin_type="broadcast", origin_id=broadcast.pk)
    assert ledger.resend(Delivery.objects.filter(origin_id=broadcast.pk), None, now=NOW) == 3
    found = audience.figures([broadcast])[broadcast.pk]
    assert (found.audience, found.waiting, found.failed, found.deleted) == (3, 3, 0, 0)


def test_only_those_who_may_send_again_and_take_files_away(client: Any, memory: Memory) -> None:
    failed(memory, 1)
    reader(client)
    assert client.get(LIST).status_code == 200
    assert client.post(f"{LIST}resend/").status_code == 403
    assert client.get(f"{LIST}export/?state__exact=failed").status_code == 403
    client.logout()
    assert client.get(f"{LIST}totals/").status_code == 302


def test_the_list_as_a_file(boss: Any, memory: Memory) -> None:
    failed(memory, 2)
    assert boss.get(f"{LIST}export/").status_code == 302, "not everything that was ever sent"
    answer = boss.post(f"{LIST}export/?state__exact=failed", {"form": "csv"})
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0].startswith("id,channel,")
    assert len(lines) == 3
    assert "person0@example.com" in lines[1]
    assert AuditEntry.objects.get(action="list.exported").detail["rows"] == 2


def test_how_each_channel_gets_on(boss: Any) -> None:
    account = Account.objects.create(name="Mail", slug="mail", channel="email", provider="sandbox")
    message, now = world.message("sale"), timezone.now()
    people = [world.person(number) for number in range(4)]
    world.queue(message, people, now=now - timedelta(minutes=3))
    world.queue(message, people[:1], channel="email", now=now, due_at=now + timedelta(hours=1), variant="b")
    Delivery.objects.filter(profile=people[0]).update(state="sent", sent_at=now)
    account.held_until = now + timedelta(minutes=5)
    account.save()
    found = {queue.channel: queue for queue in ledger.queues(now)}
    memory = found["memory"]
    assert (memory.due, memory.later, memory.rate, memory.minutes_left) == (3, 0, 1, 3)
    assert memory.oldest == now - timedelta(minutes=3)
    assert found["email"].held == [("Mail", account.held_until)]
    page = boss.get(f"{LIST}queues/").content.decode()
    assert 'hx-trigger="every 5s"' in page
    assert "Mail" in page


def test_a_delivery_shows_its_links_and_who_followed_them(boss: Any) -> None:
    Account.objects.create(name="S", slug="s", channel="sms", provider="sandbox")
    person = world.person(1, channels=["sms"], phone="+48600000001")
    message = world.message("sale", "sms", {"text": "https://shop.example.com/?<b>=1"})
    [delivery] = world.queue(message, [person], "sms")
    dispatch.run(NOW)
    for agent in ("Mozilla/5.0 (iPhone) Safari/604.1", "curl/8"):
        boss.get(f"/l/{tokens.make(delivery.pk)}", HTTP_USER_AGENT=agent)
    spool_drain.run()
    hits.settle(timezone.now() + timedelta(hours=1))
    page = boss.get(f"{LIST}{delivery.pk}/change/").content.decode()
    assert f"/l/{tokens.make(delivery.pk)}" in page
    assert "<td>1</td><td>1</td>" in page
    assert "<b>=1" not in page
    picture = boss.get(f"{LIST}{delivery.pk}/qr/0.svg")
    assert picture["Content-Type"] == "image/svg+xml"
    assert b"<svg" in picture.content
    assert boss.get(f"{LIST}{delivery.pk}/qr/1.svg").status_code == 404


def test_the_settings_of_links(boss: Any, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "go.example.com"]
    page = "/admin/delivery/linksettings/1/change/"
    assert boss.get(page).status_code == 200
    values = {
        "short_domain": "https://go.example.com/",
        "own_hosts": "Example.com\nshop.example",
        "track_opens": "on",
    }
    values |= {"untracked_channels": ["sms"], "utm_source": "nudge"}
    assert boss.post(page, values).status_code == 302
    row = LinkSettings.objects.get()
    assert (row.short_domain, row.own_hosts) == ("https://go.example.com", ["example.com", "shop.example"])
    assert row.untracked_channels == ["sms"]
    for wrong in ({"short_domain": "https://elsewhere.example"}, {"own_hosts": "https://a.example/"}):
        assert boss.post(page, values | wrong).status_code == 200
    assert LinkSettings.objects.get().short_domain == "https://go.example.com"
