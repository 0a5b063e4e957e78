"""What the log tells of where a message went: enough to count by, and nothing that names the person."""

from datetime import UTC, datetime

import pytest

from crm.models import Device, Event, Profile
from delivery import receipts
from delivery.dispatch import traits
from delivery.models import Attempt, Delivery, Message

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "provider"),
    [
        ("ann@gmail.com", "gmail.com"),
        ("Ann@GMail.com", "gmail.com"),
        ("ann@her-own-name.example", "other"),
        ("", ""),
        (None, ""),
    ],
)
def test_only_mail_services_of_many_are_named(address, provider):
    assert traits.told("email", {"address": address}).get("provider", "") == provider


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("fcm.googleapis.com", "google"),
        ("updates.push.services.mozilla.com:443", "mozilla"),
        ("web.push.apple.com", "apple"),
        ("evilgoogleapis.com", "other"),
        ("", "other"),
    ],
)
def test_push_services_go_by_a_short_name(host, provider):
    assert traits.push_service(host) == provider


def test_nothing_is_told_of_what_is_not_known():
    assert traits.told("sms", None) == traits.told("webpush", {}) == {}


@pytest.mark.django_db
def test_a_message_that_was_sent_tells_of_the_person_and_the_device():
    ann = Profile.objects.create(email="ann@example.org", country="PL")
    device = Device.objects.create(
        profile=ann,
        endpoint="https://fcm.googleapis.com/fcm/send/secret",
        user_agent="Mozilla/5.0 (Linux; Android 14) Mobile",
    )
    message = Message.objects.create(slug="hi", name="Hi")
    sent = Delivery.objects.create(
        cause="t",
        message=message,
        profile=ann,
        channel="webpush",
        locale="pl",
        state="sending",
        due_at=NOW,
        expires_at=NOW,
        lease_until=NOW,
        origin_type="api",
        queued_at=NOW,
    )
    Attempt.objects.create(delivery=sent, device=device)
    receipts.mark_delivered({sent.pk: NOW})
    told = Event.objects.get(name="message_sent").properties
    assert {name: told[name] for name in ("locale", "country", "zone", "provider", "device")} == {
        "locale": "pl",
        "country": "PL",
        "zone": "Europe/Warsaw",
        "provider": "google",
        "device": "phone",
    }
    assert "secret" not in str(told)
    assert "ann@" not in str(told)
