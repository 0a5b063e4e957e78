"""What people write to us: leaving, coming back, asking for help; everything else is for flows to start from."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction
from django.utils import timezone

from crm import consent, log, normalise, suppressions, wake
from crm.consent import CHANNEL, SUBSCRIBED, UNSUBSCRIBED
from crm.models import Consent, ConsentChange, Suppression
from delivery import inbound_words as words
from delivery.inbound_replies import QUEUE, TASK, Answers
from delivery.models import InboundMessage, Keywords
from delivery.providers.base import Inbound

PERSON = "person"  # the source of answers
LEFT = "wrote STOP"  # why a number that belongs to nobody known is on the suppression list
MAX_TEXT = 5_000  # characters
HELP_AGAIN = timedelta(hours=1)  # after which help is told once more: two machines must not talk for ever
TOO_LATE = timedelta(hours=6)  # for an answer

_KEEP = """
    INSERT INTO delivery_inboundmessage
        (account_id, key, channel, address, profile_id, text, meaning, language, reply, reply_text, at)
    SELECT %(account)s, key, %(channel)s, address, profile, text, meaning, language, 'none', '', at
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(
        key text, address text, profile bigint, text text, meaning text, language text, at timestamptz)
    ON CONFLICT (account_id, key) DO NOTHING
    RETURNING id, key
"""
# Whoever has the number now, and whoever is known by it. Locked, so that two calls about one person take turns.
_PEOPLE = """
    WITH found AS MATERIALIZED (
        SELECT phone AS address, id FROM crm_profile WHERE phone = ANY(%(addresses)s)
        UNION
        SELECT value, profile_id FROM crm_identifier WHERE kind = 'phone' AND value = ANY(%(addresses)s)
    ), locked AS MATERIALIZED (
        SELECT id, language FROM crm_profile WHERE id IN (SELECT id FROM found) ORDER BY id FOR NO KEY UPDATE
    )
    SELECT address, id, coalesce(language, '') FROM found JOIN locked USING (id) ORDER BY id
"""


class _Row(msgspec.Struct):
    """One message as it is kept, and who has its number."""

    key: str
    address: str
    text: str
    meaning: str
    language: str
    at: datetime
    answered: bool
    profile: int | None = None
    people: list[int] = []
    id: int = 0


@transaction.atomic
def apply(account_id: int, channel: str, inbound: Sequence[Inbound], now: datetime | None = None) -> int:
    """Take in what people wrote to one account, each once; return how many were new.

    A word to leave is a no to the channel of everybody who has the number; a number that nobody has goes onto the
    suppression list. A word to come back counts only for who had agreed before. All is kept and logged as
    `message_received`. The number of queries is the same for one message and for hundreds.
    """
    now = now or timezone.now()
    if not inbound:
        return 0
    settings = Keywords.objects.filter(channel=channel).first()
    rows = _read(inbound, _extra(settings), now)
    languages = _find_people(rows)
    fresh = _keep(account_id, channel, rows)
    if not fresh:
        return 0
    changed = _leave_and_return(channel, fresh)
    _log(account_id, channel, fresh)
    if settings is None or settings.answers:
        _answer(channel, [row for row in fresh if row.id in changed], settings, languages, now)
    return len(fresh)


def _read(inbound: Sequence[Inbound], extra: dict[str, list[str]], now: datetime) -> list[_Row]:
    rows = {}
    for each in inbound:
        text = each.text.replace("\0", "")[:MAX_TEXT]
        meaning = words.understand(text, extra)
        if each.understood in (words.STOP, words.START, words.HELP):
            meaning = words.Understood(each.understood, meaning.language)
        rows[each.key] = _Row(
            each.key.replace("\0", ""),
            _address(each.address),
            text,
            meaning.meaning,
            meaning.language,
            min(each.at, now),
            bool(each.understood),
        )
    return sorted(rows.values(), key=lambda row: row.at)


def _address(given: str) -> str:
    """The number in E.164 form; what can't be one, such as a short code, as it came."""
    try:
        return normalise.phone(given) or ""
    except normalise.Rejection:
        return given.replace("\0", "")[:100]


def _extra(settings: Keywords | None) -> dict[str, list[str]]:
    if settings is None:
        return {}
    return {
        meaning: [word for word in getattr(settings, meaning).splitlines() if word.strip()]
        for meaning in (words.STOP, words.START, words.HELP)
    }


def _find_people(rows: Sequence[_Row]) -> dict[int, str]:
    """Tell each row who has its number; return these people's languages."""
    languages: dict[int, str] = {}
    people: dict[str, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_PEOPLE, {"addresses": sorted({row.address for row in rows})})
        for address, profile_id, language in cursor.fetchall():
            people.setdefault(address, []).append(profile_id)
            languages[profile_id] = language
    for row in rows:
        row.people = people.get(row.address, [])
        row.profile = row.people[0] if row.people else None
    return languages


