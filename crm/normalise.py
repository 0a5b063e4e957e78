"""Values as they come from outside, in the one form we keep; what can't be kept is a Rejection.

Every function takes the raw value and returns the normal form, or None for an empty value.
"""

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from typing import Any
from zoneinfo import available_timezones

import phonenumbers
from babel import Locale
from babel.core import get_global
from django.utils.translation import gettext as _

TEXT_LIMIT = 1_000  # characters of a name, city or stage
IDENTIFIER_LIMIT = 512  # characters; far below what a unique index takes
ATTRIBUTE_LIMIT = 16 * 1024  # bytes of one attribute's JSON
ATTRIBUTE_NAME_LIMIT = 128  # characters
ATTRIBUTE_DEPTH = 20  # lists and objects in one another
EMAIL_LIMIT = 254  # characters, RFC 5321
EARLIEST_BIRTHDAY = date(1880, 1, 1)

# Deliberately loose: only a delivery attempt tells whether an address works.
_EMAIL = re.compile(
    r"[^@\s,;<>\"()\[\]\\]{1,64}@(?:[^@\s.,;<>\"()\[\]\\]{1,63}\.)+(?:xn--[a-z0-9-]+|[^@\s.,;<>\"()\[\]\\\d]{2,63})"
)
_E164 = re.compile(r"\+[1-9][0-9]{7,14}")
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ].*)?")
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|\d{3}))?", re.IGNORECASE)
# Where people who write country names are likely to come from; each adds its own words for every country.
_NAME_LOCALES = (
    "en",
    "ar",
    "cs",
    "da",
    "de",
    "es",
    "fi",
    "fr",
    "it",
    "ja",
    "nl",
    "pl",
    "pt",
    "sv",
    "tr",
    "uk",
    "zh",
)
# zone.tab lists a country's zones from west to east or north to south; these are where most people live.
_MAIN_ZONES = {
    "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo",
    "CA": "America/Toronto",
    "RU": "Europe/Moscow",
}


class Rejection(Exception):
    """A value that can't be taken: a stable `code`, the `field` it is about, and a sentence for people."""

    def __init__(self, code: str, field: str, detail: str):
        super().__init__(detail)
        self.code = code
        self.field = field
        self.detail = detail


def text(value: Any, field: str, limit: int = TEXT_LIMIT) -> str | None:
    """Trimmed text of at most `limit` characters, free of what PostgreSQL can't store."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Rejection("invalid_type", field, _("%(field)s must be text.") % {"field": field})
    _storable(value, field)
    value = value.strip()
    if len(value) > limit:
        raise Rejection(
            "too_long",
            field,
            _("%(field)s has %(length)d characters; at most %(limit)d fit.")
            % {"field": field, "length": len(value), "limit": limit},
        )
    return value or None


def _storable(value: str, field: str) -> None:
    if value.isascii() and "\x00" not in value:
        return
    if "\x00" in value:
        raise Rejection("nul_character", field, _("%(field)s contains a NUL character.") % {"field": field})
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Rejection(
            "invalid_unicode",
            field,
            _("%(field)s contains half of a character (a lone surrogate).") % {"field": field},
        ) from None


def identifier(value: Any, field: str) -> str | None:
    """A customer number or record id: text; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return text(value, field, IDENTIFIER_LIMIT)


def email(value: Any, field: str = "email") -> str | None:
    """A plausible address in lower case."""
    address = text(value, field, EMAIL_LIMIT)
    if address is None:
        return None
    address = address.lower()
    if not _EMAIL.fullmatch(address) or ".." in address:
        raise Rejection(
            "invalid_email", field, _("“%(value)s” is not an email address.") % {"value": shortened(address)}
        )
    return address


