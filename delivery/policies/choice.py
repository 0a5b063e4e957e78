"""Whom a channel reaches, and the channel that reaches each person for the least money."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from crm import consent, suppressions
from delivery import accounts, channels
from delivery.channels.provided import ProvidedChannel


class Cheapest(msgspec.Struct, frozen=True):
    """One person's channel. `costs` holds what a part costs by each channel that reaches them, as text; without a
    channel that does, `reachable` is empty and the channel the first that was offered."""

    channel: str
    reachable: list[str]
    costs: dict[str, str]

    @property
    def facts(self) -> dict[str, Any]:
        """What decided, for the decision log."""
        return {
            "channel": self.channel,
            "because": "cheapest" if self.reachable else "not reachable",
            "reachable": self.reachable,
            "costs": self.costs,
        }


def cheapest(profile_ids: Collection[int], offered: Sequence[str], topic: str = "") -> dict[int, Cheapest]:
    """The cheapest of the channels that would let a message through, for each person.

    A channel costs what its usual account charges for a part; one that needs no account, or whose account names no
    price, costs nothing. One that needs an account and has none reaches nobody. Of equally cheap ones that offered
    first is taken. Prices are compared as numbers: accounts should have one currency. The number of queries depends
    on the channels alone.

    Args:
        offered: at least one channel.
        topic: of the message; empty for none.
    """
    prices = {kind: cost for kind in offered if (cost := price(kind)) is not None}
    order = sorted(prices, key=lambda kind: (prices[kind], offered.index(kind)))
    reached = {kind: reachable(profile_ids, kind, topic) for kind in order}
    found = {}
    for profile_id in profile_ids:
        ways = [kind for kind in order if profile_id in reached[kind]]
        found[profile_id] = Cheapest(
            ways[0] if ways else offered[0], ways, {kind: str(prices[kind]) for kind in ways}
        )
    return found


def price(kind: str) -> Decimal | None:
    """What one part costs by a channel; None if it has no account, and needs one."""
    account = accounts.route(kind)
    if account is None:
        return None if isinstance(channels.everything().get(kind), ProvidedChannel) else Decimal(0)
    return account.cost_per_part or Decimal(0)


def reachable(profile_ids: Collection[int], kind: str, topic: str = "") -> set[int]:
    """Who agreed to a channel and a topic and has an address there that is not suppressed, as when sending."""
    channel = channels.everything().get(kind)
    if channel is None:
        return set()
    agreed = consent.subscribed(profile_ids, kind, topic, channel.opt_in)
    addresses = channel.addresses(agreed) if agreed else {}
    values = {address.value for held in addresses.values() for address in held}
    listed = suppressions.listed([kind], values) if values else set()
    return {
        profile_id
        for profile_id, held in addresses.items()
        if any(listed.isdisjoint({(kind, each.value), (suppressions.ALL, each.value)}) for each in held)
    }
