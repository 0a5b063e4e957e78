"""What would hold a message to one person back now: each rule with whether it is met."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from crm.models import Profile
from delivery import channels
from delivery.admin.reasons import explain
from delivery.models import Delivery, Message
from delivery.policies import (
    Facts,
    Verdict,
    ages,
    caps,
    clock,
    collisions,
    consent,
    emergency,
    holdouts,
    people,
    places,
    preferences,
    reachability,
    rules,
    suppression,
    timing,
    wording,
)

_USUAL = 3
_AGO = timedelta(days=32)


class Check(msgspec.Struct, frozen=True):
    """One rule: what it is about, whether it lets the message through, and why or what it counted."""

    about: str
    met: bool
    words: str = ""


def checks(profile: Profile, message: Message, channel: str, now: datetime | None = None) -> list[Check]:
    """Ask every policy about a message that is sent now; nothing is counted or kept.

    What a flow or broadcast itself has against its message is not asked: nobody knows which one would send it.
    """
    now = now or timezone.now()
    known = channels.everything().get(channel)
    delivery = Delivery(
        pk=0,
        cause="",
        profile_id=profile.pk,
        message=message,
        channel=channel,
        priority=_USUAL,
        origin_type=Delivery.Origin.API,
        due_at=now,
        queued_at=now,
        expires_at=now + timedelta(hours=message.expires_after_hours),
    )
    addresses = list(known.addresses([profile.pk]).get(profile.pk, ())) if known else []
    facts = Facts({0: addresses})
    facts.rules = rules.load([message])
    return list(_asked(delivery, facts, now))


def _asked(delivery: Delivery, facts: Facts, now: datetime) -> Iterator[Check]:
    def ask(about: str, policy: Callable[..., Any]) -> Check:
        verdict: Verdict | None = policy([delivery], facts, now).get(0)
        return Check(about, verdict is None, _words(verdict, facts, delivery) if verdict else "")

    held = emergency.holds(delivery.channel)
    yield Check(_("Emergency stop"), not held, _("Sending is stopped.") if held else "")
    yield ask(_("Consent"), consent.judge)
    yield ask(_("Address"), reachability.judge)
    if facts.addresses[0]:
        yield ask(_("Address may be written to"), suppression.judge)
    yield ask(_("Age"), ages.judge)
    if delivery.message.exempt:
        yield Check(
            _("Part of a service"),
            True,
            _("Approved as transactional: hours, wishes and limits do not hold."),
        )
        return
    yield ask(_("The person's wishes"), preferences.judge)
    yield ask(_("Hour"), timing.judge)
    yield ask(_("Seen by another channel"), collisions.judge)
    yield ask(_("Held out"), holdouts.foreseen)
    yield from _limits(delivery, facts, now)


def _limits(delivery: Delivery, facts: Facts, now: datetime) -> Iterator[Check]:
    rule = facts.rules[delivery.message_id]
    wants_weekly = preferences.weekly(delivery, preferences.wishes_of(facts, [delivery]))
    applicable = caps.applicable(delivery, rule, wants_weekly)
    others = places.read([delivery.profile_id], now - _AGO, now).get(delivery.profile_id, [])
    zone = people.of(facts, [delivery.profile_id])[delivery.profile_id].zone
    if rule.collision in rules.COUNTING:
        collides = caps.collides(delivery, rule, others, now)
        yield Check(_("Sent by another channel"), not collides, explain(caps.COLLISION) if collides else "")
    for cap in applicable:
        since = now - clock.ROLLING[cap.period] if cap.rolling else clock.period(cap.period, zone, now)[0]
        used = sum(
            at > since or (at == since and not cap.rolling) for at in caps.count(cap, delivery, others)
        )
        words = _("%(used)d of %(number)d so far.") % {"used": used, "number": cap.number}
        free_at = caps.free(cap, delivery, others, zone, now)
        if free_at is not None:
            words += " " + _("There is room again from %s on.") % moment(free_at, facts, delivery)
        about = _("The person's wish: once a week about the topic") if cap is caps.WISH else wording.cap(cap)
        yield Check(about, free_at is None, words)


def _words(verdict: Verdict, facts: Facts, delivery: Delivery) -> str:
    told = explain(verdict.reason)
    if verdict.until is not None:
        told += " " + _("It would go out from %s on.") % moment(verdict.until, facts, delivery)
    return told


def moment(at: datetime, facts: Facts, delivery: Delivery) -> str:
    """A moment by the clock of the person, with their zone."""
    zone = people.of(facts, [delivery.profile_id])[delivery.profile_id].zone
    return f"{formats.date_format(at.astimezone(zone), 'j F Y, H:i')} ({zone.key})"