def phone(value: Any, country: str | None = None, field: str = "phone") -> str | None:
    """The number in E.164 form, such as +48601234567.

    Args:
        country: two letters; whose national numbers are understood. Without it the number must start with +.
    """
    if isinstance(value, str) and _E164.fullmatch(value):
        return value  # parsing takes a hundred times longer
    number = text(value, field)
    if number is None or _E164.fullmatch(number):
        return number
    if number.startswith("00"):
        number = "+" + number[2:]
    try:
        parsed = phonenumbers.parse(number, country)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        raise Rejection(
            "invalid_phone",
            field,
            _("“%(value)s” is not a phone number; write it like +48 601 234 567.")
            % {"value": shortened(number)},
        )
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def country(value: Any, field: str = "country") -> str | None:
    """ISO 3166 alpha-2 code of a country given by code or by name."""
    name = text(value, field)
    if name is None:
        return None
    code = _country_code(name)
    if code is None:
        raise Rejection(
            "unknown_country", field, _("“%(value)s” is not a country.") % {"value": shortened(name)}
        )
    return code


@lru_cache(maxsize=4096)
def _country_code(name: str) -> str | None:
    upper = name.upper()
    return upper if upper in _country_codes() else _country_names().get(_folded(name))


def language(value: Any, field: str = "language") -> str | None:
    """BCP 47 normal form, such as pt-BR, of a tag or of a language's name."""
    tag = text(value, field)
    if tag is None:
        return None
    code = _language_tag(tag)
    if code is None:
        raise Rejection(
            "unknown_language", field, _("“%(value)s” is not a language.") % {"value": shortened(tag)}
        )
    return code


@lru_cache(maxsize=4096)
def _language_tag(tag: str) -> str | None:
    match = _LANGUAGE.fullmatch(tag)
    if match and match[1].lower() in Locale("en").languages:
        script = match[2].title() if match[2] else None
        region = match[3].upper() if match[3] else None
        return "-".join(part for part in (match[1].lower(), script, region) if part)
    return _language_names().get(_folded(tag))


def timezone(value: Any, country: str | None = None) -> str | None:
    """The zone's IANA name; of an unknown or empty one, the main zone of `country`; else None. Never raises.

    HubSpot's spelling (europe_slash_warsaw, america_slash_port_hyphen_au_hyphen_prince) is understood.
    """
    zone = _zone(value) if isinstance(value, str) else None
    return zone or main_zone(country)


@lru_cache(maxsize=4096)
def _zone(name: str) -> str | None:
    spelt = name.strip().lower().replace("_slash_", "/").replace("_hyphen_", "-").replace(" ", "_")
    return _zones().get(spelt)


def main_zone(country: str | None) -> str | None:
    """The time zone most people of a country (two letters) live in."""
    if country is None:
        return None
    return _MAIN_ZONES.get(country) or _first_zones().get(country)


