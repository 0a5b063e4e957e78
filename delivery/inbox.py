"""The inbox of in-app messages: put in by the channel, fetched by the page's script, answered by the person."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection
from django.utils import translation
from django.utils.translation import gettext

from crm.models import Identifier, Profile
from crm.proof import KNOWN, Judged
from delivery import tokens
from delivery.models import InAppMessage

CHANNEL = "inapp"
MAX_MESSAGES = 20
# An id that can be guessed opens no inbox; nudge.js makes 122 random bits.
MIN_ID = 20  # characters

_PUT = """
    WITH alive AS (
        SELECT d.id, r.at FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, at timestamptz)
        JOIN delivery_delivery d ON d.id = r.id ORDER BY d.id FOR KEY SHARE OF d
    ), kept AS (
        INSERT INTO delivery_inappmessage (delivery_id, state, expires_at)
        SELECT id, 'waiting', at FROM alive ON CONFLICT DO NOTHING
    )
    SELECT id FROM alive
"""
# A later answer counts more than an earlier one, and nothing comes back once it was closed.
_NOTE = """
    UPDATE delivery_inappmessage a SET state = r.state, answered_at = r.at
    FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, state text, at timestamptz)
    WHERE a.delivery_id = r.id AND array_position(ARRAY['waiting', 'shown', 'clicked', 'dismissed'], a.state)
        < array_position(ARRAY['waiting', 'shown', 'clicked', 'dismissed'], r.state)
"""
_ORDER = ("shown", "clicked", "dismissed")
_OPEN = """
    SELECT i.profile_id FROM crm_identifier i
    WHERE i.kind = 'anonymous_id' AND i.value = %s AND (i.verified OR NOT EXISTS (
        SELECT FROM crm_identifier n WHERE n.profile_id = i.profile_id AND n.kind <> 'anonymous_id'))
"""
_MESSAGES = """
    SELECT d.id, a.state, a.expires_at, d.content, d.locale
    FROM delivery_delivery d JOIN delivery_inappmessage a ON a.delivery_id = d.id
    JOIN delivery_message m ON m.id = d.message_id
    WHERE d.profile_id = %(profile)s AND d.channel = 'inapp' AND d.content IS NOT NULL
        AND a.state <> 'dismissed' AND a.expires_at > %(now)s
        AND NOT EXISTS (SELECT FROM crm_consent c WHERE c.profile_id = d.profile_id AND c.state = 'unsubscribed'
            AND (c.kind, c.key) IN (('channel', 'inapp'), ('topic', m.topic)))
    ORDER BY d.id DESC LIMIT %(limit)s
"""


class Item(msgspec.Struct, frozen=True):
    """A message as the page gets it; `token` is what it reports with."""

    token: str
    state: str
    expires_at: datetime
    locale: str
    title: str
    text: str
    button: str
    url: str
    image: str
    style: str
    close: str


def put(expiries: Mapping[int, datetime]) -> set[int]:
    """Put deliveries into their people's inboxes until the given times; return those that still exist."""
    rows = [{"id": pk, "at": at} for pk, at in expiries.items()]
    with connection.cursor() as cursor:
        cursor.execute(_PUT, [msgspec.json.encode(rows).decode()])
        return {row[0] for row in cursor.fetchall()}


def holds(delivery_ids: Collection[int]) -> set[int]:
    """Return those of these deliveries that were put into an inbox."""
    found = InAppMessage.objects.filter(delivery_id__in=delivery_ids)
    return set(found.values_list("delivery_id", flat=True))


def note(reports: Sequence[tuple[int, str, datetime]]) -> None:
    """Keep what people did with messages, in one query: (delivery's id, "shown", "clicked" or "dismissed", when)."""
    last: dict[int, dict[str, Any]] = {}
    for pk, kind, at in sorted(reports, key=lambda report: (_ORDER.index(report[1]), report[2])):
        if pk not in last or last[pk]["state"] != kind:
            last[pk] = {"id": pk, "state": kind, "at": at}
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [msgspec.json.encode(list(last.values())).decode()])


def owner(who: Judged) -> int | None:
    """Return the person whose inbox a caller may read; None: nobody's.

    A name opens it only with a proof (or a server's word). Otherwise the browser's own unguessable id does, as long
    as it stands for nobody in particular or was proven to be this person's: who merely claims an email sees nothing.
    """
    reference = who.reference
    if who.proven:
        if reference.id is not None:
            return reference.id if Profile.objects.filter(pk=reference.id).exists() else None
        for kind in KNOWN:
            value = getattr(reference, kind)
            if value:
                found = Identifier.objects.filter(kind=kind, value=value).values_list("profile_id", flat=True)
                return found.first()
    if not reference.anonymous_id or len(reference.anonymous_id) < MIN_ID:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, [reference.anonymous_id])
        row = cursor.fetchone()
    return row[0] if row else None


def messages(profile_id: int, now: datetime) -> list[Item]:
    """Return a person's newest messages that were not closed and have not expired, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(_MESSAGES, {"profile": profile_id, "now": now, "limit": MAX_MESSAGES})
        rows = cursor.fetchall()
    return [_item(*row) for row in rows]


def _item(pk: int, state: str, expires_at: datetime, content: Any, locale: str) -> Item:
    # Raw SQL gives jsonb as text.
    words = msgspec.json.decode(content) if isinstance(content, str) else content
    shown = {name: words.get(name, "") for name in ("title", "text", "button", "url", "image")}
    style = words.get("style", "banner")
    with translation.override(locale or None):
        close = gettext("Close")  # the page's script speaks no language
    return Item(
        token=tokens.make(pk),
        state=state,
        expires_at=expires_at,
        locale=locale,
        style=style,
        close=close,
        **shown,
    )
