"""Message: put a message into people's outbox, by one channel, the one that suits them, or one after the other."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.flows import chains, choosing, waiting_words
from campaigns.flows.chains import Done, Hold, Link, cause
from campaigns.flows.message_forms import (
    CHAIN,
    CHEAPEST,
    CHOSEN,
    MOST_LINKS,
    PREFERRED,
    UNLESS,
    MessageForm,
    check_wait,
)
from campaigns.flows.steps.base import Outcome, Person, StepKind, go_on, wait
from crm.rules.errors import Problem, RuleError
from delivery import channels, outbox
from delivery.models import Message, MessageContent


class MessageConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which message (by its short name), and how: by a `channel`, the "preferred" or "cheapest" one, or a `chain`."""

    message: str
    channel: str = "webpush"
    channels: Literal["preferred", "cheapest"] | None = None
    chain: list[Link] | None = None


class SendMessage(StepKind):
    """Queues one delivery for each run; whether it may go out is decided when it is about to.

    A chain holds the run until one of its channels did its work, or the last one has its turn.
    """

    kind, label, icon, position = "message", gettext_lazy("Message"), "notifications", 10
    help = gettext_lazy("Send a message.")
    pure = False
    keeps_state = True
    Config, Form = MessageConfig, MessageForm

    def run(self, step, people, now):
        config = self.config(step)
        message = Message.objects.get(slug=config.message)
        if config.chain is not None:
            return _chain(step, config.chain, message, people, now)
        choices = _choices(config, message, people, now)
        outbox.queue(
            [_request(step, message, person, choices[person.profile_id]["channel"]) for person in people],
            now,
        )
        return {
            person.enrollment_id: go_on(message=message.slug, **choices[person.profile_id])
            for person in people
        }

    def rehearse(self, step, people, now):
        config = self.config(step)
        message = Message.objects.get(slug=config.message)
        if config.chain is not None:
            return _rehearsed_chain(config.chain, message, people, now)
        choices = _choices(config, message, people, now)
        return {
            person.enrollment_id: go_on(message=message.slug, **choices[person.profile_id])
            for person in people
        }

    def wakes(self, step):
        chain = self.config(step).chain
        return chains.wakes(chain) if chain else frozenset()

    def stored(self, cleaned):
        return MessageForm.config_of(cleaned)

    def initial(self, config):
        return MessageForm.initial_of(config)

    def summary(self, step):
        slug = step.config.get("message")
        name = (
            Message.objects.filter(slug=slug).values_list("name", flat=True).first()
            if isinstance(slug, str)
            else None
        )
        if not name:
            return str(_("No message chosen"))
        if step.config.get("channels") == PREFERRED:
            return _("%(message)s, by the channel that suits them") % {"message": name}
        if step.config.get("channels") == CHEAPEST:
            return _("%(message)s, by the cheapest channel that reaches them") % {"message": name}
        if isinstance(chain := step.config.get("chain"), list):
            words = " → ".join(channel_label(link.get("channel")) for link in chain if isinstance(link, dict))
            return f"{name} ({words})"
        return name

    def told(self, step, outcome: str, facts: dict[str, Any]) -> str:
        """One decision in words."""
        if outcome not in ("wait", "go_on"):
            return super().told(step, outcome, facts)
        by = channel_label(facts.get("channel"))
        if outcome == "wait":
            if by:
                return _("The message was asked for by %(channel)s; the next channel waits for its turn.") % {
                    "channel": by
                }
            return _("They wait until %s for the next channel.") % waiting_words.moment(facts.get("until"))
        because = facts.get("because")
        if because in UNLESS:
            words = {
                "opened": _("They opened the message (%s), so no other channel was tried."),
                "clicked": _("They clicked the message (%s), so no other channel was tried."),
                "sent": _("The message was sent (%s), so no other channel was tried."),
            }
            return words[because] % channel_label(facts.get("by"))
        if because == "gone":
            return _("What was sent before is no longer known, so no other channel was tried.")
        reasons = {
            choosing.WISH: _("it is the channel they wish for"),
            choosing.ENGAGEMENT: _("they open and click most there"),
            choosing.REACHABLE: _("it is the first that reaches them"),
            choosing.CHEAPEST: _("it is the cheapest that reaches them"),
            choosing.NOBODY: _("no channel reaches them"),
        }
        if because in reasons:
            return _("The message was asked for by %(channel)s: %(why)s.") % {
                "channel": by,
                "why": reasons[because],
            }
        return _("The message was asked for by %(channel)s.") % {"channel": by}

    def config_problems(self, step, config):
        if not Message.objects.filter(slug=config.message).exists():
            return [Problem("message", _("There is no such message any more; choose another."))]
        written = written_for(config.message)
        if config.channels in CHOSEN:
            if config.chain is not None:
                return [Problem("chain", _("Choose either a channel for each person or a chain."))]
            return [] if written else [Problem("message", _("The message has no text for any channel."))]
        if config.chain is not None:
            return list(_chain_problems(config.chain, written))
        if config.channel not in written:
            return [Problem("channel", _("The message has no text for this channel."))]
        return []


def written_for(slug: str) -> list[str]:
    """The channels that a message has words for, those first that people choose first."""
    held = set(MessageContent.objects.filter(message__slug=slug).values_list("channel", flat=True).distinct())
    return [kind for kind in channels.everything() if kind in held]


