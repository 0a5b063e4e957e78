"""The home's audience: who came, who said yes or no, and who can be reached by each channel."""

from typing import Any

from django.utils.translation import gettext as _

from analytics.admin.home_cards import Card, changed, trend
from analytics.reports import audience as audience_reports
from analytics.reports.overview import DEFINITIONS, Channel, Home
from analytics.written import count, percent
from delivery import channels


def audience(found: Home) -> dict[str, Any]:
    """Cards of people in all, and a row for each channel.

    Returns:
        {"cards", "heads", "rows": [{"name", "cells", "net", "tone", "trend"}]}; compared only where whole days are.
    """
    definitions = audience_reports.DEFINITIONS
    new = Card(
        key="new_profiles",
        label=_("New profiles"),
        value=count(found.new_profiles),
        definition=str(DEFINITIONS["new_profiles"]),
    )
    left = sum(channel.left for channel in found.channels)
    joined = sum(channel.joined for channel in found.channels)
    gone = Card(key="left", label=_("Left a channel"), value=count(left), definition=str(definitions["left"]))
    yes = Card(
        key="joined", label=_("Joined a channel"), value=count(joined), definition=str(definitions["joined"])
    )
    if found.days:
        changed(new, found.new_profiles, found.new_before)
        changed(yes, joined, sum(channel.joined_before for channel in found.channels))
        changed(gone, left, sum(channel.left_before for channel in found.channels), better="down")
    return {
        "cards": [
            Card(
                key="profiles",
                label=_("Profiles"),
                value=count(found.profiles),
                definition=str(definitions["profiles"]),
            ),
            new,
            yes,
            gone,
        ],
        "heads": [
            Card(key="agreed", label=_("Agreed"), value="", definition=str(definitions["agreed"])),
            Card(key="reachable", label=_("Reachable"), value="", definition=str(definitions["reachable"])),
            Card(
                key="net",
                label=_("Joined less left"),
                value="",
                definition=_("Those who said yes in the period, less those who said no."),
            ),
        ],
        "rows": [_row(channel, found.profiles) for channel in found.channels],
    }


def channel_name(kind: str) -> str:
    """What the channel is called; its kind where it is not installed."""
    try:
        return str(channels.get(kind).label)
    except channels.UnknownChannel:
        return kind


def _row(channel: Channel, profiles: int) -> dict[str, Any]:
    net = channel.joined - channel.left
    return {
        "kind": channel.channel,
        "name": channel_name(channel.channel),
        "agreed": count(channel.agreed),
        "reachable": count(channel.reachable),
        "share": percent(channel.reachable / profiles, 0) if profiles else "",
        "net": ("+" if net > 0 else "−" if net < 0 else "") + count(abs(net)),
        "moves": _("+%(joined)s −%(left)s") % {"joined": count(channel.joined), "left": count(channel.left)},
        "tone": "bad" if net < 0 else "",
        "trend": trend([float(number) for number in channel.trend]),
    }
