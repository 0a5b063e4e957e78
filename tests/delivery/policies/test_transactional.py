"""What is part of a service is spared marketing's rules, once a second person has approved it as it is."""

from datetime import time

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType

from crm import consent, preferences
from crm.models import AuditEntry, Suppression
from crm.preferences import Wishes
from delivery import dispatch
from delivery.channels.memory import Memory
from delivery.models import FrequencyCap, Message, MessageContent, SendingHours, SendingRules
from delivery.policies import approval
from delivery.policies.approval import ApprovalError
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db


def user(name: str, may: bool = True) -> User:
    made = User.objects.create_user(name, is_staff=True)
    if may:
        made.user_permissions.add(Permission.objects.get(codename="approve_transactional"))
    return User.objects.get(pk=made.pk)


@pytest.fixture
def receipt() -> Message:
    return world.message("receipt", topic="news", transactional=True, transactional_marked_by=user("mary"))


def approved(message: Message) -> bool:
    return Message.objects.get(pk=message.pk).exempt


def test_only_somebody_else_who_may_approves(receipt: Message) -> None:
    for by in (receipt.transactional_marked_by, user("paul", may=False)):
        with pytest.raises(ApprovalError):
            approval.approve(by, receipt.pk)
    adam, eve = user("adam"), user("eve")
    LogEntry.objects.create(
        user=adam, content_type=ContentType.objects.get_for_model(Message), object_id=str(receipt.pk),
        action_flag=CHANGE, change_message="[]",
    )  # fmt: skip
    with pytest.raises(ApprovalError, match="edited last"):
        approval.approve(adam, receipt.pk)
    assert not approved(receipt)
    approval.approve(eve, receipt.pk, NOW)
    assert approved(receipt)
    assert AuditEntry.objects.get(action="message.approved_as_transactional").actor == "eve"


def test_any_change_takes_the_approval_back_and_nothing_else_gives_one(receipt: Message) -> None:
    boss = user("boss")
    [words] = MessageContent.objects.filter(message=receipt)
    stale = Message.objects.get(pk=receipt.pk)

    def change(name: str) -> None:
        if name == "words":
            words.content = {"text": "Buy!"}
            words.save()
        elif name == "more words":
            MessageContent.objects.create(
                message=receipt, channel="memory", locale="pl", content={"text": "x"}
            )
        elif name == "fewer words":
            MessageContent.objects.filter(locale="pl").delete()
        elif name == "field":
            Message.objects.filter(pk=receipt.pk).update(name="Sale")
        else:
            approval.withdraw(boss, receipt.pk)

    for name in ("words", "more words", "fewer words", "field", "by hand"):
        approval.approve(boss, receipt.pk, NOW)
        Message.objects.get(pk=receipt.pk).save()  # nothing was changed
        words.save()
        assert approved(receipt)
        change(name)
        assert not approved(receipt), name
    stale.transactional_approved_at = NOW  # what a form that was loaded before would write
    stale.save()
    assert not approved(receipt)
    Message.objects.create(slug="copy", name="Copy", transactional=True, transactional_approved_at=NOW)
    assert not Message.objects.get(slug="copy").exempt


def test_marketings_rules_spare_it_and_the_others_hold(receipt: Message, memory: Memory) -> None:
    rules = SendingRules.of_account()
    FrequencyCap.objects.create(rules=rules, number=1, period="month")
    SendingHours.objects.create(
        rules=rules, kind="quiet", start="00:00", end="00:00", days=[1, 2, 3, 4, 5, 6, 7]
    )
    wishes = Wishes(frequencies={"news": "important"}, quiet_from=time(0), quiet_to=time(23))
    agreed, asked_never, left, blocked = (world.person(n, agrees=n == 0) for n in range(4))
    preferences.save(agreed.pk, wishes, NOW)
    consent.record([consent.Change(agreed.pk, "topic", "news", "unsubscribed", "test", NOW)])
    world.answer(left, "unsubscribed", ["memory"])
    Suppression.objects.create(channel="all", address=blocked.email, reason="complaint")
    people = [agreed, asked_never, left, blocked]
    deliveries = world.queue(receipt, people)
    approval.approve(user("boss"), receipt.pk, NOW)
    dispatch.run(NOW)
    found = []
    for delivery in deliveries:
        delivery.refresh_from_db()
        found.append((delivery.state, delivery.reason))
    assert found == [
        ("sent", ""),
        ("sent", ""),
        ("suppressed", "no consent"),
        ("suppressed", "address suppressed"),
    ]


def test_without_approval_it_is_marketing(receipt: Message, memory: Memory) -> None:
    [delivery] = world.queue(receipt, [world.person(agrees=False)])
    dispatch.run(NOW)
    delivery.refresh_from_db()
    assert delivery.reason == "no consent"