def _keep(account_id: int, channel: str, rows: Sequence[_Row]) -> list[_Row]:
    """Store the messages; return those that were not known yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            _KEEP,
            {"account": account_id, "channel": channel, "rows": msgspec.json.encode(rows).decode()},
        )
        numbers = {key: number for number, key in cursor.fetchall()}
    fresh = [row for row in rows if row.key in numbers]
    for row in fresh:
        row.id = numbers[row.key]
    return fresh


def _leave_and_return(channel: str, rows: Sequence[_Row]) -> set[int]:
    """Record the answers; return the numbers of the messages that are to be answered, because they changed something
    or ask for help."""
    people = {
        profile_id for row in rows if row.meaning in (words.STOP, words.START) for profile_id in row.people
    }
    present, once = _answers(channel, people)
    # A message's own suppression is lifted by a later START, also when somebody known has the number by now.
    strangers = {row.address for row in rows if row.meaning in (words.STOP, words.START)}
    listed = (
        set(
            Suppression.objects.filter(channel=channel, address__in=strangers, reason=LEFT).values_list(
                "address", flat=True
            )
        )
        if strangers
        else set()
    )
    before = set(listed)
    changes: list[consent.Change] = []
    told = set()
    for row in rows:
        if row.meaning == words.HELP:
            told.add(row.id)
        elif row.meaning == words.STOP:
            leaving = [profile_id for profile_id in row.people if present.get(profile_id) != UNSUBSCRIBED]
            changes += [_change(profile_id, channel, UNSUBSCRIBED, row) for profile_id in row.people]
            present |= dict.fromkeys(row.people, UNSUBSCRIBED)
            if leaving or (not row.people and row.address not in listed):
                told.add(row.id)
            if not row.people:
                listed.add(row.address)
        elif row.meaning == words.START:
            agreed = [profile_id for profile_id in row.people if profile_id in once]
            back = [profile_id for profile_id in agreed if present.get(profile_id) != SUBSCRIBED]
            # Also of who is here: a STOP from before that comes late does not count then.
            changes += [_change(profile_id, channel, SUBSCRIBED, row) for profile_id in agreed]
            present |= dict.fromkeys(agreed, SUBSCRIBED)
            if back or row.address in listed:
                told.add(row.id)
            listed.discard(row.address)
    consent.record(changes)
    suppressions.add([suppressions.Entry(channel, each, LEFT) for each in listed - before], PERSON)
    suppressions.remove([suppressions.Entry(channel, each) for each in before - listed])
    return told


def _answers(channel: str, people: Collection[int]) -> tuple[dict[int, str], set[int]]:
    """What these people have answered at present, and who of them ever said yes."""
    if not people:
        return {}, set()
    asked: dict[str, Any] = {"profile_id__in": people, "kind": CHANNEL, "key": channel}
    present = dict(Consent.objects.filter(**asked).values_list("profile_id", "state"))
    yes = ConsentChange.objects.filter(**asked, state=SUBSCRIBED)
    return present, set(yes.values_list("profile_id", flat=True))


def _change(profile_id: int, channel: str, state: str, row: _Row) -> consent.Change:
    return consent.Change(profile_id, CHANNEL, channel, state, PERSON, row.at, wording=row.text[:200])


def _log(account_id: int, channel: str, rows: Sequence[_Row]) -> None:
    log.append(
        [
            log.NewEvent(
                log.event_id("message_received", account_id, row.key, profile_id),
                profile_id,
                "message_received",
                row.at,
                {"channel": channel, "text": row.text, "meaning": row.meaning},
                "nudge",
            )
            for row in rows
            for profile_id in row.people
        ]
    )


def _answer(
    channel: str, rows: Sequence[_Row], settings: Keywords | None, languages: dict[int, str], now: datetime
) -> None:
    """Note what is to be said to these messages; a worker says it."""
    wanted = [row for row in rows if not row.answered and row.at > now - TOO_LATE]
    asking = {row.address for row in wanted if row.meaning == words.HELP}
    told = (
        set(
            InboundMessage.objects.filter(
                channel=channel, address__in=asking, meaning=words.HELP, at__gt=now - HELP_AGAIN
            )
            .exclude(reply=InboundMessage.Reply.NONE)
            .values_list("address", flat=True)
        )
        if asking
        else set()
    )
    answers = Answers(settings)
    due = []
    for row in wanted:
        if row.meaning == words.HELP:
            if row.address in told:
                continue
            told.add(row.address)
        text = answers.text(row.meaning, languages.get(row.profile or 0) or row.language)
        due.append(InboundMessage(pk=row.id, reply=InboundMessage.Reply.WAITING, reply_text=text))
    if due:
        InboundMessage.objects.bulk_update(due, ["reply", "reply_text"])
        wake.on_commit(TASK, QUEUE)
