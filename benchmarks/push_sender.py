"""Sends the benchmark's pushes with the product and with pywebpush; prints one JSON object of messages per second.

All use the same subscriptions, text and key. Rates are per CPU second of this process, which is per core, and by the
clock; the push service has a core of its own, and PostgreSQL shares it.
"""

import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import certifi
import django
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

STAGE = 2000  # messages per round
PEER = 300
AT_ONCE = 100  # by webpush_async, as many as by ours
ROUNDS = 5
BODY = "Your cart waits for you. " * 8  # about 300 bytes of JSON in all

Rates = dict[str, float]


def main(services: dict[str, str]) -> None:
    """Take turns for ROUNDS rounds; medians are printed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    gc.freeze()  # as workers do (config/celery.py)
    gc.set_threshold(20_000, 20, 20)
    devices = _people(services["plain"])
    senders: dict[str, Callable[[], int]] = {
        "stage": Stage(),
        "channel": ChannelAlone(),
        "webpush": _pywebpush(devices, None),
        "webpush_session": _pywebpush(devices, requests.Session()),
        "webpush_async": _webpush_async(devices),
        "encrypt": _encrypt_only(devices),
    }
    over_tls = {name: origin for name, origin in services.items() if name != "plain"}
    if over_tls:
        certifi.where = lambda: os.environ["BENCHMARK_CERTIFICATE"]
        senders |= {name: ChannelAlone(origin) for name, origin in over_tls.items()}
    cpu: dict[str, list[float]] = {name: [] for name in senders}
    wall: dict[str, list[float]] = {name: [] for name in senders}
    for number in range(ROUNDS + 1):
        for name, send in senders.items():
            prepare = getattr(send, "prepare", None)
            if prepare:
                prepare()
            began, began_cpu = time.perf_counter(), time.process_time()
            count = send()
            took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
            if number:  # the first round warms up
                cpu[name].append(count / took_cpu)
                wall[name].append(count / took)
    print(
        json.dumps(
            {
                "cpu": {name: statistics.median(rates) for name, rates in cpu.items()},
                "wall": {name: statistics.median(rates) for name, rates in wall.items()},
            }
        )
    )


def _people(origin: str) -> list[dict]:
    from django.utils import timezone

    from crm.models import Consent, Device, Profile
    from delivery import vapid
    from delivery.models import Message, MessageContent

    profiles = Profile.objects.bulk_create(Profile(first_name=f"Ann{n}") for n in range(STAGE))
    Consent.objects.bulk_create(
        Consent(
            profile=p,
            kind="channel",
            key="webpush",
            state="subscribed",
            source="bench",
            changed_at=timezone.now(),
        )
        for p in profiles
    )
    devices = []
    for profile in profiles:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        devices.append(
            Device(
                profile=profile,
                endpoint=f"{origin}/push/{profile.pk}",
                p256dh=vapid.b64url(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
                auth=vapid.b64url(os.urandom(16)),
            )
        )
    Device.objects.bulk_create(devices)
    message = Message.objects.create(slug="bench", name="Bench")
    content = {"title": "Hello {{ profile.first_name }}", "body": BODY, "url": "/cart"}
    MessageContent.objects.create(message=message, channel="webpush", content=content)
    return [{"endpoint": d.endpoint, "keys": {"p256dh": d.p256dh, "auth": d.auth}} for d in devices]


class Stage:
    """The product from due rows to recorded results: policies, texts, encryption, network, database and log."""

    def __init__(self) -> None:
        self.round = 0

    def prepare(self) -> None:
        """Queue one message for everybody."""
        from crm.models import Profile
        from delivery import outbox
        from delivery.models import Message

        self.round += 1
        message = Message.objects.get(slug="bench")
        outbox.queue(
            [
                outbox.DeliveryRequest(
                    cause=f"bench:{self.round}:{pk}",
                    message_id=message.pk,
                    profile_id=pk,
                    channel="webpush",
                    origin_type="broadcast",
                )
                for pk in Profile.objects.values_list("pk", flat=True)
            ]
        )

    def __call__(self) -> int:
        """Drain it in batches of 1,000."""
        from delivery import dispatch

        sent = 0
        while not (result := dispatch.run()).idle:
            sent += result.sent
        if sent != STAGE:
            raise RuntimeError(f"{sent} of {STAGE} were sent")
        return sent


class ChannelAlone:
    """The web push channel alone: encryption and network, no database; `origin` is another service to post to."""

    def __init__(self, origin: str = "") -> None:
        self.origin = origin

    def prepare(self) -> None:
        """Compose one message for everybody."""
        from django.utils import timezone

        from crm.models import Profile
        from delivery import channels
        from delivery.channels.base import Address, Parcel
        from delivery.models import Delivery, Message

        self.now = timezone.now()
        self.channel = channels.get("webpush")
        message = Message.objects.get(slug="bench")
        content = self.channel.Config(title="Hello Ann", body=BODY, url="/cart")
        addresses = self.channel.addresses(list(Profile.objects.values_list("pk", flat=True)))
        self.parcels = []
        for profile_id, [address] in addresses.items():
            if self.origin:
                device = address.device
                device.endpoint = f"{self.origin}/push/{profile_id}"
                address = Address(device.endpoint, device)
            delivery = Delivery(
                pk=profile_id,
                message=message,
                profile_id=profile_id,
                channel="webpush",
                expires_at=self.now + timedelta(hours=24),
            )
            self.parcels.append(
                Parcel(profile_id, delivery, address, self.channel.compose(delivery, content))
            )

    def __call__(self) -> int:
        """Send them all."""
        results = list(self.channel.send(self.parcels, self.now))
        if any(result.outcome != "accepted" for result in results):
            raise RuntimeError(str(next(result for result in results if result.outcome != "accepted")))
        return len(results)


def _pywebpush(devices: list[dict], session: requests.Session | None) -> Callable[[], int]:
    from pywebpush import webpush

    from delivery import vapid

    private = vapid.get_or_create().private_key
    data = json.dumps({"title": "Hello Ann", "body": BODY, "url": "/cart", "tag": "t", "token": "x" * 48})

    def send() -> int:
        for device in devices[:PEER]:
            # Fresh claims each time: it writes the audience into the dict it is given.
            claims = {"sub": "mailto:operator@nudge.example"}
            webpush(device, data, private, claims, ttl=86400, timeout=30, requests_session=session)
        return PEER

    return send


def _webpush_async(devices: list[dict]) -> Callable[[], int]:
    import aiohttp
    from pywebpush import webpush_async

    from delivery import vapid

    private = vapid.get_or_create().private_key
    data = json.dumps({"title": "Hello Ann", "body": BODY, "url": "/cart", "tag": "t", "token": "x" * 48})

    async def send_all() -> int:
        room = asyncio.Semaphore(AT_ONCE)
        async with aiohttp.ClientSession() as session:

            async def one(device: dict) -> None:
                claims = {"sub": "mailto:operator@nudge.example"}
                async with room:
                    answer = await webpush_async(
                        device, data, private, claims, ttl=86400, timeout=30, aiohttp_session=session
                    )
                    await answer.read()

            await asyncio.gather(*map(one, devices[:PEER]))
        return PEER

    return lambda: asyncio.run(send_all())


def _encrypt_only(devices: list[dict]) -> Callable[[], int]:
    from delivery.encryption import encrypt

    plaintext = json.dumps(
        {"title": "Hello Ann", "body": BODY, "url": "/cart", "tag": "t", "token": "x" * 48}
    ).encode()

    def send() -> int:
        for device in devices[:PEER]:
            encrypt(plaintext, **device["keys"])
        return PEER

    return send


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
