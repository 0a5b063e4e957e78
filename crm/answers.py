"""People's answers as they come in bulk, from the API and from files: checked row by row, stored together."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from crm import consent, identity, normalise, opt_in
from crm.identity import Reference
from crm.models import LegalBasis, Topic
from crm.normalise import Rejection

MAX_WORDING = 2000  # characters
MAX_VERSION = 50
MAX_PAGE = 1000
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,49}")
_STATES = (consent.SUBSCRIBED, consent.UNSUBSCRIBED)


class Row(msgspec.Struct):
    """One answer as somebody tells it. `confirmed` says that the person has confirmed it to them."""

    kind: str
    key: str
    state: str
    changed_at: datetime | None = None
    wording: str | None = None
    wording_version: str | None = None
    legal_basis: str | None = None
    page: str | None = None
    language: str | None = None
    confirmed: bool = False
    profile: Reference | None = None


class Given(msgspec.Struct):
    """One answer, checked. `proven` tells that its reference is known to name the person."""

    place: int
    reference: Reference
    proven: bool
    change: consent.Change
    confirmed: bool = False


class Stored(msgspec.Struct):
    """How many answers were taken, how many of them wait to be confirmed, and (place, rejection) of the others."""

    taken: int
    pending: int
    rejected: list[tuple[int, Rejection]]


def checked(
    place: int,
    row: Row,
    reference: Reference,
    proven: bool,
    source: str,
    now: datetime,
    topics: frozenset[str],
    user_agent: str = "",
) -> Given:
    """A row that can be stored.

    Args:
        place: of the row, from 0.
        reference: whom it is about, in normal form.
        topics: those there are.

    Raises:
        Rejection: it can't be.
    """
    if row.kind not in (consent.CHANNEL, consent.TOPIC):
        raise Rejection("invalid_value", "kind", _("kind is channel or topic."))
    key = normalise.text(row.key, "key") or ""
    if row.kind == consent.TOPIC and key not in topics:
        raise Rejection("unknown_topic", "key", _("There is no topic “%s”.") % normalise.shortened(key))
    if row.kind == consent.CHANNEL and not _CHANNEL.fullmatch(key):
        raise Rejection("invalid_value", "key", _("Name the channel, such as email or webpush."))
    if row.state not in _STATES:
        raise Rejection("invalid_value", "state", _("state is subscribed or unsubscribed."))
    basis = row.legal_basis or ""
    if basis and basis not in LegalBasis.values:
        detail = _("Choose one of %s.") % ", ".join(LegalBasis.values)
        raise Rejection("invalid_value", "legal_basis", detail)
    change = consent.Change(
        0,
        row.kind,
        key,
        row.state,
        source,
        _time(row.changed_at, now),
        normalise.text(row.wording, "wording", MAX_WORDING) or "",
        normalise.text(row.wording_version, "wording_version", MAX_VERSION) or "",
        basis,
        _proof(row, user_agent),
    )
    return Given(place, reference, proven, change, row.confirmed)


def topics() -> frozenset[str]:
    """The short names of all topics."""
    return frozenset(Topic.objects.values_list("slug", flat=True))


@transaction.atomic
def store(given: Sequence[Given], source: str, now: datetime | None = None, events: bool = True) -> Stored:
    """Find or make the people, and record what they answered; the number of queries does not grow with the rows.

    Args:
        source: who tells it, such as "sdk"; see `identity.resolve`.
        events: False keeps an import out of the event log.
    """
    now = now or timezone.now()
    good, rejected = _known(given)
    while good:
        references = [each.reference for each in good]
        proven = {each.reference for each in good if each.proven}
        try:
            with transaction.atomic():
                found = identity.resolve(references, now, proven, source)
            break
        except identity.ErasedPerson as erased:
            detail = _("This person was erased.")
            gone = [each for each in good if each.reference in erased.references]
            rejected += [(each.place, Rejection("erased", "profile", detail)) for each in gone]
            good = [each for each in good if each.reference not in erased.references]
    pending = 0
    if good:
        for each, profile_id in zip(good, found, strict=True):
            each.change.profile_id = profile_id
        for confirmed in (False, True):
            changes = [each.change for each in good if each.confirmed is confirmed]
            pending += opt_in.answer(changes, confirmed, now, events).count(consent.PENDING)
    return Stored(len(good), pending, sorted(rejected, key=lambda each: each[0]))


def _known(given: Iterable[Given]) -> tuple[list[Given], list[tuple[int, Rejection]]]:
    """Those about people who exist, or are named and so can be made."""
    given = list(given)
    wanted = {each.reference.id for each in given if each.reference.id is not None}
    existing = identity.existing_ids(list(wanted)) if wanted else set()
    missing = wanted - existing
    unknown = Rejection("unknown_profile", "profile.id", _("There is no such profile."))
    return (
        [each for each in given if each.reference.id not in missing],
        [(each.place, unknown) for each in given if each.reference.id in missing],
    )


def _time(given: datetime | None, now: datetime) -> datetime:
    if given is None:
        return now
    if given.tzinfo is None or given.astimezone(UTC) < EARLIEST:
        detail = _("Write the time with its zone, like 2026-01-31T12:00:00Z (RFC 3339).")
        raise Rejection("invalid_time", "changed_at", detail)
    return min(given, now)


def _proof(row: Row, user_agent: str) -> dict[str, str]:
    page = normalise.text(row.page, "page", MAX_PAGE) or ""
    language = normalise.language(row.language) or "" if row.language else ""
    try:
        return opt_in.proof(page, user_agent.replace("\x00", ""), language)
    except ValueError as error:
        raise Rejection("invalid_value", "page", _("This is not an address of a page.")) from error
