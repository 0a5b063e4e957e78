"""How long the words of messages are kept."""

from datetime import datetime, timedelta

import pytest
from django.db import OperationalError, connection

from crm import privacy
from crm.models import Removal
from delivery import accounts, ledger, retention, tasks, wiring
from delivery.content import brand
from delivery.email import compiling, keeping
from delivery.models import Account, Delivery, EmailLayout, InboundMessage
from tests.delivery import world
from tests.delivery.world import NOW

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SAID = {"text": "Hello Ann"}
CONTEXT = {"event": {"name": "bought"}}


def sent(number: int, at: datetime, **more: object) -> Delivery:
    """Somebody's delivery of a message that expires after two days."""
    wanted = world.message(f"m{number}", expires_after_hours=48)
    [delivery] = world.queue(wanted, [world.person(number)], now=at)
    fields = {"state": "sent", "sent_at": at, "content": SAID, "context": CONTEXT, **more}
    Delivery.objects.filter(pk=delivery.pk).update(**fields)
    return delivery


def kept() -> list[int]:
    """Deliveries that have words or data."""
    rows = Delivery.objects.order_by("pk")
    return [row.pk for row in rows if row.content is not None or row.context]


def test_words_go_when_they_are_over_their_time_and_the_ledger_stays(monkeypatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    same = NOW - 40 * DAY
    gone = [sent(number, same, links=["https://shop.example.com/"]) for number in range(5)]
    failed = sent(6, NOW - 33 * DAY, state="failed", reason="render: no", content=None)
    waits = sent(7, same, state="deferred")
    shown = sent(8, NOW - 100 * DAY, channel="inapp")
    older = sent(9, NOW - 123 * DAY, channel="inapp")
    young = sent(10, NOW - 31 * DAY)  # it could be sent for two days
    assert retention.apply(NOW, days=30) == 7
    assert kept() == sorted([waits.pk, shown.pk, young.pk])
    assert ledger.resendable(Delivery.objects.all()).certain == 0, "it would say something else now"
    assert dict(Removal.objects.values_list("name", "rows")) == {retention.CONTENT: 6, retention.INAPP: 1}

    row = Delivery.objects.get(pk=gone[0].pk)
    assert (row.state, row.sent_at, row.attempts) == ("sent", same, 0)
    assert row.links == ["https://shop.example.com/"], "they go on working"
    assert {failed.pk, older.pk} <= set(Delivery.objects.values_list("pk", flat=True))

    assert retention.apply(NOW, days=30) == 0
    assert retention.apply(NOW + 2 * DAY, days=30) == 1
    assert young.pk not in kept()
    assert retention.apply(NOW + 900 * DAY, days=0) == 0


@pytest.mark.django_db(transaction=True)
def test_what_somebody_holds_is_waited_for() -> None:
    held, _other = sent(1, NOW - 40 * DAY), sent(2, NOW - 39 * DAY)
    with (
        connection.cursor() as cursor,
        connection.get_new_connection(connection.get_connection_params()) as own,
    ):
        own.execute("SELECT FROM delivery_delivery WHERE id = %s FOR NO KEY UPDATE", [held.pk])
        cursor.execute("SET lock_timeout = 100")
        with pytest.raises(OperationalError):
            retention.apply(NOW, days=30)
        own.rollback()
        cursor.execute("RESET lock_timeout")
    assert retention.apply(NOW, days=30) == 2
    assert kept() == []


def test_what_people_wrote_goes_and_what_it_meant_stays() -> None:
    accounts.ensure_sandboxes()
    account = Account.objects.get(channel="sms")
    for number, days in enumerate((29, 31)):
        InboundMessage.objects.create(
            account=account, key=str(number), channel="sms", address="+48600100200", text="Stop it, please",
            meaning="stop", reply="sent", reply_text="We don't write any more.", at=NOW - days * DAY,
        )  # fmt: skip
    assert retention.apply(NOW, days=30) == 1
    [young, old] = InboundMessage.objects.order_by("key")
    assert (old.text, old.reply_text, old.meaning) == ("", "", "stop")
    assert young.text == "Stop it, please"


def test_it_is_done_at_night_by_what_the_operator_set(settings, monkeypatch) -> None:
    settings.NUDGE_CONTENT_DAYS, settings.TIME_ZONE = 30, "UTC"
    old = sent(1, NOW - 40 * DAY)
    for hour, left in ((12, [old.pk]), (2, [])):
        monkeypatch.setattr(tasks.timezone, "now", lambda hour=hour: NOW.replace(hour=hour))
        tasks.forget_content()
        assert kept() == left


def test_the_words_of_providers_about_the_erased_go() -> None:
    """They often tell the address; our own reasons stay."""
    told = sent(1, NOW, state="failed", reason="550 5.1.1 <person1@example.com> unknown")
    plain = sent(2, NOW, state="failed", reason="unknown outcome")
    privacy.erase([told.profile_id, plain.profile_id], "test")
    assert dict(Delivery.objects.values_list("pk", "reason")) == {
        told.pk: wiring.DROPPED,
        plain.pk: "unknown outcome",
    }


def test_layouts_go_when_no_email_needs_them() -> None:
    """Also where it is not known when those were used that are older than the keeping itself."""
    content = {"subject": "Hi", "html": "<p>Hi</p>"}
    layout = compiling.CompiledEmail(content, brand.current()).layout.digest
    keeping.keep(layout)
    used = EmailLayout.objects.get()

    def unused_since(moment: datetime) -> None:
        EmailLayout.objects.update(used_at=moment)

    sent(1, NOW - 40 * DAY)
    unused_since(NOW - 40 * DAY)
    retention.apply(NOW, days=30)
    assert EmailLayout.objects.exists()  # the keeping began today: somebody may have used it since

    sent(2, NOW)
    later = NOW + 40 * DAY
    unused_since(NOW + 9 * DAY)
    retention.apply(later, days=30)
    assert EmailLayout.objects.exists()
    compiling.CompiledEmail(content, brand.current())
    keeping.keep(layout)
    assert EmailLayout.objects.get().used_at > used.used_at - DAY  # it is in use again

    unused_since(NOW - 40 * DAY)
    retention.apply(later + DAY, days=30)
    assert not EmailLayout.objects.exists()
    compiling.CompiledEmail(content, brand.current())
    assert keeping.keep(layout).html  # and is there again when it is needed
    assert EmailLayout.objects.exists()
