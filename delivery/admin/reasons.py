"""The dispatcher's reasons in plain words."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from delivery.dispatch.composing import NO_CONTENT
from delivery.dispatch.recovery import UNKNOWN
from delivery.policies import (
    ages,
    caps,
    collisions,
    consent,
    guards,
    holdouts,
    preferences,
    reachability,
    suppression,
    timing,
    wording,
)

WORDS = {
    consent.NO_CONSENT: gettext_lazy(
        "This person has not agreed to the channel, or has left the channel or the topic since."
    ),
    consent.NOTHING_TO_CONFIRM: gettext_lazy(
        "This message asks for a confirmation, and nothing of this person waits for one."
    ),
    consent.ASKED_ALREADY: gettext_lazy(
        "This person was asked for a confirmation by this channel within the last day."
    ),
    preferences.ONLY_IMPORTANT: gettext_lazy(
        "This person wants only what is important about the topic, and the message is not marked so."
    ),
    preferences.QUIET: gettext_lazy("It waits for the end of the quiet hours that this person has chosen."),
    preferences.WEEKLY_LIMIT: gettext_lazy("This person wants at most one message a week about the topic."),
    timing.QUIET_HOURS: gettext_lazy("It waits for the end of the quiet hours where this person is."),
    timing.OUTSIDE: gettext_lazy("It waits until the send window opens where this person is."),
    timing.NO_TIME: gettext_lazy(
        "Quiet hours and send windows left no moment at which it could have gone out before it was too late."
    ),
    ages.MINOR: gettext_lazy("It is for adults only, and this person is not of age yet."),
    ages.UNKNOWN_AGE: gettext_lazy("It is for adults only, and this person's birthday is not known."),
    collisions.SEEN: gettext_lazy("This person had opened or clicked the same by another channel."),
    holdouts.HELD_OUT: gettext_lazy(
        "This person is held out, to show what messages bring; it is always the same people."
    ),
    holdouts.NOT_ADDRESSED: gettext_lazy(
        "An experiment tries out whom to write to, and this person is not in the audience that fell to them."
    ),
    caps.COLLISION: gettext_lazy(
        "The same had gone out to this person by another channel a short while before."
    ),
    reachability.NO_DEVICE: gettext_lazy(
        "There is no address or device by which this person can be reached on this channel."
    ),
    suppression.SUPPRESSED: gettext_lazy("The address is on the list of those nobody may write to."),
    guards.BROKEN: gettext_lazy("A rule could not be checked, so the message waits. See the alerts."),
    NO_CONTENT: gettext_lazy("The message has no text for this channel in a language that fits this person."),
    UNKNOWN: gettext_lazy("The sender stopped in the middle, and nobody knows whether it went out."),
    "device gone": gettext_lazy(
        "The address or device does not exist any more, or has unsubscribed; nothing more is sent to it."
    ),
    "cancelled": gettext_lazy("The broadcast was cancelled before the message went out."),
    "broadcast paused": gettext_lazy("The broadcast is paused; the message waits until it goes on."),
    "broadcast resumed": gettext_lazy(
        "The broadcast was paused and goes on; the message is about to go out."
    ),
    "waits for its turn in a broadcast at a limited pace": gettext_lazy(
        "The broadcast sends only so many messages a minute; this one waits for its turn."
    ),
    "expired": gettext_lazy("It could not go out before it was too late."),
}
_PREFIXES = {
    "render: ": gettext_lazy("The text could not be filled in for this person: %s"),
    "configuration: ": gettext_lazy("The push service refuses our key; it is tried again. It answered: %s"),
}


def known(reason: str) -> bool:
    """Whether a reason is one of ours, and not a provider's words."""
    return reason in WORDS or reason.startswith((caps.LIMIT, *_PREFIXES))


def explain(reason: str) -> str:
    """Return `reason` as a sentence; what is not known is shown as it is."""
    if reason in WORDS:
        return str(WORDS[reason])
    if reason.startswith(caps.LIMIT):
        told = wording.limit(reason.removeprefix(caps.LIMIT))
        return _("This person had as many messages as is allowed: %s.") % told
    for prefix, sentence in _PREFIXES.items():
        if reason.startswith(prefix):
            return str(sentence) % reason.removeprefix(prefix)
    return _("The provider answered: %s") % reason if reason else ""
