"""Whom sending would let through by a channel, as sets of people: what delivery/policies decide one batch at a time."""

from crm.models import Consent, Suppression, Topic
from crm.rules.sql import Sql, sql
from delivery.channels.base import Channel

NOBODY_LEFT_OUT = Sql("")
SUBSCRIBED = Consent.State.SUBSCRIBED.value


def reachable(channel: Channel, limit: Sql = NOBODY_LEFT_OUT) -> Sql:
    """A SELECT of ids, maybe repeated: who agreed to the channel, and has an address that is not suppressed.

    Args:
        limit: ` AND …` about a.profile_id, for a scope.
    """
    return sql(
        "SELECT a.id FROM ({}) AS a WHERE {}", usable(channel, limit), agreed(channel, "", Sql("a.id"))
    )


def usable(channel: Channel, limit: Sql = NOBODY_LEFT_OUT) -> Sql:
    """A SELECT of ids, maybe repeated: who has an address that is not suppressed; `limit` as above."""
    return sql(
        "SELECT a.profile_id AS id FROM ({}) AS a WHERE {}{}",
        channel.address_rows(),
        _not_suppressed(channel),
        limit,
    )


def agreed(channel: Channel, topic: str, profile: Sql) -> Sql:
    """The condition that a person lets us write by the channel and about the topic; see `crm.consent.subscribed`.

    Args:
        profile: the person's id in SQL.
        topic: empty for none.
    """
    by_channel = _answered(Consent.Kind.CHANNEL, channel.kind, profile, channel.opt_in)
    if not topic:
        return by_channel
    needs_yes = Topic.objects.filter(slug=topic, needs_yes=True).exists()
    return sql("{} AND {}", by_channel, _answered(Consent.Kind.TOPIC, topic, profile, needs_yes))


def fact(channel: Channel) -> Sql:
    """What decides about the profile p, as JSON: whether they agreed, their addresses, those not suppressed."""
    return sql(
        "(SELECT jsonb_build_array({}, count(*), count(*) FILTER (WHERE {})) FROM ({}) AS a"
        " WHERE a.profile_id = p.id)",
        agreed(channel, "", Sql("p.id")),
        _not_suppressed(channel),
        channel.address_rows(),
    )


def _answered(kind: Consent.Kind, key: str, profile: Sql, needs_yes: bool) -> Sql:
    """With a yes needed, there is one; else there is no other answer than a yes: one that waits counts as a no."""
    return sql(
        "{} (SELECT FROM crm_consent c WHERE c.profile_id = {} AND c.kind = {} AND c.key = {} AND c.state {} {})",
        Sql("EXISTS" if needs_yes else "NOT EXISTS"),
        profile,
        kind.value,
        key,
        Sql("=" if needs_yes else "<>"),
        SUBSCRIBED,
    )


def _not_suppressed(channel: Channel) -> Sql:
    return sql(
        "NOT EXISTS (SELECT FROM crm_suppression s WHERE s.address = a.value AND s.channel IN ({}, {}))",
        channel.kind,
        Suppression.ALL,
    )
