"""Did they open or click the same by another channel already? What was only sent there is for `caps` to count."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from django.db import connection

from crm.pg import number_array
from delivery.models import Delivery, Message, SendingRules
from delivery.policies import rules
from delivery.policies.verdicts import Facts, Verdict, suppress

SEEN = "opened by another channel"
ENGAGED = ("message_opened", "message_clicked")
_LOOKING = (SendingRules.Collision.OPENED, SendingRules.Collision.SENT)

_SEEN = """
    SELECT e.profile_id, e.properties ->> 'message', e.properties ->> 'channel', max(e.occurred_at)
    FROM crm_event e
    WHERE e.profile_id = ANY(%s::bigint[]) AND e.name = ANY(%s) AND e.occurred_at > %s AND e.occurred_at <= %s
        AND e.properties ->> 'message' = ANY(%s)
    GROUP BY 1, 2, 3
"""


def judge(deliveries: list[Delivery], facts: Facts, now: datetime) -> dict[int, Verdict]:
    """Drop what the person has opened or clicked by another channel within the hours of the rule; two queries."""
    known = rules.of(facts, deliveries)
    bound = [delivery for delivery in deliveries if known[delivery.message_id].collision in _LOOKING]
    if not bound:
        return {}
    alike = _alike({delivery.message for delivery in bound})
    slugs = {slug for group in alike.values() for slug in group}
    longest = max(known[delivery.message_id].collision_hours for delivery in bound)
    with connection.cursor() as cursor:
        cursor.execute(
            _SEEN,
            [
                number_array({delivery.profile_id for delivery in bound}),
                list(ENGAGED),
                now - timedelta(hours=longest),
                now,
                sorted(slugs),
            ],
        )
        seen: dict[int, list[tuple[str, str, datetime]]] = {}
        for profile_id, slug, channel, at in cursor.fetchall():
            seen.setdefault(profile_id, []).append((slug, channel or "", at))
    return {
        delivery.pk: suppress(SEEN)
        for delivery in bound
        if any(
            slug in alike[delivery.message_id]
            and channel != delivery.channel
            and at > now - timedelta(hours=known[delivery.message_id].collision_hours)
            for slug, channel, at in seen.get(delivery.profile_id, ())
        )
    }


def _alike(messages: Collection[Message]) -> Mapping[int, set[str]]:
    """The short names of the messages that say the same as each, itself among them, by message id."""
    groups = {message.content_group for message in messages if message.content_group}
    named: dict[str, set[str]] = {}
    if groups:
        for group, slug in Message.objects.filter(content_group__in=groups).values_list(
            "content_group", "slug"
        ):
            named.setdefault(group, set()).add(slug)
    return {message.pk: {message.slug} | named.get(message.content_group, set()) for message in messages}
