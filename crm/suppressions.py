"""The list of addresses nobody may write to."""

from collections.abc import Collection, Sequence

import msgspec
from django.db import connection
from django.utils.translation import gettext as _

from crm import normalise
from crm.models import Suppression
from crm.pg import text_array

ALL = Suppression.ALL
MAX_REASON = 200  # characters
MAX_ADDRESS = 2000
MAX_CHANNEL = 50


class Entry(msgspec.Struct, frozen=True):
    """An address in normal form, and why nobody may write to it."""

    channel: str
    address: str
    reason: str = ""


_ADD = """
    INSERT INTO crm_suppression (channel, address, reason, source)
    SELECT DISTINCT ON (channel, address) channel, address, reason, %s
    FROM jsonb_to_recordset(%s::jsonb) AS r(channel text, address text, reason text)
    ON CONFLICT DO NOTHING
"""
_REMOVE = """
    DELETE FROM crm_suppression s USING jsonb_to_recordset(%s::jsonb) AS r(channel text, address text)
    WHERE s.channel = r.channel AND s.address = r.address
"""

_LISTED = "SELECT channel, address FROM crm_suppression WHERE channel = ANY(%s::text[]) AND address = ANY(%s::text[])"


def entry(channel: str | None, address: str | None, reason: str | None = "") -> Entry:
    """An entry as the list keeps it: emails in lower case, phone numbers as E.164.

    Args:
        channel: a channel's name; "all", or nothing, stands for every one.

    Raises:
        Rejection: the address can't be one.
    """
    wanted = normalise.text(channel, "channel", MAX_CHANNEL) or ALL
    given = normalise.text(address, "address", MAX_ADDRESS)
    if not given:
        raise normalise.Rejection(
            "missing_field", "address", _("%(field)s is missing.") % {"field": "address"}
        )
    why = normalise.text(reason, "reason", MAX_REASON) or ""
    if "@" in given and "://" not in given:
        kept = normalise.email(given, "address")
    elif wanted in ("sms", "whatsapp") or given.startswith("+"):
        kept = normalise.phone(given, field="address")
    elif wanted == "email":
        kept = normalise.email(given, "address")
    else:
        kept = given
    return Entry(wanted, kept or "", why)


def add(entries: Sequence[Entry], source: str) -> int:
    """Put addresses on the list; return how many were not on it. The first reason given stays."""
    if not entries:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [source, msgspec.json.encode(entries).decode()])
        return cursor.rowcount


def remove(entries: Sequence[Entry]) -> int:
    """Take addresses off the list; return how many were on it."""
    if not entries:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE, [msgspec.json.encode(entries).decode()])
        return cursor.rowcount


def listed(channels: Collection[str], addresses: Collection[str]) -> set[tuple[str, str]]:
    """The (channel, address) on the list, in one query; the channel may be ALL."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTED, [text_array([*channels, ALL]), text_array(list(addresses))])
        return set(cursor.fetchall())
