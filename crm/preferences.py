"""How people want to be written to: how often about which topic, when not, and by what."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm.models import Preference
from crm.pg import number_array

ALL = Preference.Frequency.ALL.value
WEEKLY = Preference.Frequency.WEEKLY.value
IMPORTANT = Preference.Frequency.IMPORTANT.value
_ANY_DAY = 4  # more local days than any quiet hours can last, whatever the clocks do

_WISHES = """
    SELECT profile_id, frequencies::text, quiet_from, quiet_to, channel FROM crm_preference
    WHERE profile_id = ANY(%s::bigint[])
"""


class Wishes(msgspec.Struct, frozen=True):
    """One person's preferences. `frequencies` holds WEEKLY or IMPORTANT by topic; topics left out are ALL."""

    frequencies: dict[str, str] = {}
    quiet_from: time | None = None
    quiet_to: time | None = None
    channel: str = ""


def of(profile_ids: Collection[int]) -> dict[int, Wishes]:
    """The wishes of those who have told any, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_WISHES, [number_array(profile_ids)])
        return {
            profile_id: Wishes(msgspec.json.decode(frequencies), quiet_from, quiet_to, channel)
            for profile_id, frequencies, quiet_from, quiet_to, channel in cursor.fetchall()
        }


@transaction.atomic
def save(profile_id: int, wishes: Wishes, now: datetime | None = None) -> bool:
    """Keep a person's wishes; return whether they differ from what we had.

    Raises:
        ValueError: quiet hours have only one end, or are none.
    """
    if (wishes.quiet_from is None) is not (wishes.quiet_to is None):
        raise ValueError("Quiet hours need a beginning and an end.")
    if wishes.quiet_from is not None and wishes.quiet_from == wishes.quiet_to:
        raise ValueError("Quiet hours must end at another time than they begin.")
    kept = _without_default(wishes.frequencies)
    wishes = msgspec.structs.replace(wishes, frequencies=kept)
    if of([profile_id]).get(profile_id, Wishes()) == wishes:
        return False
    Preference.objects.update_or_create(
        profile_id=profile_id,
        defaults={
            "frequencies": kept,
            "quiet_from": wishes.quiet_from,
            "quiet_to": wishes.quiet_to,
            "channel": wishes.channel,
            "changed_at": now or timezone.now(),
        },
    )
    return True


def _without_default(frequencies: Mapping[str, str]) -> dict[str, str]:
    return {topic: how for topic, how in frequencies.items() if how in (WEEKLY, IMPORTANT)}


def quiet_until(wishes: Wishes, zone: tzinfo, now: datetime) -> datetime | None:
    """When the quiet hours that `now` falls into end; None if it falls into none.

    They follow the clock on the wall: where it is put forward over their end, they end with the jump; where it is
    put back, an hour that comes twice is quiet twice.
    """
    begin, end = wishes.quiet_from, wishes.quiet_to
    if begin is None or end is None:
        return None

    def quiet(at: datetime) -> bool:
        clock = at.astimezone(zone).time()
        return begin <= clock < end if begin < end else clock >= begin or clock < end

    if not quiet(now):
        return None
    today = now.astimezone(zone).date()
    ends = sorted(
        datetime.combine(today + timedelta(days=days), end, zone).replace(fold=fold).astimezone(UTC)
        for days in range(_ANY_DAY)
        for fold in (0, 1)
    )
    return next(moment for moment in ends if moment > now and not quiet(moment))
