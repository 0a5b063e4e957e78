"""What the numbers of reports mean, each in one definition that pages and API documents show as it stands."""

from decimal import Decimal

import msgspec
from django.utils.translation import gettext_lazy as _

DEFINITIONS = {
    "audience": _("People this message was meant for: sent + waiting + not sent by rule + failed + expired."),
    "waiting": _("Not sent yet: queued in the period and still queued, put off, or just being sent."),
    "sent": _("Accepted by the push service, mail server or provider in the period."),
    "delivered": _(
        "Sent, and the device or provider told that it arrived, or the person did something with it."
    ),
    "opened": _("Sent, and the person opened it. A tap on a push counts as opened and clicked."),
    "clicked": _("Sent, and the person followed a link in it."),
    "dismissed": _("Sent, and the person swiped it away."),
    "read": _("Sent, and the provider told that the person has read it."),
    "bounced": _("Sent, and the provider told that it came back."),
    "complained": _("Sent, and the person called it spam."),
    "unsubscribed": _("Sent, and the person said no to more by a link in it."),
    "lost": _("Accepted at first, and then the provider told that it failed."),
    "machine_opened": _(
        "Sent, and opened by a machine only: a scanner, or a mail program that fetches all pictures."
    ),
    "machine_clicked": _("Sent, and only a machine followed its links."),
    "arrivals": _("Messages that are known to have arrived in the period, whenever they were sent."),
    "opens": _("Messages opened for the first time in the period, whenever they were sent."),
    "clicks": _("Messages clicked for the first time in the period, whenever they were sent."),
    "dismissals": _("Messages swiped away in the period, whenever they were sent."),
    "reads": _("Messages read in the period, whenever they were sent."),
    "bounces": _("Messages that came back in the period, whenever they were sent."),
    "complaints": _("Messages called spam in the period, whenever they were sent."),
    "unsubscribes": _("Messages by which people said no to more in the period, whenever they were sent."),
    "losses": _("Messages that the provider told in the period to have failed, whenever they were sent."),
    "machine_opens": _("Messages that only machines opened, for the first time in the period."),
    "machine_clicks": _("Messages whose links only machines followed, for the first time in the period."),
    "suppressed": _("Not sent because a rule said no: no consent, no device, an exit event …"),
    "failed": _("The provider refused it, or it could not be written."),
    "expired": _("It could not go out before its time was up."),
    "converted": _(
        "Goal events credited to messages sent in the period, divided as the attribution model says; if nothing else is"
        " chosen, the goal is each message's own, and the last click within its hours has the credit."
    ),
    "people_converted": _("Messages sent in the period that have a share in at least one conversion."),
    "revenue": _(
        "The amounts of those goal events, in the account's currency by the rate of the day or the last of the month"
        " before; in their own where there is none."
    ),
    "conversions": _("Goal events in the period that are credited to a message, whenever it was sent."),
    "earned": _("The amounts of the goal events in the period, in currencies as the revenue."),
    "open_rate": _("Opened ÷ sent."),
    "click_rate": _("Clicked ÷ sent."),
    "conversion_rate": _("Messages with a conversion ÷ sent."),
    "delivery_rate": _("Delivered ÷ sent."),
    "bounce_rate": _("Bounced ÷ sent."),
    "complaint_rate": _("Complained ÷ sent."),
    "unsubscribe_rate": _("Unsubscribed ÷ sent."),
}
RATES = {
    "delivery_rate": "delivered",
    "open_rate": "opened",
    "click_rate": "clicked",
    "conversion_rate": "people_converted",
    "bounce_rate": "bounced",
    "complaint_rate": "complained",
    "unsubscribe_rate": "unsubscribed",
}


class Figures(msgspec.Struct):
    """Numbers of one period; see DEFINITIONS. `reasons` holds {"suppressed" | "failed" | …: {reason: how many}}."""

    sent: int = 0
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    dismissed: int = 0
    read: int = 0
    bounced: int = 0
    complained: int = 0
    unsubscribed: int = 0
    lost: int = 0
    machine_opened: int = 0
    machine_clicked: int = 0
    arrivals: int = 0
    opens: int = 0
    clicks: int = 0
    dismissals: int = 0
    reads: int = 0
    bounces: int = 0
    complaints: int = 0
    unsubscribes: int = 0
    losses: int = 0
    machine_opens: int = 0
    machine_clicks: int = 0
    suppressed: int = 0
    failed: int = 0
    expired: int = 0
    waiting: int = 0
    people_converted: int = 0
    converted: float = 0
    conversions: float = 0
    revenue: dict[str, Decimal] = {}
    earned: dict[str, Decimal] = {}
    reasons: dict[str, dict[str, int]] = {}

    @property
    def audience(self) -> int:
        return self.sent + self.waiting + self.suppressed + self.failed + self.expired

    def rate(self, name: str) -> float | None:
        """The named count as a share of `sent`, None where nothing was sent."""
        return getattr(self, name) / self.sent if self.sent else None


class Comparison(msgspec.Struct):
    """A period and as many days just before."""

    now: Figures
    before: Figures
