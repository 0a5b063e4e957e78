"""What an author should know about a text, while writing it."""

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from django.core.cache import cache
from django.db import connection
from django.db.models import Max, Min
from django.utils.translation import get_language_info
from django.utils.translation import gettext as _

from crm.models import Profile
from delivery.content import liquid
from delivery.content.compiled import ContentError, marked_fields
from delivery.content.gathering import Gathered, Sample
from delivery.content.people import computed_for, data

SAMPLE = 200  # people that a text is tried on
PATIENCE = 0.5  # seconds for trying it; a slow text is tried on fewer
KEPT = 600  # seconds that a sample is kept
PLACEHOLDERS = (
    "example.com",
    "example.org",
    "example.net",
    "localhost",
    "127.0.0.1",
    "yoursite",
    "your-site",
)
RTL = frozenset({"ar", "arc", "ckb", "dv", "fa", "he", "ks", "nqo", "ps", "sd", "ug", "ur", "yi"})
_PLACES = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|https?://\S+", re.DOTALL)


def notes(
    content: Mapping[str, Any], config: type[msgspec.Struct], locale: str, lengths: Mapping[str, int]
) -> list[ContentError]:
    """Return what can be told of authored content without looking at anybody.

    Args:
        lengths: {field: characters that are usually shown}.
    """
    links, markup = marked_fields(config, "link"), marked_fields(config, "html")
    found = []
    for field, value in content.items():
        if not isinstance(value, str) or not value or field in markup or value.lstrip().startswith("<"):
            continue
        if field in links:
            found += [ContentError(field, note) for note in _of_link(value)]
            continue
        shown = len(_PLACES.sub("", value))
        if field in lengths and shown > lengths[field]:
            found.append(
                ContentError(
                    field,
                    _("%(count)d characters: often only %(limit)d are shown.")
                    % {"count": shown, "limit": lengths[field]},
                )
            )
        found += [ContentError(field, note) for note in _of_letters(value, locale)]
    return found


def lacking(compiled: Any, authored: Mapping[str, Any], locale: str, gathered: Gathered) -> dict[str, float]:
    """Return {name: share from 0 to 1} of what a text asks for without a default and some people lack.

    The text is tried on a sample of people, in at most three queries; what comes with an event is not asked of them.
    """
    ids = sample()
    people, counts, tried = data(ids), Counter[str](), 0
    computed = computed_for(ids, [authored])
    until = time.monotonic() + PATIENCE
    for place, (profile_id, person) in enumerate(people.items()):
        if place and time.monotonic() > until:
            break
        missing: list[str] = []
        own = Sample(profile_id, {})
        try:
            compiled.render(
                {"profile": person, "computed": computed[profile_id], **gathered.data(own, locale)},
                missing,
                locale,
            )
        except ContentError:
            continue
        tried += 1
        counts.update({name for name in missing if name.split(".")[0] in ("profile", "computed")})
    return {name: count / tried for name, count in counts.items()} if tried else {}


def sample() -> list[int]:
    """Return the numbers of some people from anywhere in the table; the same for a while."""
    key = f"delivery-sample:{connection.settings_dict['NAME']}"
    kept: list[int] | None = cache.get(key)
    if kept:
        return kept
    ends = Profile.objects.aggregate(first=Min("pk"), last=Max("pk"))
    if ends["first"] is None:
        return []
    step = max((ends["last"] - ends["first"]) // SAMPLE, 1)
    found = list(
        Profile.objects.filter(pk__in=range(ends["first"], ends["last"] + 1, step))
        .order_by("pk")
        .values_list("pk", flat=True)[: SAMPLE * 2]
    )
    cache.set(key, found, KEPT)
    return found


def languages() -> list[tuple[str, int]]:
    """Return (language, people) of the languages that people speak, the commonest first; counted once in a while."""
    key = f"delivery-languages:{connection.settings_dict['NAME']}"
    kept: list[tuple[str, int]] | None = cache.get(key)
    if kept is not None:
        return kept
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT replace(lower(language), '_', '-'), count(*) FROM crm_profile WHERE language <> '' GROUP BY 1"
            " ORDER BY 2 DESC, 1 LIMIT 40"
        )
        found = [(language, count) for language, count in cursor.fetchall()]
    cache.set(key, found, KEPT)
    return found


def _of_link(value: str) -> Iterator[str]:
    if liquid.is_template(value):
        return
    try:
        url = urlsplit(value)
        host = url.hostname or ""
    except ValueError:
        return
    if any(
        host == name or host.endswith(f".{name}") or (name in host and "." not in name)
        for name in PLACEHOLDERS
    ):
        yield _("This looks like a placeholder: nobody gets anywhere by it.")
    elif url.scheme == "http":
        yield _("Begin with https://: browsers warn of http://.")
    elif value.strip("/") in ("#", "...", "todo"):
        yield _("This leads nowhere.")
    elif host and "." not in host:
        yield _("This address has no domain such as shop.com.")


def _of_letters(value: str, locale: str) -> Iterator[str]:
    text = _PLACES.sub("", value)
    first = next((way for letter in text if (way := _way(letter))), "")
    ways = {way for letter in text if (way := _way(letter))}
    wanted = "rtl" if locale.split("-")[0].lower() in RTL else "ltr"
    if locale and first and len(ways) == 2 and first != wanted:
        if wanted == "rtl":
            yield _(
                "It begins with a word written left to right, so devices put the whole text that way round."
            )
        else:
            yield _(
                "It begins with a word written right to left, so devices put the whole text that way round."
            )
    elif locale and ways and wanted not in ways:
        yield _("This does not look like %s.") % _language(locale)
    if any(unicodedata.category(letter) == "Cn" for letter in text):
        yield _("It has characters so new that many devices show a box instead.")
    if any(letter in "\u202a\u202b\u202d\u202e" for letter in text):
        yield _("It has invisible marks of direction that devices read differently.")


def _way(letter: str) -> str:
    kind = unicodedata.bidirectional(letter)
    return "rtl" if kind in ("R", "AL") else "ltr" if kind == "L" else ""


def _language(locale: str) -> str:
    try:
        return str(get_language_info(locale.split("-")[0].lower())["name_translated"])
    except KeyError:
        return locale


def summary(shares: Mapping[str, float]) -> list[str]:
    """Say who lacks what."""
    return [
        _("%(share)d %% of people have no %(name)s, and there is no default.")
        % {"share": max(round(share * 100), 1), "name": name}
        for name, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
