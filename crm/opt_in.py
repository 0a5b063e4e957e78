"""What people answer themselves: a yes that has to be confirmed waits until the link sent to them was used.

A form can be filled in with anybody's address. Where the topic or the channel asks for double opt-in, a yes is
kept as `pending`, which counts as a no, and `consent_requested` goes into the event log: a flow sends the link.
"""

import hmac
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from crm import consent, log
from crm.consent import CHANNEL, PENDING, SUBSCRIBED, TOPIC, Change
from crm.models import ChannelTerms, Consent, ConsentChange, Event, Profile, Topic

REQUESTED = "consent_requested"
CONFIRMED = "double_opt_in"  # source of answers
WITHIN = timedelta(days=7)  # a request that nobody confirmed is over
AGAIN = timedelta(days=1)  # between two requests to one person about one thing
MOST, MOST_IN = 3, timedelta(days=30)  # so many requests, then silence
MOST_IN_ALL = 10  # requests to one person in that time, whatever about
RECENT = timedelta(days=30)
MAX_USER_AGENT = 200  # characters
_ADDRESSES = {"email": "email", "sms": "phone", "whatsapp": "phone"}  # channel -> the profile's field

Question = tuple[int, str, str]  # profile id, kind, key


class Terms(msgspec.Struct, frozen=True):
    """On which terms a topic or channel is agreed to."""

    double_opt_in: bool = False
    legal_basis: str = consent.ON_CONSENT


def terms(asked: Collection[tuple[str, str]]) -> dict[tuple[str, str], Terms]:
    """The terms of each (kind, key), in two queries."""
    found = {question: Terms() for question in asked}
    fields = ("double_opt_in", "legal_basis")
    topics = Topic.objects.filter(slug__in=[key for kind, key in asked if kind == TOPIC])
    channels = ChannelTerms.objects.filter(channel__in=[key for kind, key in asked if kind == CHANNEL])
    found |= {(TOPIC, slug): Terms(*rest) for slug, *rest in topics.values_list("slug", *fields)}
    found |= {(CHANNEL, name): Terms(*rest) for name, *rest in channels.values_list("channel", *fields)}
    return found


def proof(page: str = "", user_agent: str = "", language: str = "") -> dict[str, str]:
    """What is kept of where an answer was given: a page without its query, which may hold names."""
    parts = urlsplit(page)
    where = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    held = {"page": where, "user_agent": user_agent[:MAX_USER_AGENT], "language": language}
    return {name: value for name, value in held.items() if value}


def fingerprint(address: str) -> str:
    """Tells later whether an answer was about this address, without keeping the address.

    Keyed (HMAC-SHA256) with the installation's encryption key: there are so few phone numbers that a plain hash would
    tell whoever has the database.
    """
    return _fingerprint(settings.NUDGE_ENCRYPTION_KEYS[0], address)


def _fingerprint(key: str, address: str) -> str:
    return hmac.new(key.encode(), f"consent\0{address}".encode(), sha256).hexdigest()


def was_about(entry: ConsentChange, address: str) -> bool:
    """Whether an entry of the ledger is about `address`, in normal form."""
    kept = str(entry.proof.get("address", "")).encode()
    return any(
        hmac.compare_digest(kept, _fingerprint(key, address).encode())
        for key in settings.NUDGE_ENCRYPTION_KEYS
    )


@transaction.atomic
def answer(
    changes: Sequence[Change], confirmed: bool = False, now: datetime | None = None, events: bool = True
) -> list[str]:
    """Record people's own answers; return for each the state that it has now or waits for.

    A yes that asks for confirmation becomes `pending`, unless the person has confirmed it before and not said no
    since. They are asked by an event, once for all that they answered in one call: about one thing at most once a day
    and three times in 30 days, ten times in those about everything. What was answered more than 30 days ago is
    history: it is no event and asks nobody.

    Args:
        changes: an empty `legal_basis` stands for that of the topic or channel.
        confirmed: the caller has made sure that they own the address, such as by a link sent to it.
        events: False keeps an import out of the event log.
    """
    if not changes:
        return []
    now = now or timezone.now()
    known = terms({(change.kind, change.key) for change in changes})
    changes = _with_addresses([_on_terms(change, known[change.kind, change.key]) for change in changes])
    doubtful = {
        _question(change)
        for change in changes
        if change.state == SUBSCRIBED and known[change.kind, change.key].double_opt_in and not confirmed
    }
    doubtful -= _standing(doubtful)
    changes = [
        msgspec.structs.replace(change, state=PENDING) if _question(change) in doubtful else change
        for change in changes
    ]
    silent = _asked_enough(doubtful, now)
    unchanged = silent & _of(doubtful, state=PENDING).keys()
    recent: list[Change] = []
    old: list[Change] = []
    for change in changes:
        if _question(change) not in unchanged:
            (recent if events and change.changed_at > now - RECENT else old).append(change)
    consent.record(recent)
    consent.record(old, events=False)
    _request([change for change in recent if change.state == PENDING and _question(change) not in silent])
    return [change.state for change in changes]


@transaction.atomic
def confirm(
    profile_id: int,
    questions: Collection[tuple[str, str]] = (),
    delivery: int | None = None,
    now: datetime | None = None,
) -> list[tuple[str, str]]:
    """Make a person's pending answers count; return the (kind, key) of those that do now.

    Args:
        questions: only these; without any, all that are pending.
        delivery: the message whose link was used.
    """
    now = now or timezone.now()
    rows = pending(profile_id, questions, now, locked=True)
    consent.record(
        [
            Change(
                profile_id,
                row.kind,
                row.key,
                SUBSCRIBED,
                CONFIRMED,
                now,
                row.wording,
                row.wording_version,
                row.legal_basis,
                row.proof,
                delivery,
            )
            for row in rows
        ]
    )
    return [(row.kind, row.key) for row in rows]


