"""Static lists: segments whose members are put in and taken out by hand, and change by nothing else."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from django.db import connection, transaction
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from campaigns.models import Segment
from campaigns.segments import editing, memberships
from campaigns.segments.memberships import CHUNK, Changed
from crm import merging, pg, slugs

CAUSE = "list"
LONGEST_SLUG = 50

_LOCK = "SELECT id FROM crm_profile WHERE id = ANY(%s::bigint[]) ORDER BY id FOR KEY SHARE"
# Whoever was erased is an empty profile without names; their number may still stand in a file.
_ERASED = """
    SELECT p.id FROM unnest(%s::bigint[]) AS p(id)
    WHERE NOT EXISTS (SELECT FROM crm_identifier i WHERE i.profile_id = p.id)
      AND EXISTS (SELECT FROM crm_event e WHERE e.profile_id = p.id AND e.name = 'profile_erased')
"""


class NotAList(ValueError):
    """The members of a segment with a rule follow from the rule; only lists are changed by hand."""

    def __init__(self, segment: Segment):
        super().__init__(_("“%s” follows its rule; only lists are changed by hand.") % segment.name)


class ListError(ValueError):
    """A list can't be made so; `field` is name or slug."""

    def __init__(self, field: str, message: str):
        self.field = field
        super().__init__(message)


@transaction.atomic
def create(
    name: str, slug: str = "", description: str = "", by: str = "", now: datetime | None = None
) -> Segment:
    """Make an empty list.

    Args:
        slug: made from the name, unless given.
        by: who makes it, such as a user's name.

    Raises:
        ListError: the name is empty, or the slug is taken or none.
    """
    name = name.strip()
    if not name:
        raise ListError("name", _("Give the list a name."))
    if slug and slugify(slug) != slug:
        raise ListError("slug", _("A short name holds small letters, digits, hyphens and underscores."))
    slug = (slug or slugs.of_name(Segment, name, "list", LONGEST_SLUG - 5))[:LONGEST_SLUG]
    if Segment.objects.filter(slug=slug).exists():
        raise ListError("slug", _("Another segment has this short name."))
    moment = now or timezone.now()
    made = Segment(
        kind=Segment.Kind.LIST,
        name=name,
        slug=slug,
        description=description,
        state=Segment.State.READY,
        evaluated_at=moment,
    )
    return editing.save(made, None, by, moment)


def add(segment: Segment, profile_ids: Iterable[int], now: datetime | None = None) -> Changed:
    """Put people on a list; who is on it stays as they are. In short transactions, CHUNK people in each.

    Numbers of merged profiles lead to whom they became; those that are nobody's, and erased people, are left out.

    Raises:
        NotAList: the segment has a rule.
    """
    moment = _moment(segment, now)
    return _in_chunks(profile_ids, lambda ids: _put_on(segment, ids, moment))


def remove(segment: Segment, profile_ids: Iterable[int], now: datetime | None = None) -> Changed:
    """Take people off a list; as `add`."""
    moment = _moment(segment, now)
    return _in_chunks(profile_ids, lambda ids: _take_off(segment, ids, moment))


def replace(segment: Segment, profile_ids: Iterable[int], now: datetime | None = None) -> Changed:
    """Let these people, and nobody else, be on a list; as `add`.

    Whoever was on it before and stays keeps the time since when.
    """
    wanted = array("q", profile_ids)  # 8 bytes a person, as they are gone through twice
    added = add(segment, wanted, now)
    gone = remove(segment, others(segment, wanted), now)
    return Changed(added.entered + gone.entered, added.left + gone.left)


def others(segment: Segment, keeping: Iterable[int]) -> array:
    """The members of a list who are not among these people, nor who these were merged into."""
    kept = array("q", keeping)
    became = array("q")
    for start in range(0, len(kept), CHUNK):
        became.extend(current(kept[start : start + CHUNK]))
    kept = array("q", sorted(became))
    rest = array("q")
    place = 0
    for member in members(segment):
        while place < len(kept) and kept[place] < member:
            place += 1
        if place == len(kept) or kept[place] != member:
            rest.append(member)
    return rest


def members(segment: Segment) -> Iterator[int]:
    """The numbers of all members in ascending order, CHUNK of them in memory."""
    last = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT profile_id FROM campaigns_segmentmembership"
                " WHERE segment_id = %s AND profile_id > %s ORDER BY profile_id LIMIT %s",
                [segment.pk, last, CHUNK],
            )
            found = [row[0] for row in cursor.fetchall()]
        yield from found
        if len(found) < CHUNK:
            return
        last = found[-1]


def present(profile_ids: Sequence[int]) -> list[int]:
    """Who of these can be on a list, after merges; locked against merging and erasure until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [list(profile_ids)])
        there = {row[0] for row in cursor.fetchall()}
        became = set(merging.winners(set(profile_ids) - there).values()) - there
        if became:
            cursor.execute(_LOCK, [list(became)])
            there |= {row[0] for row in cursor.fetchall()}
        cursor.execute(_ERASED, [list(there)])
        return sorted(there - {row[0] for row in cursor.fetchall()})


def current(profile_ids: Sequence[int]) -> list[int]:
    """These numbers, and those of whom they were merged into."""
    return sorted({*profile_ids, *merging.winners(profile_ids).values()})


def check(segment: Segment) -> None:
    """Whether it is a list.

    Raises:
        NotAList: it has a rule.
    """
    if segment.kind != Segment.Kind.LIST:
        raise NotAList(segment)


def _moment(segment: Segment, now: datetime | None) -> datetime:
    check(segment)
    return (now or timezone.now()).astimezone(UTC)


@pg.atomically
def _put_on(segment: Segment, profile_ids: Sequence[int], now: datetime) -> Changed:
    return memberships.change(segment, present(profile_ids), [], now, CAUSE)


@pg.atomically
def _take_off(segment: Segment, profile_ids: Sequence[int], now: datetime) -> Changed:
    return memberships.change(segment, [], current(profile_ids), now, CAUSE)


def _in_chunks(profile_ids: Iterable[int], change: Callable[[list[int]], Changed]) -> Changed:
    entered = left = 0
    rest = iter(profile_ids)
    while piece := sorted(set(islice(rest, CHUNK))):
        done = change(piece)
        entered, left = entered + done.entered, left + done.left
    return Changed(entered, left)
