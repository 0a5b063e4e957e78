"""The page of the sending rules, the switch, and what topics and messages say about them."""

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse

from config import roles
from crm.models import Topic
from delivery.channels.memory import Memory
from delivery.models import EmergencyStop, FrequencyCap, Message, SendingHours, SendingRules
from tests.delivery import world

pytestmark = pytest.mark.django_db
PAGE = "/admin/delivery/sendingrules/"


@pytest.fixture(autouse=True)
def _plain_menu(settings) -> None:
    """The menu leads to pages of all apps, which have tests of their own."""
    settings.UNFOLD = {**settings.UNFOLD, "SIDEBAR": {"navigation": []}}


@pytest.fixture
def boss(client):
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    return client


def role(client, name: str):
    roles.ensure()
    made = User.objects.create_user(name, is_staff=True)
    made.groups.add(Group.objects.get(name=name.capitalize()))
    client.force_login(made)
    return client


def inline(prefix: str, *rows: dict) -> dict:
    data = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0}
    for number, row in enumerate(rows):
        data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
    return data


def test_rules_are_written_and_told_in_sentences(boss) -> None:
    rules = SendingRules.of_account()
    url = reverse("admin:delivery_sendingrules_change", args=[rules.pk])
    page = boss.get(url).content.decode()
    assert "of age with" in page.lower()
    assert "as the wider rules say" not in page
    quiet = {"kind": "quiet", "start": "21:00", "end": "08:00", "days": ["1", "2", "3", "4", "5", "6", "7"]}
    cap = {
        "number": "3",
        "period": "week",
        "rolling": "on",
        "channel": "webpush",
        "counts": "all",
        "spares": "1",
    }
    answer = boss.post(
        url,
        {"when_capped": "defer", "collision": "sent", "collision_hours": "12", "adult_age": "18"}
        | inline("hours", quiet)
        | inline("caps", cap),
    )
    assert answer.status_code == 302, answer.context["errors"]
    page = boss.get(PAGE).content.decode()
    assert "gets nothing between 21:00 and 08:00 by Warsaw&#x27;s clock" in page
    assert "At most 3 messages to one person in any 7 days by Web push; priorities 1 to 1" in page
    assert "was sent the same by another channel within 12 hours" in page


def test_a_topic_and_a_message_get_rules_of_their_own(boss) -> None:
    topic = Topic.objects.create(slug="news", name="News")
    message = Message.objects.create(slug="hello", name="Hello", topic="news", adults_only=True)
    for level, pk in (("topic", topic.pk), ("message", message.pk), ("message", message.pk)):
        answer = boss.post(reverse("admin:delivery_sendingrules_open", args=[level, pk]))
        page = boss.get(answer.url).content.decode()
        assert "as the wider rules say" in page
        assert "of age with" not in page.lower()
    assert SendingRules.objects.count() == 2
    row = SendingRules.objects.get(topic=topic)
    SendingHours.objects.create(rules=row, kind="window", start="09:00", end="17:00", days=[1, 2])
    page = boss.get(reverse("admin:crm_topic_change", args=[topic.pk])).content.decode()
    assert "It goes out only between 09:00 and 17:00 on Monday, Tuesday" in page
    assert "Rules of this topic" in page
    assert "Rule of the topic." in boss.get(PAGE).content.decode()


def test_who_would_be_held_back_now(boss, memory: Memory) -> None:
    ann = world.person(channels=["webpush"])
    message = world.message(channel="webpush")
    cap = FrequencyCap.objects.create(rules=SendingRules.of_account(), number=2, period="day")
    ask = {"person": str(ann.pk), "message": message.pk, "channel": "webpush"}
    page = boss.get(PAGE, ask).content.decode()
    assert "It would not go out now." in page
    assert "no address or device" in page
    assert "0 of 2 so far." in page
    assert "Nobody is known by this." in boss.get(PAGE, ask | {"person": "x"}).content.decode()
    cap.delete()