def pending(
    profile_id: int,
    questions: Collection[tuple[str, str]] = (),
    now: datetime | None = None,
    locked: bool = False,
) -> list[Consent]:
    """A person's answers that can still be confirmed."""
    rows = Consent.objects.filter(
        profile_id=profile_id, state=PENDING, changed_at__gt=(now or timezone.now()) - WITHIN
    ).order_by("kind", "key")
    if locked:
        rows = rows.select_for_update()
    return [row for row in rows if not questions or (row.kind, row.key) in questions]


def awaited(profile_ids: Collection[int], channel: str, now: datetime) -> set[int]:
    """Those who may be sent the link to confirm by: something waits for it, and the channel has no no."""
    rows = Consent.objects.filter(
        Q(state=PENDING) | Q(kind=CHANNEL, key=channel), profile_id__in=list(profile_ids)
    ).values_list("profile_id", "kind", "key", "state", "changed_at")
    waiting, open_to = set(), set()
    for profile_id, kind, key, state, at in rows:
        if state == PENDING and at > now - WITHIN:
            waiting.add(profile_id)
        if (kind, key) == (CHANNEL, channel) and state != consent.UNSUBSCRIBED:
            open_to.add(profile_id)
    return waiting & open_to


def _question(change: Change) -> Question:
    return change.profile_id, change.kind, change.key


def _on_terms(change: Change, agreed: Terms) -> Change:
    if change.legal_basis:
        return change
    return msgspec.structs.replace(change, legal_basis=agreed.legal_basis)


def _with_addresses(changes: list[Change]) -> list[Change]:
    """Add a fingerprint of the address to answers about a channel that has one."""
    about = {change.profile_id for change in changes if change.kind == CHANNEL and change.key in _ADDRESSES}
    if not about:
        return changes
    fields = sorted(set(_ADDRESSES.values()))
    people = {row["id"]: row for row in Profile.objects.filter(pk__in=about).values("id", *fields)}
    filled = []
    for change in changes:
        field = _ADDRESSES.get(change.key) if change.kind == CHANNEL else None
        address = people.get(change.profile_id, {}).get(field) if field else None
        if address:
            change = msgspec.structs.replace(change, proof=change.proof | {"address": fingerprint(address)})
        filled.append(change)
    return filled


def _of(questions: Collection[Question], **wanted: str) -> dict[Question, datetime]:
    """When those of `questions` that have an answer were answered, among rows as `wanted`."""
    if not questions:
        return {}
    rows = Consent.objects.filter(profile_id__in={profile_id for profile_id, *_ in questions}, **wanted)
    return {
        (profile_id, kind, key): at
        for profile_id, kind, key, at in rows.values_list("profile_id", "kind", "key", "changed_at")
        if (profile_id, kind, key) in questions
    }


def _standing(questions: Collection[Question]) -> set[Question]:
    """Those with a yes, locked: a no that comes meanwhile must not be followed by a yes without confirmation."""
    if not questions:
        return set()
    rows = Consent.objects.select_for_update().filter(
        profile_id__in={profile_id for profile_id, *_ in questions}, state=SUBSCRIBED
    )
    # In the order in which answers are written, so that two writers never wait for each other.
    held = rows.order_by("profile_id", "kind", "key").values_list("profile_id", "kind", "key")
    return set(held) & set(questions)


def _asked_enough(questions: Collection[Question], now: datetime) -> set[Question]:
    """Those about whom a request was made just now, or too many; all of a person who was asked too often."""
    if not questions:
        return set()
    people = {profile_id for profile_id, *_ in questions}
    requests = Event.objects.filter(
        profile_id__in=people, name=REQUESTED, occurred_at__gt=now - MOST_IN, occurred_at__lte=now
    )
    often = requests.values("profile_id").annotate(times=Count("pk")).filter(times__gte=MOST_IN_ALL)
    tired = set(often.values_list("profile_id", flat=True))
    asked = (
        ConsentChange.objects.filter(profile_id__in=people, state=PENDING, changed_at__gt=now - MOST_IN)
        .values("profile_id", "kind", "key")
        .annotate(times=Count("pk"), last=Max("changed_at"))
    )
    return {
        (row["profile_id"], row["kind"], row["key"])
        for row in asked
        if row["times"] >= MOST or row["last"] > now - AGAIN
    } & set(questions) | {question for question in questions if question[0] in tired}


def _request(changes: Sequence[Change]) -> None:
    """Ask for confirmation of those that are stored as pending now: an older answer may have come too late."""
    stored = _of({_question(change) for change in changes}, state=PENDING)
    by_person: dict[int, list[Change]] = {}
    for change in changes:
        if stored.get(_question(change)) == change.changed_at:
            by_person.setdefault(change.profile_id, []).append(change)
    log.append(
        [
            log.NewEvent(
                id=log.event_id(REQUESTED, profile_id, *(f"{c.kind}:{c.key}:{c.changed_at}" for c in asked)),
                profile_id=profile_id,
                name=REQUESTED,
                occurred_at=max(change.changed_at for change in asked),
                properties={
                    "kind": asked[0].kind,
                    "key": asked[0].key,
                    "questions": [f"{change.kind}:{change.key}" for change in asked],
                    "source": asked[0].source,
                },
                source="nudge",
            )
            for profile_id, asked in by_person.items()
        ]
    )
