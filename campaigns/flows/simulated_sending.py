"""What would have become of simulated messages, asked of the policies that decide about real ones.

Consents, addresses, suppressions and wishes are those of today: there is no history of them that sending could ask.
What counts under limits, and as the same by another channel, is kept here in memory: the simulated messages alone.
That somebody opened a message by another channel is not known, since nobody got any.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from campaigns.flows import guards, local, windows
from campaigns.flows.definition import Definition
from delivery import channels
from delivery.models import Delivery, Message
from delivery.policies import (
    Facts,
    Verdict,
    ages,
    applies,
    caps,
    consent,
    expiry,
    limited,
    people,
    places,
    preferences,
    reachability,
    rules,
    settled,
    suppress,
    suppression,
    timing,
)

UNKNOWN = "no such message"


class Letter(msgspec.Struct):
    """One message on its way. `number` tells it apart; `run` is whatever it was queued by."""

    number: int
    run: Any
    profile_id: int
    step: str
    message: str
    channel: str
    expires_at: datetime
    due_at: datetime


class Post:
    """Decides about letters, a batch at a time."""

    def __init__(self, definition: Definition):
        self.definition = definition
        self._messages: dict[str, Message | None] = {}
        self._taken: dict[int, list[places.Taken]] = {}  # what counts under limits, by person
        self._questions: dict[tuple[int, str], datetime] = {}  # when people were last asked, by channel

    def message(self, slug: str) -> Message | None:
        """The message with this short name, asked for once."""
        if slug not in self._messages:
            self._messages[slug] = Message.objects.filter(slug=slug).first()
        return self._messages[slug]

    def lasts(self, slug: str) -> timedelta:
        """How long a message may wait."""
        message = self.message(slug)
        return timedelta(hours=message.expires_after_hours if message else 0)

    def judge(
        self, letters: Sequence[Letter], now: datetime, guarded: Mapping[int, Verdict] | None = None
    ) -> dict[int, Verdict]:
        """A verdict for each letter that may not go out now. At most one letter for each person at a time.

        Args:
            guarded: what the flow itself has against letters; consent and addresses come before it.
        """
        own = guarded or {}
        verdicts = {
            letter.number: suppress(UNKNOWN)
            for letter in letters
            if self.message(letter.message) is None or letter.channel not in channels.everything()
        }
        deliveries = [self._delivery(letter) for letter in letters if letter.number not in verdicts]
        facts = Facts(self._addresses(deliveries))
        for policy in (
            expiry.judge,
            consent.judge,
            suppression.judge,
            reachability.judge,
            lambda left, _facts, _now: {each.pk: own[each.pk] for each in left if each.pk in own},
            self._window,
            ages.judge,
            preferences.judge,
            timing.judge,
            self._limits,
            self._asked,
        ):
            left = [each for each in deliveries if each.pk not in verdicts and applies(policy, each)]
            if left:
                verdicts |= policy(left, facts, now)
        by_number = {delivery.pk: delivery for delivery in deliveries}
        verdicts |= {
            number: settled(verdicts[number], delivery)
            for number, delivery in by_number.items()
            if number in verdicts
        }
        return verdicts

    def _delivery(self, letter: Letter) -> Delivery:
        return Delivery(
            pk=letter.number,
            profile_id=letter.profile_id,
            message=self.message(letter.message),
            channel=letter.channel,
            expires_at=letter.expires_at,
            due_at=letter.due_at,
            origin_type=Delivery.Origin.FLOW,
            when_limited=self.definition.when_limited,
            priority=self.definition.priority,
            # What one step sends by one channel after the other belongs together.
            cause=f"flow:{letter.run.number if letter.run else 0}:{letter.step}",
        )

    def _addresses(self, deliveries: Sequence[Delivery]) -> dict[int, Any]:
        found: dict[int, Any] = {}
        for kind in {delivery.channel for delivery in deliveries}:
            group = [delivery for delivery in deliveries if delivery.channel == kind]
            by_profile = channels.get(kind).addresses({delivery.profile_id for delivery in group})
            found |= {delivery.pk: list(by_profile.get(delivery.profile_id, ())) for delivery in group}
        return found

    def _window(self, deliveries: list[Delivery], facts: Facts, now: datetime) -> Mapping[int, Verdict]:
        """As the guard of flows does."""
        window = self.definition.window
        if window is None:
            return {}
        zones = local.zones({delivery.profile_id for delivery in deliveries})
        opens = {
            delivery.pk: windows.opening(window, zones[delivery.profile_id], now) for delivery in deliveries
        }
        return {pk: limited(at, guards.OUTSIDE) for pk, at in opens.items() if at is not None}

    def _limits(self, deliveries: list[Delivery], facts: Facts, now: datetime) -> Mapping[int, Verdict]:
        """As caps.judge; of each person there is one at most, so none waits for another."""
        left = [delivery for delivery in deliveries if not delivery.message.exempt]
        known = rules.of(facts, left)
        wishes = preferences.wishes_of(facts, left)
        them = people.of(facts, {delivery.profile_id for delivery in left})
        verdicts = {}
        for delivery in left:
            rule, before = known[delivery.message_id], self._taken.setdefault(delivery.profile_id, [])
            which = caps.applicable(delivery, rule, preferences.weekly(delivery, wishes))
            refusal = caps.against(delivery, rule, which, before, them[delivery.profile_id].zone, now)
            if refusal is None:
                before.append(places.of(delivery, now))
            else:
                verdicts[delivery.pk] = caps.verdict(refusal, delivery, rule)
        return verdicts

    def _asked(self, deliveries: list[Delivery], facts: Facts, now: datetime) -> Mapping[int, Verdict]:
        """As consent.judge_last."""
        return {
            delivery.pk: suppress(consent.ASKED_ALREADY)
            for delivery in deliveries
            if delivery.message.confirms and self._asked_lately(delivery, now)
        }

    def _asked_lately(self, delivery: Delivery, now: datetime) -> bool:
        """Whether the person was asked before; otherwise they are now."""
        key = delivery.profile_id, delivery.channel
        asked = self._questions.get(key)
        if asked is not None and asked + consent.ASKED_AGAIN_AFTER > now:
            return True
        self._questions[key] = now
        return False
