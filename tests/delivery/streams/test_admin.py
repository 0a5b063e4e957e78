"""Event streams in the admin: who may set them up, what they may tell, and the secret that is shown once."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from config import roles
from crm.models import AuditEntry, Profile
from delivery import streams
from delivery.models import EventStream, StreamCall
from delivery.streams import feeding
from tests.delivery import services, world
from tests.delivery.streams.test_streams import NOW, happened

pytestmark = pytest.mark.django_db
LIST, ADD = "admin:delivery_eventstream_changelist", "admin:delivery_eventstream_add"


def as_role(role: str) -> Client:
    roles.ensure()
    user = User.objects.create(username=role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def service(settings: Any) -> Iterator[services.Service]:
    with services.serving(lambda request: (204, {}, b"")) as found:
        settings.NUDGE_WEBHOOK_HOSTS = [found.host]
        yield found


def fields(service: services.Service, **more: Any) -> dict[str, Any]:
    return {"name": "Shop", "url": service.url + "/hook", "names": ["message_sent", "message_opened"], **more}


def page(stream: EventStream, name: str = "change") -> str:
    return reverse(f"admin:delivery_eventstream_{name}", args=[stream.pk])


@pytest.mark.django_db(transaction=True)
def test_a_stream_is_set_up_tried_paused_and_deleted(service):
    admin = as_role("Administrator")
    receipt = world.message("receipt")
    refused = admin.post(reverse(ADD), fields(service, url="http://127.0.0.1:1/"))
    assert b"https://" in refused.content
    assert not EventStream.objects.exists()
    made = admin.post(reverse(ADD), fields(service, of_messages=[receipt.pk], tells_numbers="on"))
    [secret] = re.findall(rb"whsec_[\w+/=]+", made.content)
    assert "no-store" in made["Cache-Control"]
    stream = EventStream.objects.get()
    assert (stream.names, stream.message_ids, stream.tells_numbers) == (
        ["message_sent", "message_opened"],
        [receipt.pk],
        True,
    )
    assert secret not in admin.get(page(stream)).content
    tried = admin.post(page(stream, "test"), follow=True)
    assert b"was taken (HTTP 204)" in tried.content
    assert b"stream_" in tried.content
    renewed = admin.post(page(stream, "secret"))
    assert secret not in renewed.content
    assert b"whsec_" in renewed.content
    happened(Profile.objects.create(email="ada@example.com"), 3)
    feeding.feed(NOW)
    assert b"3 events" in admin.get(reverse(LIST)).content
    admin.post(page(stream, "pause"))
    shown = admin.get(page(stream)).content
    assert b"Go on where it stopped" in shown
    assert b"ada@example.com" not in shown
    admin.post(page(stream, "resume"), {"skip": "1"})
    assert StreamCall.objects.filter(state="left_out").count() == 1
    admin.post(page(stream), fields(service, name="Till"))
    stream.refresh_from_db()
    assert (stream.name, stream.message_ids, stream.state) == ("Till", [], "active")
    admin.post(page(stream, "delete"), {"post": "yes"})
    assert not EventStream.objects.exists()
    told = " ".join(map(str, AuditEntry.objects.values_list("action", "detail")))
    assert "event_stream_secret_made" in told
    assert secret.decode() not in told


def test_a_developer_sets_streams_up_but_has_no_customer_numbers_told(service):
    developer = as_role("Developer")
    assert b"tells_numbers" not in developer.get(reverse(ADD)).content
    developer.post(reverse(ADD), fields(service, tells_numbers="on"))
    stream = EventStream.objects.get()
    assert not stream.tells_numbers
    EventStream.objects.update(tells_numbers=True)
    developer.post(page(stream), fields(service, name="Renamed"))
    assert EventStream.objects.get().tells_numbers, "nobody new learns anything by that"
    developer.post(page(stream), fields(service, url=service.url + "/mine"))
    assert not EventStream.objects.get().tells_numbers
    assert developer.get(reverse(LIST)).status_code == 200


@pytest.mark.parametrize("role", ["Marketer", "Analyst"])
def test_others_have_no_business_there(role, service):
    stream = EventStream(name="Shop", url=service.url, names=["message_sent"])
    streams.create(stream)
    client = as_role(role)
    answers = [client.get(reverse(LIST)), client.get(reverse(ADD)), client.get(page(stream))]
    answers += [client.post(page(stream, name)) for name in ("pause", "resume", "secret", "test", "delete")]
    assert {answer.status_code for answer in answers} == {403}
    assert client.get(page(stream, "secret")).status_code == 403
    assert EventStream.objects.get().state == "active"


def test_a_message_that_is_deleted_does_not_widen_the_stream(service):
    admin = as_role("Administrator")
    receipt = world.message("receipt")
    stream = EventStream(name="Shop", url=service.url, names=["message_sent"], message_ids=[receipt.pk])
    streams.create(stream)
    receipt.delete()
    admin.post(page(stream), fields(service))
    assert EventStream.objects.get().message_ids == [stream.message_ids[0]]
