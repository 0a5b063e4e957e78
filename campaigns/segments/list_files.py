"""Files of names to put on a list: what is in them, what their columns tell, and what the first rows would do."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from itertools import islice
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from campaigns.models import ListJob, Segment
from campaigns.segments import list_names, lists
from campaigns.segments.list_names import ID, Found
from crm import tables, unpacking, uploads
from crm.models import Connection, Profile

IGNORE = "ignore"
TRIED = 200  # rows of a preview
UNPACKED_LIMIT = 4 * 1024**3  # bytes
MARK = "rejected_"  # columns that a list of rejected rows adds
SHOWN = 1_000  # characters kept of a cell of a rejected row
KEPT_COLUMNS = 50  # of a rejected row
_BUFFER = 256 * 1024  # bytes
_SYNONYMS = {
    "external_id": ("externalid", "customerid", "customernumber", "userid", "clientid", "contactid"),
    "email": ("email", "emailaddress", "mail", "useremail", "customeremail"),
    "phone": ("phone", "phonenumber", "mobile", "mobilephone", "telephone"),
    "anonymous_id": ("anonymousid", "visitorid", "deviceid"),
    ID: ("nudgeid", "profileid", "profile"),
}


class Tried(NamedTuple):
    """One row of a preview: its cells that tell names, and whom they mean or why nobody."""

    number: int
    names: dict[str, str]
    found: Found
    person: Profile | None


class Preview(NamedTuple):
    """What the first `rows` rows would come to; nothing of it is kept."""

    sample: list[Tried]
    rows: int
    known: int
    unknown: int
    rejected: int


def keep(segment: Segment, name: str, chunks: Iterable[bytes], by: str = "") -> ListJob:
    """Store a file (CSV or Excel; CSV may be packed by gzip) for a list, and guess what its columns tell.

    Raises:
        lists.NotAList: the segment has a rule.
        uploads.UploadError: the file is too large, or damaged.
        tables.TableError: it is no table, or lacks names of columns.
    """
    lists.check(segment)
    upload = uploads.keep(name, unpacking.plain(chunks), by, UNPACKED_LIMIT)
    job = ListJob(list=segment, kind=ListJob.Kind.FILE, name=name, upload=upload, started_by=by)
    try:
        names = columns(job)
        job.columns = list(guess(names).items())
        if any("@" in name for name in names):
            raise tables.TableError(
                _(
                    "The first row must hold the names of the columns, such as “email”; here it holds an address."
                )
            )
    except tables.TableError:
        upload.delete()
        raise
    job.save()
    return job


def from_names(
    segment: Segment,
    rows: Iterable[Mapping[str, Any]],
    mode: str = ListJob.Mode.ADD,
    create_unknown: bool = False,
    by: str = "",
    name: str = "API",
) -> ListJob:
    """Have a list filled from rows of names, as many as there may be; a draft that `list_work.start` starts.

    Args:
        rows: name -> value, with the names of `list_names.find`.

    Raises:
        lists.NotAList: the segment has a rule.
    """
    lists.check(segment)
    kinds = [*list_names.NAMES, ID, *records()]
    upload = uploads.keep(f"{name}.csv", _as_csv(rows, kinds), by, UNPACKED_LIMIT)
    return ListJob.objects.create(
        list=segment,
        kind=ListJob.Kind.FILE,
        name=name,
        upload=upload,
        started_by=by,
        mode=mode,
        create_unknown=create_unknown,
        columns=[(kind, kind) for kind in kinds],
    )


def _as_csv(rows: Iterable[Mapping[str, Any]], kinds: Sequence[str]) -> Iterator[bytes]:
    held = io.StringIO()
    writer = csv.DictWriter(held, kinds, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        # An apostrophe is how reading knows a text that only looks like a formula, such as a phone with its plus.
        writer.writerow(
            {kind: tables.harmless(str(row[kind])) for kind in kinds if row.get(kind) is not None}
        )
        if held.tell() > _BUFFER:
            yield held.getvalue().encode()
            held.seek(0)
            held.truncate()
    yield held.getvalue().encode()


def records() -> dict[str, str]:
    """Kinds of CRM records that people are known by -> how they are called."""
    found = {}
    for connection in Connection.objects.exclude(state=Connection.State.DRAFT).order_by("name"):
        for object_name in connection.mapping:
            found[f"{connection.slug}:{object_name}"] = f"{connection.name}: {object_name}"
    return found


def guess(names: Sequence[str]) -> dict[str, str]:
    """What columns of these names probably tell: column -> a name of `list_names.find`, or IGNORE."""
    own = {f"nudge{_folded(kind)}": kind for kind in records()}
    told: dict[str, str] = {}
    for name in names:
        folded = _folded(name)
        kind = own.get(folded) or next(
            (kind for kind, spellings in _SYNONYMS.items() if folded in spellings), IGNORE
        )
        told[name] = kind if kind not in told.values() else IGNORE
    return told


@contextmanager
def opened(job: ListJob) -> Iterator[tuple[list[str], Iterator[tables.Row], uploads.Parts]]:
    """The columns, the rows and the file behind them.

    Raises:
        tables.TableError: it is no longer kept, or can't be read.
    """
    if job.upload is None:
        raise tables.TableError(_("The file is no longer kept; upload it again."))
    parts = uploads.Parts(job.upload)
    with BufferedReader(parts, _BUFFER) as file:
        names, rows = tables.read(file, job.name, job.encoding)
        yield names, rows, parts


def columns(job: ListJob) -> list[str]:
    """The names of the file's columns.

    Raises:
        tables.TableError: see `opened`.
    """
    with opened(job) as (names, _rows, _parts):
        return names


def describe(
    job: ListJob, told: Mapping[str, str], encoding: str, mode: str, create_unknown: bool
) -> ListJob:
    """Keep what a draft's columns tell and what shall be done.

    Raises:
        ValueError: no column tells who is meant, or two tell the same; the message says so.
    """
    kinds = [kind for kind in told.values() if kind != IGNORE]
    if not kinds:
        raise ValueError(
            _("Choose the column that tells the person, such as the email or the customer number.")
        )
    if len(kinds) > len(set(kinds)):
        raise ValueError(_("Two columns tell the same; choose one."))
    if unknown := set(kinds) - {*list_names.NAMES, ID, *records()}:
        raise ValueError(_("Nobody is known by “%s”.") % min(unknown))
    job.columns, job.encoding, job.mode = list(told.items()), encoding, ListJob.Mode(mode).value
    job.create_unknown = create_unknown and job.mode != ListJob.Mode.REMOVE
    ListJob.objects.filter(pk=job.pk, state=ListJob.State.DRAFT).update(
        columns=job.columns, encoding=job.encoding, mode=job.mode, create_unknown=job.create_unknown
    )
    return job


def names_in(job: ListJob, row: tables.Row) -> dict[str, Any]:
    """The names that a row tells."""
    return {kind: row.values.get(column) for column, kind in job.columns if kind != IGNORE}


def preview(job: ListJob, shown: int = 10) -> Preview:
    """Whom the first rows mean.

    Raises:
        tables.TableError: see `opened`.
    """
    with opened(job) as (_names, every, _parts):
        rows = list(islice(every, TRIED))
    asked = [names_in(job, row) for row in rows]
    found = list_names.find(asked)
    found = [
        Found(None, "unreadable", "", row.problem) if row.problem else one
        for row, one in zip(rows, found, strict=True)
    ]
    people = Profile.objects.in_bulk([one.profile_id for one in found[:shown] if one.profile_id])
    sample = [
        Tried(
            row.number,
            {kind: str(value) for kind, value in names.items() if value is not None},
            one,
            people.get(one.profile_id or 0),
        )
        for row, names, one in list(zip(rows, asked, found, strict=True))[:shown]
    ]
    known = sum(one.profile_id is not None for one in found)
    unknown = sum(one.code == "unknown_profile" for one in found)
    return Preview(sample, len(rows), known, unknown, len(rows) - known - unknown)


def rejects(job: ListJob) -> Iterator[list[str]]:
    """The rows that were not taken as a table to be corrected and imported again: its header first."""
    names = [name for name, _kind in job.columns]
    yield [f"{MARK}{name}" for name in ("row", "column", "code", "reason")] + list(
        map(tables.harmless, names)
    )
    fields = ("row", "field", "code", "detail", "values")
    for row, field, code, detail, values in (
        job.rejects.order_by("row").values_list(*fields).iterator(chunk_size=2_000)
    ):
        cells = [str(values.get(name) or "") for name in names]
        yield [str(row), *map(tables.harmless, (field, code, detail, *cells))]


def column_of(job: ListJob, kind: str) -> str:
    """The column that tells names of this kind."""
    return next((column for column, told in job.columns if told == kind), kind)


def shown_cells(row: tables.Row) -> dict[str, str]:
    """A row's cells as a rejected row keeps them, in a form that can be stored."""
    return {
        name: str(value)[:SHOWN].replace("\0", "").encode("utf-8", "replace").decode()
        for name, value in list(row.values.items())[:KEPT_COLUMNS]
        if value is not None
    }


def _folded(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
