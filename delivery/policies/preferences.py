"""How does this person want to be written to: how often, and only if it matters? Their hours are for `timing`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from crm import preferences
from crm.preferences import IMPORTANT, WEEKLY, Wishes
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, suppress

ONLY_IMPORTANT = "wants only what is important"
QUIET = "quiet hours of the person"
WEEKLY_LIMIT = "wants it at most once a week"
WEEK = timedelta(days=7)


def wishes_of(facts: Facts, deliveries: Sequence[Delivery]) -> dict[int, Wishes]:
    """What the people of a batch wish for, by profile id; one query, when the first policy asks."""
    if facts.wishes is None:
        facts.wishes = preferences.of({delivery.profile_id for delivery in deliveries})
    return facts.wishes


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Drop what the person finds unimportant."""
    wishes = wishes_of(facts, deliveries)
    return {
        delivery.pk: suppress(ONLY_IMPORTANT)
        for delivery in deliveries
        if _frequency(delivery, wishes) == IMPORTANT and not delivery.message.important
    }


def weekly(delivery: Delivery, wishes: Mapping[int, Wishes]) -> bool:
    """Whether the person wants at most one message a week about this topic."""
    return _frequency(delivery, wishes) == WEEKLY


def _frequency(delivery: Delivery, wishes: Mapping[int, Wishes]) -> str:
    topic, held = delivery.message.topic, wishes.get(delivery.profile_id)
    return held.frequencies.get(topic, "") if held and topic else ""
