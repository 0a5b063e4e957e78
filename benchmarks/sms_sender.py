"""Sends the benchmark's text messages; prints one JSON object of messages per second by the clock and by CPU second.

All send the same form to the same gateway: the product from due rows to recorded results; its provider alone; the HTTP
client alone with requests made ready before; and Twilio's own library, one after another.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import django

COUNT, LIBRARY = 2000, 200  # messages per round
ROUNDS = 3
THROTTLE, THROTTLED = 100, 600  # messages a second, and messages sent at that pace
SID, TOKEN = "AC" + "0" * 32, "token"


def main(port: int) -> None:
    """Take turns for ROUNDS rounds; medians are printed."""
    django.setup()
    account = _people(port)
    ways: dict[str, tuple[Callable[[], Any], Callable[[Any], None], int]] = {
        "product": (_queue, _drain, COUNT),
        "provider": (lambda: _parcels(account), lambda parcels: _provider(account, parcels), COUNT),
        "client": (lambda: list(_requests(account)), _client, COUNT),
        "library": (lambda: _library(port), lambda messages: _loop(messages, account), LIBRARY),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, (prepare, send, count) in ways.items():
            made = prepare()
            began, began_cpu = time.perf_counter(), time.process_time()
            send(made)
            took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
            if number:  # the first round warms up
                wall[name].append(count / took)
                cpu[name].append(count / took_cpu)
    found: dict[str, Any] = {
        kind: {name: statistics.median(each) for name, each in rates.items()}
        for kind, rates in {"wall": wall, "cpu": cpu}.items()
    }
    found["wall"]["throttled"], found["throttle"] = _throttled(account), THROTTLE
    print(json.dumps(found))


def _people(port: int) -> Any:
    """Make people who agreed, the message and the account."""
    from django.utils import timezone

    from crm.models import Consent, Profile
    from delivery.models import Account, Message, MessageContent

    people = Profile.objects.bulk_create(
        Profile(first_name=f"Ann{n}", phone=f"+48600{n:06d}") for n in range(COUNT)
    )
    now = timezone.now()
    Consent.objects.bulk_create(
        Consent(profile=p, kind="channel", key="sms", state="subscribed", source="bench", changed_at=now)
        for p in people
    )
    message = Message.objects.create(slug="bench", name="Bench")
    text = "{{ profile.first_name }}, your cart waits: https://shop.example/c/{{ profile.id }}"
    MessageContent.objects.create(message=message, channel="sms", content={"text": text, "opt_out": True})
    Account.objects.filter(channel="sms").delete()
    return Account.objects.create(
        name="Gateway",
        slug="gateway",
        channel="sms",
        provider="twilio",
        config={"account_sid": SID, "number": "+15017122661", "base_url": f"http://127.0.0.1:{port}"},
        credentials={"auth_token": TOKEN},
    )


def _queue(count: int = COUNT) -> None:
    """One message for each of so many people."""
    from crm.models import Profile
    from delivery import outbox
    from delivery.models import Delivery, Message

    message, number = Message.objects.get(slug="bench"), Delivery.objects.count()
    outbox.queue(
        [
            outbox.DeliveryRequest(
                cause=f"bench:{number}:{pk}",
                message_id=message.pk,
                profile_id=pk,
                channel="sms",
                origin_type="broadcast",
            )
            for pk in Profile.objects.values_list("pk", flat=True)[:count]
        ]
    )


def _drain(_made: None) -> None:
    from delivery import dispatch
    from delivery.models import Delivery

    lane = dispatch.Lane("sms", False)
    while not dispatch.run_lane(lane, limit=500).idle:
        pass
    if Delivery.objects.exclude(state="sent").exists():
        raise RuntimeError("not everything was sent")


def _parcels(account: Any) -> list[Any]:
    """What the dispatcher would hand to the provider."""
    from django.utils import timezone

    from crm.models import Profile
    from delivery.channels.base import Address, Parcel
    from delivery.channels.sms import SmsPayload
    from delivery.models import Delivery

    now = timezone.now()
    delivery = Delivery(channel="sms", queued_at=now, expires_at=now + timedelta(hours=1))
    text = "Ann, your cart waits: https://shop.example/c/12345\nReply STOP to unsubscribe."
    numbers = Profile.objects.values_list("phone", flat=True)
    return [
        Parcel(place, delivery, Address(phone), SmsPayload(text, "gsm7", 1), account.pk)
        for place, phone in enumerate(numbers)
    ]


def _provider(account: Any, parcels: list[Any]) -> None:
    from django.utils import timezone

    from delivery import accounts

    sender = accounts.sender(account)
    results = list(accounts.provider(account).send(sender, iter(parcels), timezone.now()))
    if {result.outcome for result in results} != {"accepted"}:
        raise RuntimeError("not everything was sent")


def _requests(account: Any) -> Iterator[Any]:
    """The same requests, made ready."""
    from django.utils import timezone

    from delivery import accounts, httpclient
    from delivery.providers.http import HttpProvider

    provider, sender = accounts.provider(account), accounts.sender(account)
    if not isinstance(provider, HttpProvider):
        raise TypeError(account.provider)
    shared = provider.prepare(sender, timezone.now())
    for parcel in _parcels(account):
        wanted = provider.request(shared, sender, parcel)
        yield httpclient.Request(parcel.number, wanted.url, wanted.headers, wanted.body, True, once=True)


def _client(requests: list[Any]) -> None:
    from delivery import httpclient, pushhosts

    if {answer.status for answer in httpclient.client(pushhosts.public).post(requests)} != {201}:
        raise RuntimeError("not everything was sent")


def _library(port: int) -> Any:
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    class Local(TwilioHttpClient):
        """Calls the gateway instead of api.twilio.com."""

        def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            return super().request(
                method, f"http://127.0.0.1:{port}/2010-04-01/Messages.json", *args, **kwargs
            )

    return Client(SID, TOKEN, http_client=Local()).messages


def _loop(messages: Any, account: Any) -> None:
    for number in range(LIBRARY):
        messages.create(
            to=f"+48600{number:06d}",
            from_="+15017122661",
            body="Ann, your cart waits: https://shop.example/c/12345\nReply STOP to unsubscribe.",
            status_callback="https://nudge.example.com/callbacks/x/",
        )


def _throttled(account: Any) -> float:
    """Messages a second that went out by an account with a throttle, its first second's worth left out."""
    from django.utils import timezone

    from delivery import dispatch
    from delivery.models import Account, Attempt

    Account.objects.filter(pk=account.pk).update(per_second=THROTTLE, next_at=None)
    _queue(THROTTLED)
    since = timezone.now()
    dispatch.drain(dispatch.Lane("sms", False), 60)
    times = sorted(Attempt.objects.filter(started_at__gte=since).values_list("finished_at", flat=True))
    if len(times) != THROTTLED:
        raise RuntimeError(f"{len(times)} of {THROTTLED} went out")
    return (THROTTLED - THROTTLE) / (times[-1] - times[0]).total_seconds()


if __name__ == "__main__":
    main(int(sys.argv[1]))