def birthday(value: Any, field: str = "birthday", today: date | None = None) -> date | None:
    """A date from YYYY-MM-DD (a time after it is ignored), or from milliseconds since 1970 (UTC)."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    written = text(value, field)
    if written is None:
        return None
    try:
        if re.fullmatch(r"-?\d{9,15}", written):
            born = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(written))).date()
        else:
            match = _ISO_DATE.fullmatch(written)
            if match is None:
                raise ValueError
            born = date(*(int(part) for part in match.groups()))
    except (ValueError, OverflowError):
        raise Rejection(
            "invalid_date",
            field,
            _("“%(value)s” is not a date; write it like 1990-12-31.") % {"value": shortened(written)},
        ) from None
    if not EARLIEST_BIRTHDAY <= born <= (today or datetime.now(UTC).date()) + timedelta(days=1):
        raise Rejection(
            "impossible_date", field, _("%(value)s can't be a birthday.") % {"value": born.isoformat()}
        )
    return born


def coordinate(value: Any, field: str) -> float | None:
    """Degrees, within ±90 for `latitude` and ±180 for `longitude`."""
    if value is None or value == "":
        return None
    limit = 90 if field == "latitude" else 180
    try:
        degrees = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        )
    except (ValueError, OverflowError):
        degrees = None
    if degrees is None or not -limit <= degrees <= limit:
        raise Rejection(
            "out_of_range",
            field,
            _("%(field)s must be a number from -%(limit)d to %(limit)d.") % {"field": field, "limit": limit},
        )
    return degrees


def attribute(name: str, value: Any) -> Any:
    """One attribute's JSON value, unchanged.

    Raises:
        Rejection: its name or value is too long, or holds what PostgreSQL's jsonb can't.
    """
    field = f"attributes.{shortened(name)}"
    if not name.strip() or len(name) > ATTRIBUTE_NAME_LIMIT:
        raise Rejection(
            "invalid_name",
            "attributes",
            _("An attribute's name has 1 to %d characters.") % ATTRIBUTE_NAME_LIMIT,
        )
    _storable(name, "attributes")
    if isinstance(value, str):
        _storable(value, field)
        size = len(value.encode())
    else:
        _json_storable(value, field)
        size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > ATTRIBUTE_LIMIT:
        raise Rejection(
            "too_long",
            field,
            _("%(field)s has %(size)d bytes; at most %(limit)d fit.")
            % {"field": field, "size": size, "limit": ATTRIBUTE_LIMIT},
        )
    return value


def attribute_taker(name: str) -> Callable[[Any], Any]:
    """`attribute` for one name and many values, which are mostly short and plain."""
    short, small = ATTRIBUTE_LIMIT, 2**53
    try:
        attribute(name, None)
    except Rejection:
        return lambda value: attribute(name, value)

    def take(value: Any) -> Any:
        kind = type(value)
        if kind is str:
            if value.isascii() and len(value) <= short and "\x00" not in value:
                return value
        elif kind is bool or (kind is int and -small < value < small):
            return value
        return attribute(name, value)

    return take


def _json_storable(value: Any, field: str, depth: int = 0) -> None:
    if depth > ATTRIBUTE_DEPTH:
        raise Rejection(
            "too_deep",
            field,
            _("%(field)s is nested more than %(limit)d deep.") % {"field": field, "limit": ATTRIBUTE_DEPTH},
        )
    if isinstance(value, str):
        _storable(value, field)
    elif isinstance(value, int | float):
        if not abs(value) <= sys.float_info.max:  # so that it can be compared and computed with
            raise Rejection(
                "invalid_number", field, _("%(field)s holds no finite number.") % {"field": field}
            )
    elif isinstance(value, list):
        for item in value:
            _json_storable(item, field, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _storable(key, field)
            _json_storable(item, field, depth + 1)


def shortened(value: str, limit: int = 80) -> str:
    """At most `limit` characters of an outsider's text, for a message."""
    value = value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return value if len(value) <= limit else value[: limit - 1] + "…"


def _folded(name: str) -> str:
    return re.sub(r"[\s.,'’()-]+", " ", name.casefold()).strip()


@cache
def _country_codes() -> frozenset[str]:
    codes = (str(code) for code in Locale("en").territories)
    return frozenset(code for code in codes if re.fullmatch(r"[A-Z]{2}", code)) - {
        "EU",
        "EZ",
        "QO",
        "UN",
        "ZZ",
    }


@cache
def _country_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for locale in _NAME_LOCALES:
        for code, name in Locale(locale).territories.items():
            if code in _country_codes():
                names.setdefault(_folded(name), code)
    for alias, codes in get_global("territory_aliases").items():
        if len(codes) == 1 and alias.isalpha():
            names.setdefault(alias.casefold(), codes[0])  # such as POL and UK
    names |= {"usa": "US", "u s a": "US", "united states of america": "US", "england": "GB", "scotland": "GB"}
    names |= {"wales": "GB", "great britain": "GB", "holland": "NL", "czech republic": "CZ", "korea": "KR"}
    return names


@cache
def _language_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for code, name in Locale("en").languages.items():
        names.setdefault(_folded(name), code.replace("_", "-"))
    for locale in _NAME_LOCALES:
        names.setdefault(_folded(Locale(locale).display_name or ""), locale)
    return names


@cache
def _zones() -> dict[str, str]:
    ignored = ("posix/", "right/", "SystemV/")
    return {
        name.lower(): name for name in available_timezones() if "/" in name and not name.startswith(ignored)
    } | {"utc": "UTC"}


@cache
def _first_zones() -> dict[str, str]:
    """Country -> the first zone that the time zone database lists for it."""
    table = resources.files("tzdata").joinpath("zoneinfo/zone.tab").read_text(encoding="utf-8")
    zones: dict[str, str] = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            code, _position, zone = line.split("\t")[:3]
            zones.setdefault(code, zone)
    return zones
