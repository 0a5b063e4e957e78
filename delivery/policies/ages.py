"""Is it for adults only, and are they?"""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from delivery.models import Delivery
from delivery.policies import people, rules
from delivery.policies.clock import is_of_age
from delivery.policies.verdicts import Facts, Verdict, suppress

MINOR = "for adults only"
UNKNOWN_AGE = "for adults only, age unknown"


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Drop what is for adults only for minors and, unless the account says otherwise, for unknown ages.

    Somebody is of age from their birthday on, by the date where they are.
    """
    known = rules.of(facts, deliveries)
    bound = [delivery for delivery in deliveries if known[delivery.message_id].adults_only]
    if not bound:
        return {}
    everybody = people.of(facts, {delivery.profile_id for delivery in bound})
    verdicts = {}
    dates: dict[ZoneInfo, date] = {}
    for delivery in bound:
        person, rule = everybody[delivery.profile_id], known[delivery.message_id]
        if person.birthday is None:
            if rule.skip_unknown_age:
                verdicts[delivery.pk] = suppress(UNKNOWN_AGE)
            continue
        today = dates.get(person.zone)
        if today is None:
            today = dates[person.zone] = now.astimezone(person.zone).date()
        if not is_of_age(person.birthday, rule.adult_age, today):
            verdicts[delivery.pk] = suppress(MINOR)
    return verdicts
