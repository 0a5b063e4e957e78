"""By which channel to write to somebody: their wish, else what they engage with most, else what reaches them; or what
reaches them for the least money (`delivery.policies.choice`)."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection

from crm import preferences
from delivery import channels
from delivery.policies.choice import Cheapest, cheapest, reachable

__all__ = ["Cheapest", "Choice", "cheapest", "preferred", "reachable"]

DAYS = 90
ENGAGED = ("message_opened", "message_clicked")
WISH, ENGAGEMENT, REACHABLE, NOBODY = "wish", "engagement", "reachable", "not reachable"
CHEAPEST = "cheapest"

_ENGAGED = """
    SELECT e.profile_id, e.properties ->> 'channel', count(*)
    FROM crm_event e
    WHERE e.profile_id = ANY(%s) AND e.name = ANY(%s) AND e.occurred_at >= %s AND e.occurred_at <= %s
    GROUP BY 1, 2
"""


class Choice(msgspec.Struct, frozen=True):
    """The channel for one person, and why: WISH, ENGAGEMENT, REACHABLE (the first that is) or NOBODY.

    `reachable` are the channels that would let a message through, `engaged` how often they opened or clicked by each.
    """

    channel: str
    why: str
    reachable: list[str]
    engaged: dict[str, int]

    @property
    def facts(self) -> dict[str, Any]:
        """What decided, for the decision log."""
        return {
            "channel": self.channel,
            "because": self.why,
            "reachable": self.reachable,
            "engaged": self.engaged,
        }


def preferred(
    profile_ids: Collection[int], offered: Sequence[str], topic: str, now: datetime
) -> dict[int, Choice]:
    """Choose among the channels that a message is written for; in a number of queries that depends on them alone.

    Who can't be reached by any gets the one they wish for, or the first: sending then says why it does not go out.

    Args:
        offered: at least one; those first that are to be taken where nothing else speaks.
        topic: of the message; empty for none.
    """
    offered = [kind for kind in offered if channels.get(kind).reaches_people] or offered
    wishes = preferences.of(profile_ids)
    engaged = _engaged(profile_ids, now)
    reached = {kind: reachable(profile_ids, kind, topic) for kind in offered}
    found = {}
    for profile_id in profile_ids:
        ways = [kind for kind in offered if profile_id in reached[kind]]
        wish = wishes[profile_id].channel if profile_id in wishes else ""
        counts = {kind: number for kind, number in engaged.get(profile_id, {}).items() if kind in offered}
        liked = max(ways, key=lambda kind: counts.get(kind, 0), default="")
        if wish in ways:
            channel, why = wish, WISH
        elif liked and counts.get(liked, 0):
            channel, why = liked, ENGAGEMENT
        elif ways:
            channel, why = ways[0], REACHABLE
        else:
            channel, why = wish if wish in offered else offered[0], NOBODY
        found[profile_id] = Choice(channel, why, ways, counts)
    return found


def _engaged(profile_ids: Collection[int], now: datetime) -> dict[int, dict[str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(_ENGAGED, [list(profile_ids), list(ENGAGED), now - timedelta(days=DAYS), now])
        found: dict[int, dict[str, int]] = {}
        for profile_id, channel, count in cursor.fetchall():
            if channel:
                found.setdefault(profile_id, {})[channel] = count
    return found
