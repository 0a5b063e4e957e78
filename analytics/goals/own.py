"""The goals that messages have themselves, credited by the same rules as all others.

They are one goal in reports: an event reaches it for those messages whose goal it is, each within its own hours and
with the amount that it names. Tests of messages have no part in it.
"""

from typing import Any

from django.conf import settings
from django.utils.translation import gettext_noop

from analytics.models import Goal
from delivery.models import Message

SLUG = "_own"
NAME = gettext_noop("Each message's own goal")


def goal() -> Goal:
    """The one row that stands for all of them."""
    defaults = {
        "slug": SLUG,
        "name": NAME,
        "event": "",
        "value_property": "",
        "counted_in": settings.NUDGE_CURRENCY.upper(),
    }
    found, _made = Goal.everything.get_or_create(own=True, defaults=defaults)
    return found


def names() -> set[str]:
    """The events that are some message's goal."""
    return set(Message.objects.exclude(goal_event="").values_list("goal_event", flat=True))


def rows(own: Goal) -> list[dict[str, Any]]:
    """The goal as statements ask for it, once for each event; one query."""
    longest: dict[str, int] = {}
    for event, hours in Message.objects.exclude(goal_event="").values_list("goal_event", "goal_window_hours"):
        longest[event] = max(hours, longest.get(event, 0))
    return [
        {
            "id": own.pk,
            "event": event,
            "value_path": [],
            "currency_path": ["currency"],
            "currency": settings.NUDGE_CURRENCY.upper(),
            "clicks": 0,
            "opens": 0,
            "view_hours": {"": hours},  # whatever of a message was seen may count
            "longest": hours,
            "once": False,
            "own": True,
        }
        for event, hours in (sorted(longest.items()) or [("", 0)])
    ]


def stated() -> dict[str, list[Any]]:
    """What of each message's goal its credits depend on, by the message's number."""
    columns = ("pk", "goal_event", "goal_window_hours", "goal_value_property")
    return {str(pk): rule for pk, *rule in Message.objects.order_by("pk").values_list(*columns)}


def changed() -> bool:
    """Whether a message has another goal than its credits were made by; what is new about others is noted.

    A message that was not there has nothing to make anew.
    """
    own = Goal.everything.filter(own=True).first()
    if own is None:
        return False
    now = stated()
    if any(now[pk] != rule for pk, rule in own.own_rules.items() if pk in now):
        return True
    if now != own.own_rules:
        Goal.everything.filter(pk=own.pk).update(own_rules=now)
    return False
