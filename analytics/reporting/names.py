"""What reports call the things that they tell apart, in the reader's language."""

from collections.abc import Collection

from django.utils.translation import gettext_lazy as _

from campaigns.models import Broadcast, Flow
from crm.models import Connection
from delivery import channels
from delivery.models import Message

_SERVICES = {
    "": _("not known"),
    "other": _("others"),
    "google": "Google (FCM)",
    "mozilla": "Mozilla",
    "apple": "Apple",
    "microsoft": "Microsoft (WNS)",
    "fcm": "Firebase Cloud Messaging",
    "apns": "Apple Push (APNs)",
    "sandbox": _("sandbox"),
}
_SENDERS = {
    "": _("not known"),
    "sdk": _("website or app"),
    "api": _("API"),
    "admin": _("by hand"),
    "file": _("file of events"),
    "import": _("imported list"),
    "person": _("preference page or answer"),
    "link": _("unsubscribe link"),
    "double_opt_in": _("confirmation link"),
    "crm": _("CRM"),
    "provider": _("complaint or bounce told by the provider"),
    "flow": _("a flow"),
    "location": _("their location"),
    "nudge": _("Nudge"),
}


def channel(key: str) -> str:
    """A channel's name."""
    known = channels.everything()
    return str(known[key].label) if key in known else key


def service(key: str) -> str:
    """Who carries messages: a mail service, a push service or a provider."""
    return str(_SERVICES.get(key, key))


def connections() -> dict[str, str]:
    """The names of all CRM connections by short name, for `sender`; one query."""
    return dict(Connection.objects.values_list("slug", "name"))


def sender(source: str, crms: dict[str, str]) -> str:
    """Who told something, as it is stored beside what was told: "api", "<connection>:<object>", "crm:<connection>" …

    Args:
        crms: as of `connections`.
    """
    if source in _SENDERS:
        return str(_SENDERS[source])
    slug, _colon, rest = source.partition(":")
    if slug == "crm":
        return crms.get(rest, rest)
    return crms.get(slug, source)


def messages(numbers: Collection[int]) -> dict[int, str]:
    """The names of messages; one query."""
    return dict(Message.objects.filter(pk__in=numbers).values_list("pk", "name"))


def flows(numbers: Collection[int]) -> dict[int, str]:
    """The names of flows; one query."""
    return dict(Flow.objects.filter(pk__in=numbers).values_list("pk", "name"))


def broadcasts(numbers: Collection[int]) -> dict[int, str]:
    """The names of broadcasts; one query."""
    return dict(Broadcast.objects.filter(pk__in=numbers).values_list("pk", "name"))
