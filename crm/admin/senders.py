"""Who told us something, in words."""

from django.utils.translation import gettext_lazy

from crm.models import Connection

_SENDERS = {
    "api": gettext_lazy("the API"),
    "sdk": gettext_lazy("the website"),
    "admin": gettext_lazy("by hand"),
    "location": gettext_lazy("their location"),
    "person": gettext_lazy("the person"),
    "file": gettext_lazy("a file"),
    "link": gettext_lazy("a link in a message"),
    "crm": gettext_lazy("a CRM"),
}


def connections() -> dict[str, str]:
    """The names of all connections by slug, for `sender`."""
    return dict(Connection.objects.values_list("slug", "name"))


def sender(source: str, names: dict[str, str]) -> str:
    """A source as stored beside data, such as `api` or `<connection>:<object>`, in words.

    Args:
        names: as of `connections`.
    """
    if source in _SENDERS:
        return str(_SENDERS[source])
    slug, _colon, rest = source.partition(":")
    if slug == "crm" and rest in names:
        return names[rest]
    if slug in names:
        return f"{names[slug]}: {rest}" if rest else names[slug]
    return source
