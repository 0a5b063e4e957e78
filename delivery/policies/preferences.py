"""How does this person want to be written to: when not, how often, and only if it matters?"""

from datetime import datetime, timedelta

from crm import geography, preferences
from crm.models import Profile
from crm.preferences import IMPORTANT, WEEKLY, Wishes
from delivery import slots
from delivery.models import Delivery
from delivery.policies.verdicts import Facts, Verdict, limited, suppress

ONLY_IMPORTANT = "wants only what is important"
QUIET = "quiet hours of the person"
WEEKLY_LIMIT = "wants it at most once a week"
WEEK = timedelta(days=7)
_ZONE = ("timezone", "latitude", "longitude", "country")


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Drop what the person finds unimportant, and put off to the end of their quiet hours what comes in them.

    At most two queries; a place in the week is taken later, by `judge_last`.
    """
    wishes = preferences.of({delivery.profile_id for delivery in deliveries})
    facts.wishes = wishes
    verdicts: dict[int, Verdict] = {}
    quiet = _quiet_until(wishes, now)
    for delivery in deliveries:
        if _frequency(delivery, wishes) == IMPORTANT and not delivery.message.important:
            verdicts[delivery.pk] = suppress(ONLY_IMPORTANT)
        elif delivery.profile_id in quiet:
            verdicts[delivery.pk] = limited(quiet[delivery.profile_id], QUIET)
    return verdicts


def judge_last(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Let one message a week through where the person wants no more; what can't wait for the next is dropped."""
    wanted = [
        slots.Wanted(d.pk, d.profile_id, f"topic:{d.message.topic}")
        for d in deliveries
        if _frequency(d, facts.wishes) == WEEKLY
    ]
    expiry = {delivery.pk: delivery.expires_at for delivery in deliveries}
    return {
        pk: limited(free_at, WEEKLY_LIMIT) if free_at < expiry[pk] else suppress(WEEKLY_LIMIT)
        for pk, free_at in slots.take(wanted, WEEK, now).items()
    }


def _frequency(delivery: Delivery, wishes: dict[int, Wishes]) -> str:
    topic, held = delivery.message.topic, wishes.get(delivery.profile_id)
    return held.frequencies.get(topic, "") if held and topic else ""


def _quiet_until(wishes: dict[int, Wishes], now: datetime) -> dict[int, datetime]:
    """When the quiet hours end of those who have them now."""
    asked = [profile_id for profile_id, wish in wishes.items() if wish.quiet_from is not None]
    if not asked:
        return {}
    ends = {}
    for person in Profile.objects.filter(pk__in=asked).values("id", *_ZONE):
        until = preferences.quiet_until(wishes[person["id"]], geography.zone_for(person), now)
        if until is not None:
            ends[person["id"]] = until
    return ends
