"""Rules of sending in plain sentences."""

import re
from collections.abc import Iterable, Sequence
from datetime import time

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from delivery import channels
from delivery.models import SendingRules
from delivery.policies.clock import Span
from delivery.policies.rules import Cap, Effective, Hours

_LIMIT = re.compile(
    r"(?P<number>\d+) a (?P<calendar>calendar )?(?P<period>hour|day|week|month)"
    r"(?P<about> about the topic| of this message)?(?: by (?P<channel>.+))?"
)
_OF = {None: "all", " about the topic": "topic", " of this message": "message"}


def sentences(rules: Effective) -> list[str]:
    """What holds, one sentence for each thing, in the order in which it is asked when sending."""
    told = []
    if rules.adults_only:
        told.append(
            _("Only people of %d years or more get it; nobody else, and nobody whose birthday is unknown.")
            % rules.adult_age
            if rules.skip_unknown_age
            else _("People of less than %d years do not get it; those whose birthday is unknown do.")
            % rules.adult_age
        )
    told += [quiet(each) + _source(rules.quiet_from) for each in rules.quiet]
    if not rules.quiet and rules.quiet_from != "account":
        told.append(
            _("There are no quiet hours but those that people have chosen.") + _source(rules.quiet_from)
        )
    told += [each + _source(rules.windows_from) for each in _windows(rules.windows)]
    if not rules.windows and rules.windows_from != "account":
        told.append(_("It needs no send window.") + _source(rules.windows_from))
    told += [f"{cap(each)}." for each in rules.caps]
    if rules.caps:
        told.append(
            _("What is one too many is not sent.")
            if rules.skip_when_capped
            else _("What is one too many waits until there is room, the urgent first, unless it expires.")
        )
    if rules.collision in (SendingRules.Collision.SENT, SendingRules.Collision.OPENED):
        told.append(collision(rules))
    return told


def quiet(each: Hours) -> str:
    """Quiet hours with an example of what they mean."""
    hours, how = span(each.span), by(each.channel)
    return _(
        "A person in Warsaw gets nothing %(hours)s by Warsaw's clock%(by)s; what falls into it goes out at %(end)s "
        "unless it expires before."
    ) % {"hours": hours, "by": how, "end": clock(each.span.end)}


def _windows(held: Sequence[Hours]) -> Iterable[str]:
    groups: dict[str, list[str]] = {}
    for each in held:
        groups.setdefault(each.channel, []).append(span(each.span))
    for channel, hours in groups.items():
        yield _("It goes out%(by)s only %(hours)s, by the clock where each person is.") % {
            "by": by(channel),
            "hours": _(" or ").join(hours),
        }


def cap(each: Cap) -> str:
    """A limit, such as "At most 3 messages to one person in any 7 days, by SMS"."""
    periods = {
        ("hour", True): _("in any 60 minutes"),
        ("day", True): _("in any 24 hours"),
        ("week", True): _("in any 7 days"),
        ("month", True): _("in any 30 days"),
        ("hour", False): _("in an hour of the clock"),
        ("day", False): _("on one day"),
        ("week", False): _("from Monday to Sunday"),
        ("month", False): _("in a calendar month"),
    }
    about = {"all": "", "topic": _(" about the same topic"), "message": _(" by this message")}[each.of]
    told = ngettext(
        "At most %(number)d message to one person%(about)s %(period)s%(by)s",
        "At most %(number)d messages to one person%(about)s %(period)s%(by)s",
        each.number,
    ) % {
        "number": each.number,
        "about": about,
        "period": periods[each.period, each.rolling],
        "by": by(each.channel),
    }
    if each.spares:
        told += _("; priorities 1 to %d go out all the same") % each.spares
    return told


def limit(reason: str) -> str:
    """The limit that a reason in the ledger names (see `caps.words`), in words; as it is if it names none."""
    found = _LIMIT.fullmatch(reason)
    if found is None:
        return reason
    of = _OF[found["about"]]
    return cap(
        Cap(int(found["number"]), found["period"], not found["calendar"], found["channel"] or "", of)  # type: ignore[arg-type]
    )


def collision(rules: Effective) -> str:
    """What happens to a message that says what another channel has said."""
    if rules.collision == SendingRules.Collision.OPENED:
        told = ngettext(
            "It is skipped for whoever has opened or clicked the same by another channel within %d hour.",
            "It is skipped for whoever has opened or clicked the same by another channel within %d hours.",
            rules.collision_hours,
        )
    else:
        told = ngettext(
            "It is skipped for whoever was sent the same by another channel within %d hour.",
            "It is skipped for whoever was sent the same by another channel within %d hours.",
            rules.collision_hours,
        )
    return told % rules.collision_hours


def span(each: Span) -> str:
    """Hours and weekdays, such as "between 21:00 and 08:00 on Saturday and Sunday"."""
    if each.start == each.end:
        hours = _("for a whole day from %s on") % clock(each.start)
        if each.start == time():
            hours = _("all day")
    else:
        hours = _("between %(start)s and %(end)s") % {"start": clock(each.start), "end": clock(each.end)}
    return hours if len(each.days) == 7 else f"{hours} {days(each.days)}"


def days(numbers: Sequence[int]) -> str:
    """Weekdays, such as "on Monday, Tuesday"."""
    return _("on %s") % ", ".join(str(WEEKDAYS[number - 1]) for number in sorted(numbers))


def clock(at: time) -> str:
    """A time of day as on a clock of 24 hours."""
    return at.strftime("%H:%M")


def label(channel: str) -> str:
    """What a channel is called; its short name if it is not installed."""
    known = channels.everything().get(channel)
    return str(known.label) if known else channel


def _source(level: str) -> str:
    told = {"topic": _("Rule of the topic."), "message": _("Rule of the message.")}
    return f" {told[level]}" if level in told else ""


def by(channel: str) -> str:
    """Behind a sentence: by which channel; nothing where it is about all of them."""
    return _(" by %s") % label(channel) if channel else ""
