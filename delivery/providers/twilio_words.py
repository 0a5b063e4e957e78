"""Twilio's error codes and words, and what they mean to us (https://www.twilio.com/docs/api/errors)."""

from delivery.channels.base import Outcome
from delivery.providers.base import Reported

OPTED_OUT = 21610
# Nobody has this number, or it can't take messages: it is the same tomorrow.
NO_SUCH_NUMBER = frozenset(
    {
        21211,  # invalid To
        21214,  # To can't be reached
        21217,  # To is no number
        21614,  # To is no mobile number
        30005,  # unknown destination
        30006,  # landline, or the carrier can't be reached
        63024,  # WhatsApp: no such recipient
    }
)
# The account, its numbers or its rights: an operator has to do something.
ACCOUNT = frozenset(
    {
        20003,  # authentication
        20005,  # account not active
        20006,  # access denied
        21212,  # invalid From
        21408,  # no permission for this country
        21603,  # From is missing
        21606,  # From is not ours
        21607,  # From is not ours
        21608,  # a trial account writes to verified numbers only
        21659,  # From is no Twilio number
        21660,  # From belongs to another account
        21703,  # messaging service
        21704,  # it has no numbers
        21705,  # it does not exist
        30002,  # account suspended
        63007,  # no WhatsApp sender with this From
        63032,  # the sender is not registered
    }
)
BUSY = frozenset(
    {
        14107,  # send rate
        20429,  # too many requests
        21611,  # the queue of From is full
        30001,  # queue overflow
        30022,  # rate limit of the campaign
        63018,  # WhatsApp: rate
    }
)
# MessageStatus; others tell only that it is still under way.
STATUSES = {
    "delivered": Reported.DELIVERED,
    "read": Reported.READ,
    "undelivered": Reported.FAILED,
    "failed": Reported.FAILED,
    "canceled": Reported.FAILED,
}
MEANINGS = {"STOP": "stop", "START": "start", "HELP": "help"}  # OptOutType of Advanced Opt-Out


def outcome(code: int) -> Outcome | None:
    """What an error code of an answer means; None: what the status says."""
    if code in NO_SUCH_NUMBER:
        return Outcome.GONE
    if code in ACCOUNT:
        return Outcome.CONFIGURATION
    if code in BUSY:
        return Outcome.RETRY
    return Outcome.REFUSED if code == OPTED_OUT else None


def told(code: int) -> str:
    """What an error code says about the person, as a Reported; "" when nothing."""
    if code == OPTED_OUT:
        return Reported.UNSUBSCRIBED.value
    return Reported.BOUNCED.value if code in NO_SUCH_NUMBER else ""
