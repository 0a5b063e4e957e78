"""Did they agree, and do they still?"""

from datetime import datetime, timedelta

from crm import consent, opt_in
from delivery import channels, slots
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, suppress

NO_CONSENT = "no consent"
NOTHING_TO_CONFIRM = "nothing to confirm"
ASKED_ALREADY = "asked already"
ASKED_AGAIN_AFTER = timedelta(days=1)


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Let through only those who are subscribed to the channel and have not left the topic.

    A message that asks for confirmation goes to those alone whose yes waits for it. One that is part of a service
    needs no yes, whatever its topic; a no to the channel holds for it too.
    """
    groups: dict[tuple[str, str, bool], list[Delivery]] = {}
    for delivery in deliveries:
        service = delivery.message.exempt
        about = "" if delivery.message.confirms or service else delivery.message.topic
        groups.setdefault((delivery.channel, about, service), []).append(delivery)
    verdicts: dict[int, Verdict] = {}
    for (channel, topic, service), group in groups.items():
        plain = [delivery for delivery in group if not delivery.message.confirms]
        if plain:
            known = channels.everything().get(channel)
            needs_yes = not service and (known is None or known.opt_in)
            agreed = consent.subscribed({d.profile_id for d in plain}, channel, topic, needs_yes)
            verdicts |= {d.pk: suppress(NO_CONSENT) for d in plain if d.profile_id not in agreed}
        asking = [delivery for delivery in group if delivery.message.confirms]
        if asking:
            awaited = opt_in.awaited({d.profile_id for d in asking}, channel, now)
            verdicts |= {d.pk: suppress(NOTHING_TO_CONFIRM) for d in asking if d.profile_id not in awaited}
    return verdicts


def judge_last(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Ask nobody for confirmation twice a day by one channel, whatever sends the message."""
    wanted = [
        slots.Wanted(d.pk, d.profile_id, f"confirm:{d.channel}") for d in deliveries if d.message.confirms
    ]
    return {pk: suppress(ASKED_ALREADY) for pk in slots.take(wanted, ASKED_AGAIN_AFTER, now)}