def channel_label(kind: Any) -> str:
    """What a channel is called; its short name if it is not installed."""
    known = channels.everything().get(kind) if isinstance(kind, str) else None
    return str(known.label) if known else str(kind or "")


def _choices(
    config: MessageConfig, message: Message, people: Sequence[Person], now: datetime
) -> dict[int, dict[str, Any]]:
    """By profile: the channel, with why it is that one if there was a choice."""
    if config.channels not in CHOSEN:
        return {person.profile_id: {"channel": config.channel} for person in people}
    offered = written_for(config.message)
    if not offered:
        raise ValueError(f"The message {message.slug} has no text for any channel.")
    ids = {person.profile_id for person in people}
    if config.channels == CHEAPEST:
        cheap = choosing.cheapest(ids, offered, message.topic)
        return {profile_id: choice.facts for profile_id, choice in cheap.items()}
    found = choosing.preferred(ids, offered, message.topic, now)
    return {profile_id: choice.facts for profile_id, choice in found.items()}


def _request(
    step: Any,
    message: Message,
    person: Person,
    channel: str,
    cause_channel: str = "",
    expires_at: datetime | None = None,
) -> outbox.DeliveryRequest:
    return outbox.DeliveryRequest(
        cause=cause(person.enrollment_id, step.key, cause_channel),
        message_id=message.pk,
        profile_id=person.profile_id,
        channel=channel,
        origin_type="flow",
        origin_id=person.flow_id,
        origin_step=step.key,
        context=person.context,
        expires_at=expires_at,
        priority=person.priority,
        when_limited=person.when_limited,
    )


def _chain(
    step: Any, chain: Sequence[Link], message: Message, people: Sequence[Person], now: datetime
) -> dict[int, Outcome]:
    runs = {person.enrollment_id: person.profile_id for person in people}
    queued = chains.queued_for(runs, step.key, [link.channel for link in chain], now)
    outcomes, requests = {}, []
    for person in people:
        before = queued[person.enrollment_id]
        number = len(before)
        move = chains.decide(chain, before, int(person.state.get("queued", 0)), now)
        told: dict[str, Any] = {"message": message.slug}
        if isinstance(move, Hold):
            outcomes[person.enrollment_id] = wait(move.until, queued=number)
            continue
        if before:
            told["tried"] = [each.facts for each in before]
        if isinstance(move, Done):
            outcomes[person.enrollment_id] = _done(move, told)
            continue
        channel = move.link.channel
        expires_at = _expiry(message, now)
        if move.expires_at is not None:
            expires_at = min(expires_at, move.expires_at)
        # The first has the cause of a step without a chain, should the settings change while people are here.
        requests.append(_request(step, message, person, channel, channel if before else "", expires_at))
        if move.last:
            outcomes[person.enrollment_id] = go_on(**told, channel=channel)
        else:
            look = expires_at + chains.LOOK_AGAIN
            outcomes[person.enrollment_id] = wait(look, **told, channel=channel, queued=number + 1)
    outbox.queue(requests, now)
    return outcomes


def _done(move: Done, told: dict[str, Any]) -> Outcome:
    by: dict[str, Any] = {"by": move.by} if move.by else {}
    return go_on(**told, because=move.because, **by)


def _expiry(message: Message, now: datetime) -> datetime:
    """When a message that is queued now is too late to be sent."""
    return now + timedelta(hours=message.expires_after_hours)


def _rehearsed_chain(
    chain: Sequence[Link], message: Message, people: Sequence[Person], now: datetime
) -> dict[int, Outcome]:
    ids = {person.profile_id for person in people}
    reached = {link.channel: choosing.reachable(ids, link.channel, message.topic) for link in chain}
    outcomes = {}
    for person in people:
        ways = [kind for kind, profiles in reached.items() if person.profile_id in profiles]
        move, state = chains.rehearse(chain, person.state, ways, now)
        told: dict[str, Any] = {"message": message.slug}
        if isinstance(move, Hold):
            outcomes[person.enrollment_id] = wait(move.until, **state)
        elif isinstance(move, Done):
            outcomes[person.enrollment_id] = _done(move, told)
        elif move.last:
            outcomes[person.enrollment_id] = go_on(**told, channel=move.link.channel)
        else:
            ends = datetime.fromisoformat(state["ends"])
            outcomes[person.enrollment_id] = wait(ends, **told, channel=move.link.channel, **state)
    return outcomes


def _chain_problems(chain: Sequence[Link], written: Sequence[str]) -> Iterator[Problem]:
    if not 2 <= len(chain) <= MOST_LINKS:
        yield Problem(CHAIN, _("A chain has two to %d channels.") % MOST_LINKS)
    taken: set[str] = set()
    for place, link in enumerate(chain):
        path = f"chain[{place}]"
        if link.channel in taken:
            yield Problem(f"{path}.channel", _("A channel has one turn only."))
        elif link.channel not in written:
            yield Problem(
                f"{path}.channel",
                _("The message has no text for the channel “%s”.") % channel_label(link.channel),
            )
        taken.add(link.channel)
        if place == len(chain) - 1:
            continue
        if link.wait is None:
            yield Problem(f"{path}.wait", _("Say how long to wait before the next channel."))
            continue
        try:
            check_wait(link.wait, f"{path}.wait")
        except RuleError as error:
            yield from error.problems