def test_the_switch_asks_once_more(boss) -> None:
    url = reverse("admin:delivery_sendingrules_stop")
    assert "Stop now" in boss.get(url).content.decode()
    assert not EmergencyStop.objects.exists()
    boss.post(url, {"channel": "", "reason": "wrong price"})
    for page in (PAGE, "/admin/"):
        text = boss.get(page).content.decode()
        assert "Sending is stopped" in text
        assert "wrong price" in text
    boss.post(reverse("admin:delivery_sendingrules_resume"), {"channel": ""})
    assert not EmergencyStop.objects.exists()


def test_a_waiting_message_says_that_sending_is_stopped(boss, memory: Memory) -> None:
    [delivery] = world.queue(world.message(), [world.person()])
    page = reverse("admin:delivery_delivery_change", args=[delivery.pk])
    assert "Sending is stopped." not in boss.get(page).content.decode()
    boss.post(reverse("admin:delivery_sendingrules_stop"), {"channel": "", "reason": ""})
    assert "Sending is stopped." in boss.get(page).content.decode()


def test_what_each_role_may_do(client, memory: Memory) -> None:
    message = world.message(transactional=True)
    stop = reverse("admin:delivery_sendingrules_stop")
    resume = reverse("admin:delivery_sendingrules_resume")
    own = reverse("admin:delivery_sendingrules_open", args=["message", message.pk])
    approve = reverse("admin:delivery_sendingrules_approve", args=[message.pk])
    withdraw = reverse("admin:delivery_sendingrules_withdraw", args=[message.pk])
    may = {}
    for name in ("analyst", "developer", "marketer", "administrator"):
        role(client, name)
        may[name] = [
            client.get(PAGE).status_code,
            client.post(own).status_code,
            client.post(stop).status_code,
        ]
        may[name] += [client.post(resume).status_code, client.post(withdraw).status_code]
        client.post(approve)
        may[name].append(Message.objects.get(pk=message.pk).exempt)
    assert may == {
        "analyst": [200, 403, 403, 403, 403, False],
        "developer": [403, 403, 403, 403, 403, False],
        "marketer": [200, 302, 302, 302, 403, False],
        "administrator": [200, 302, 302, 302, 302, True],
    }
    client.logout()
    assert client.post(stop).status_code == 302
    assert not EmergencyStop.objects.exists()
    assert client.get(own).status_code in (302, 405)


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ([("quiet", "00:00", "00:00", "")], True),
        ([("quiet", "21:00", "09:00", ""), ("quiet", "09:00", "21:00", "")], True),
        ([("quiet", "18:00", "08:00", ""), ("window", "06:00", "07:00", "")], True),
        ([("quiet", "21:00", "08:00", ""), ("quiet", "08:00", "21:00", "memory")], True),
        ([("quiet", "00:00", "00:00", "memory"), ("quiet", "21:00", "08:00", "")], True),
        ([("quiet", "21:00", "08:00", ""), ("quiet", "08:00", "20:59", "")], False),
        ([("quiet", "18:00", "08:00", ""), ("window", "06:00", "08:01", "")], False),
    ],
)
def test_hours_that_leave_no_time_to_send_are_refused(
    boss, memory: Memory, monkeypatch, rows, refused
) -> None:
    monkeypatch.setattr(Memory, "listed", True)
    every = [str(number) for number in range(1, 8)]
    hours = [
        {"kind": kind, "start": start, "end": end, "channel": channel, "days": every}
        for kind, start, end, channel in rows
    ]
    answer = boss.post(
        reverse("admin:delivery_sendingrules_change", args=[SendingRules.of_account().pk]),
        {"when_capped": "defer", "collision": "off", "collision_hours": "12", "adult_age": "18"}
        | inline("hours", *hours)
        | inline("caps"),
    )
    assert ("leave no time of the week" in answer.content.decode()) is refused
    assert SendingHours.objects.exists() is not refused
