"""What the workers run. Each may run twice, late or never."""

import time
from contextlib import suppress

from celery import current_app, shared_task
from django.utils import timezone

from crm import retention as crm_retention
from delivery import (
    accounts,
    alert_mail,
    channels,
    coupons,
    inbound_replies,
    reports,
    retention,
    spool_drain,
    streams,
)
from delivery import dispatch as dispatcher
from delivery.dispatch import lanes, late
from delivery.links import hits
from delivery.policies import places
from delivery.streams import calling

QUEUE = "delivery"
BUDGET = 20.0  # seconds; then the next sweep goes on, so that a restart never waits long


@shared_task
def dispatch() -> None:
    """Take over from workers that fell silent, and see to it that every lane in which something is due is worked on.

    The first of them is worked on here; the others get tasks of their own, so that none waits for another.
    """
    now = timezone.now()
    while dispatcher.recover(now, 1000):
        pass
    first = None
    for channel in dict.fromkeys(lane.channel for lane in lanes.due(now)):
        if channel not in channels.everything():
            send(channel)  # not installed any more: told so at once
        elif first is None:
            first = channel
        else:
            current_app.send_task(f"delivery.send.{channel}", queue=QUEUE, expires=30, ignore_result=True)
    if first is not None:
        send(first)


def send(channel: str) -> None:
    """Send what is due by one channel, transactional messages first."""
    end = time.monotonic() + BUDGET
    for lane in lanes.of(channel):
        dispatcher.drain(lane, end - time.monotonic())


def _task(channel: str) -> None:
    @shared_task(name=f"delivery.send.{channel}")
    def sender() -> None:
        send(channel)


for _channel in channels.everything():
    _task(_channel)


@shared_task
def note_used_coupons() -> None:
    """Look in the log for coupon codes that were used."""
    end = time.monotonic() + BUDGET
    while coupons.read() and time.monotonic() < end:
        pass


@shared_task
def match_reports() -> None:
    """Find the messages of providers' reports that came before their answers."""
    end = time.monotonic() + BUDGET
    while reports.match_waiting() and time.monotonic() < end:
        pass


@shared_task
def drain_spool() -> None:
    """Store what web processes of this host have left behind; while they live, they do so themselves."""
    with suppress(spool_drain.Away):
        spool_drain.run(BUDGET)


@shared_task
def judge_clicks() -> None:
    """Tell people's clicks from those of machines, and log them."""
    end = time.monotonic() + BUDGET
    while hits.settle() and time.monotonic() < end:
        pass


@shared_task
def empty_sandbox() -> None:
    """Drop what the sandbox has kept for long enough."""
    end = time.monotonic() + BUDGET
    while accounts.empty_sandbox() and time.monotonic() < end:
        pass


@shared_task
def answer_inbound() -> None:
    """Answer people who wrote STOP, START or HELP."""
    end = time.monotonic() + BUDGET
    while inbound_replies.send() and time.monotonic() < end:
        pass


@shared_task
def run_streams() -> None:
    """Tell other systems of what happened."""
    calling.run(BUDGET)


@shared_task
def forget_stream_calls() -> None:
    """Drop what other systems were told of a week ago."""
    end = time.monotonic() + BUDGET
    while streams.forget() and time.monotonic() < end:
        pass


@shared_task
def end_late() -> None:
    """End what waits for too long where sending rests."""
    end = time.monotonic() + BUDGET
    while late.end(timezone.now()) and time.monotonic() < end:
        pass


@shared_task
def mail_alerts() -> None:
    """Mail new alerts to administrators."""
    alert_mail.send()


@shared_task
def forget_reports() -> None:
    """Drop providers' reports of messages that are not ours."""
    end = time.monotonic() + BUDGET
    while reports.forget_unmatched() and time.monotonic() < end:
        pass


@shared_task
def forget_content() -> None:
    """At night, drop the words of messages that are over their time."""
    now = timezone.now()
    if crm_retention.is_night(now):
        retention.apply(now)


@shared_task
def forget_places() -> None:
    """Drop what no limit counts any more."""
    places.forget_old()
