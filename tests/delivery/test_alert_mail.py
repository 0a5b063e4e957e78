"""Alerts reach administrators by email, once each."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone

from crm import alerts
from crm.models import Alert
from delivery import accounts, alert_mail
from delivery.models import SandboxItem

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _people() -> None:
    User.objects.create(username="ada", email="ada@example.com", is_staff=True, is_superuser=True)
    User.objects.create(username="bo", email="bo@example.com", is_staff=True)


def test_new_alerts_are_mailed_once_to_whoever_may_close_them(settings) -> None:
    settings.EMAIL_HOST = "mail.example.com"
    alerts.raise_alert("a", "Main\ndoes not take our messages", "Look at it.")
    assert (alert_mail.send(), alert_mail.send()) == (1, 0)
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == (["ada@example.com"], "[Nudge] Main does not take our messages")
    assert "Look at it." in sent.body
    alerts.resolve("a")
    alerts.raise_alert("a", "Again", "…")
    assert alert_mail.send() == 0, "it comes and goes"
    Alert.objects.update(mailed_at=timezone.now() - timedelta(hours=2))
    alerts.raise_alert("a", "Still", "…")
    assert alert_mail.send() == 0, "it is the same one"
    alerts.resolve("a")
    alerts.raise_alert("a", "Once more", "…")
    assert alert_mail.send() == 1


def test_without_a_server_they_go_by_the_usual_email_account(settings) -> None:
    settings.EMAIL_HOST = ""
    alerts.raise_alert("a", "One", "…")
    assert alert_mail.send() == 0
    accounts.ensure_sandboxes()
    alerts.raise_alert("b", "Two", "…")
    assert alert_mail.send() == 2
    item = SandboxItem.objects.get()
    assert (item.address, item.payload["subject"]) == ("ada@example.com", "[Nudge] 2 problems")


def test_what_could_not_be_mailed_is_tried_again(settings) -> None:
    settings.EMAIL_HOST = "mail.example.com"
    alerts.raise_alert("a", "One", "…")
    usual, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, "nowhere.Backend"
    assert alert_mail.send() == 0
    settings.EMAIL_BACKEND = usual
    assert alert_mail.send() == 1
