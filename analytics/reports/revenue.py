"""What revenue is, and which messages have the credit for it by each of Goal.Model, in words."""

from django.utils.translation import gettext_lazy as _

DEFINITIONS = {
    "value": _(
        "The amounts of these events, in the account's currency by the rate of the day or the last before."
    ),
    "last_click": _("The message clicked last before, within the goal's hours."),
    "last_touch": _("The message opened or clicked last before, within the goal's hours."),
    "first_touch": _("The message opened or clicked first, within the goal's hours."),
    "linear": _("All messages opened or clicked within the goal's hours, alike."),
    "position": _(
        "40 % for the first and the last message opened or clicked, 20 % for all between; two have half each."
    ),
    "view_through": _("The message seen last within the channel's hours, where none was clicked in time."),
}
