"""Sends the benchmark's emails with the product and with django-post_office; prints one JSON object of messages per
second by the clock and per CPU second of the senders and the database, each in the round that was disturbed least.

Both send the same HTML and text, over connections that stay open, to the same server. The product's part goes from due
rows to recorded results: policies, filling in, database and log; post_office's sends what was made ready before.
"""

import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable

import django

COUNT = 1000  # messages per round
ROUNDS = 3
CONTENT = {
    "subject": "{{ profile.first_name }}, your cart waits",
    "preheader": "Three things are still in it",
    "blocks": [
        {"kind": "logo"},
        {"kind": "heading", "text": "Hello {{ profile.first_name }}"},
        {
            "kind": "text",
            "text": "Your **cart** waits for you. " * 8 + "See [the shop](https://shop.example/).",
        },
        {
            "kind": "image",
            "src": "https://shop.example/cup.png",
            "alt": "A cup",
            "href": "https://shop.example/",
        },
        {"kind": "button", "label": "To the cart", "href": "https://shop.example/cart?u={{ profile.id }}"},
    ],
}
Rates = dict[str, list[float]]


def main(port: int) -> None:
    """Take turns for ROUNDS rounds; the best are printed."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.email_settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", "post_office", verbosity=0)
    html, text = _people(port)
    gc.collect()  # as the product's workers do (config/celery.py); the peer sends from the same process
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    senders: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "one": (_queue, _drain),
        "two": (_queue, lambda: _processes(2)),
        "post_office": (lambda: _queue_post_office(html, text), lambda: _post_office(1)),
        "post_office two": (lambda: _queue_post_office(html, text), lambda: _post_office(2)),
    }
    wall: Rates = {name: [] for name in senders}
    cpu: Rates = {name: [] for name in senders}
    for number in range(ROUNDS + 1):
        for name, (prepare, send) in senders.items():
            prepare()
            before, began_cpu, began = _taken(port), _cpu(), time.perf_counter()
            send()
            took, took_cpu = time.perf_counter() - began, _cpu() - began_cpu
            if _taken(port) - before != COUNT:
                raise RuntimeError(f"{name}: {_taken(port) - before} of {COUNT} arrived")
            if number:  # the first round warms up
                wall[name].append(COUNT / took)
                cpu[name].append(COUNT / took_cpu)
    found = {"wall": wall, "cpu": cpu}
    print(
        json.dumps({kind: {name: max(each) for name, each in rates.items()} for kind, rates in found.items()})
    )


def _cpu() -> float:
    """CPU seconds of the senders and of the database."""
    from benchmarks import cpu

    return cpu.own() + cpu.database()


def _taken(port: int) -> int:
    import smtplib

    with smtplib.SMTP("127.0.0.1", port) as server:
        return int(server.docmd("COUNT")[1])


def _people(port: int) -> tuple[str, str]:
    """Make people who agreed, the message and the account; return HTML and text of one email."""
    from django.utils import timezone

    from crm.models import Consent, Profile
    from delivery import channels
    from delivery.email import keeping
    from delivery.models import Account, Message, MessageContent
    from delivery.preferences import links

    profiles = Profile.objects.bulk_create(
        Profile(first_name=f"Ann{n}", email=f"ann{n}@example.com") for n in range(COUNT)
    )
    Consent.objects.bulk_create(
        Consent(
            profile=p,
            kind="channel",
            key="email",
            state="subscribed",
            source="bench",
            changed_at=timezone.now(),
        )
        for p in profiles
    )
    Account.objects.filter(channel="email").delete()
    Account.objects.create(
        name="Sink",
        slug="sink",
        channel="email",
        provider="smtp",
        config={"host": "127.0.0.1", "port": port, "security": "none", "from_address": "news@shop.example"},
    )
    message = Message.objects.create(slug="bench", name="Bench")
    MessageContent.objects.create(message=message, channel="email", content=CONTENT)
    import msgspec

    filled = (
        channels.get("email")
        .compile(CONTENT)
        .render({"profile": {"id": 1, "first_name": "Ann"}, **links.example()})
    )
    return keeping.html(msgspec.to_builtins(filled)), keeping.plain(msgspec.to_builtins(filled))


def _queue() -> None:
    """One message for everybody."""
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
                channel="email",
                origin_type="broadcast",
            )
            for pk in Profile.objects.values_list("pk", flat=True)
        ]
    )


def _drain() -> None:
    from delivery import dispatch

    lane = dispatch.Lane("email", False)
    while not dispatch.run_lane(lane, limit=500).idle:
        pass


def _processes(count: int) -> None:
    from django.db import connections

    from delivery.providers import smtp

    smtp.pool.clear()
    connections.close_all()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_drain) for _number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _queue_post_office(html: str, text: str) -> None:
    from post_office.models import PRIORITY, STATUS, Email

    Email.objects.all().delete()
    Email.objects.bulk_create(
        Email(
            from_email="news@shop.example",
            to=[f"ann{number}@example.com"],
            subject=f"Ann{number}, your cart waits",
            message=text,
            html_message=html,
            headers={
                "List-Unsubscribe": "<https://nudge.example/p/t/unsubscribe/>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
                "Feedback-ID": "broadcast0:1:marketing:nudge",
            },
            priority=PRIORITY.medium,
            status=STATUS.queued,
            backend_alias="default",
        )
        for number in range(COUNT)
    )


def _post_office(processes: int) -> None:
    from django.db import connections
    from post_office.mail import send_queued

    send_queued(processes=processes, log_level=1)
    connections.close_all()  # its processes have closed the connection that they were forked with


if __name__ == "__main__":
    main(int(sys.argv[1]))
