"""What the page needs on which a message is written: who speaks what, what is still missing, whom to preview as."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.urls import reverse
from django.utils.translation import get_language_info
from django.utils.translation import gettext as _

from delivery import channels, variants, walking
from delivery.admin import people
from delivery.content import advice, locales
from delivery.models import Message, MessageVersion

OFFERED = 8  # languages that are offered for a new text


class Spoken(NamedTuple):
    """A language, what it is called, how many people speak it and how much of the audience that is, in percent."""

    locale: str
    name: str
    people: int
    share: float


def spoken() -> list[Spoken]:
    """Return the languages of the audience, the commonest first."""
    found = advice.languages()
    total = sum(count for _language, count in found) or 1
    return [Spoken(tag(each), name_of(tag(each)), count, 100 * count / total) for each, count in found]


def missing(written: Iterable[str], audience: Iterable[Spoken]) -> list[Spoken]:
    """Return the languages that nobody has written in: who speaks them gets the text for everybody, or none."""
    there = list(written)
    return [
        each
        for each in audience
        if not locales.best(there, each.locale) and not ("" in there and locales.at_home(each.locale))
    ]


def tag(language: str) -> str:
    """Return a language as it is usually written: ar, ar-SA."""
    first, *rest = language.replace("_", "-").split("-")
    return "-".join([first.lower(), *(part.upper() if len(part) == 2 else part.title() for part in rest)])


def name_of(locale: str) -> str:
    """Return what a language is called; its tag if it is not known."""
    if not locale:
        return str(_("Everybody"))
    try:
        name = get_language_info(locale.split("-")[0].lower())["name_translated"]
    except KeyError:
        return locale
    return f"{name} ({locale})" if "-" in locale else str(name)


def context(message: Message | None) -> dict[str, Any]:
    """Return what the page's template shows beside the forms; few queries, whatever the message."""
    audience = spoken()
    written: dict[str, set[str]] = {}
    if message is not None and message.pk:
        for channel, locale in message.contents.values_list("channel", "locale"):
            written.setdefault(channel, set()).add(locale)
    return {
        "writing_channels": [
            {
                "kind": channel.kind,
                "label": channel.label,
                "written": kind in written,
                "missing": missing(written.get(kind, ()), audience)[:OFFERED] if kind in written else [],
                "without_default": kind in written and "" not in written[kind],
            }
            for kind, channel in channels.everything().items()
            if channel.listed
        ],
        "writing_languages": [each._asdict() for each in audience[: OFFERED * 2]],
        "writing_first": variants.FIRST,
        "preview_people": people.suggestions(),
        "preview_groups": walking.groups(),
        "preview_url": reverse("admin:delivery_message_preview"),
        "preview_moves": [
            ("previous", "chevron_left", _("The person before")),
            ("next", "chevron_right", _("The next person")),
        ],
        "fill_ins_url": reverse("admin:delivery_message_fill_ins"),
        "latest_version": MessageVersion.objects.filter(message=message, number=message.version)
        .select_related("saved_by")
        .first()
        if message is not None and message.pk and message.version
        else None,
    }
