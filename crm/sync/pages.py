"""Putting a connector's pages together into batches worth a transaction, and stopping one that goes in circles."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import msgspec
from django.utils.translation import gettext as _

from crm.connectors.base import ConnectorError, Page

RECORDS = 2_000  # in one batch; a page that is larger makes a batch of its own
SECONDS = 2.0  # how long records wait for company
SAME = 3  # times that the same records may come
EMPTY = 100  # empty pages in a row
STILL = 1_000  # pages in a row that leave the cursor where it is
REMEMBERED = 10_000  # pages


def batches(pages: Iterable[Page]) -> Iterator[list[Page]]:
    """Group pages until a batch is large or old enough.

    If the CRM fails in between, what came before is given out first.

    Raises:
        ConnectorError: from the connector, or because its pages go in circles.
    """
    held: list[Page] = []
    count, since = 0, 0.0
    source = _guarded(pages)
    while True:
        failure = None
        try:
            page = next(source, None)
        except ConnectorError as error:
            page, failure = None, error
        if page is None:
            if held:
                yield held
            if failure:
                raise failure
            return
        if held and count + len(page.records) > RECORDS:
            yield held
            held, count = [], 0
        if not held:
            since = time.monotonic()
        held.append(page)
        count += len(page.records)
        # A page without records is there for its cursor, such as the number of a job that takes its time.
        if not page.records or count >= RECORDS or time.monotonic() - since >= SECONDS:
            yield held
            held, count = [], 0


def _guarded(pages: Iterable[Page]) -> Iterator[Page]:
    """The same pages, as long as they lead somewhere."""
    seen: OrderedDict[int, int] = OrderedDict()
    last: tuple[bytes, int] | None = None
    empty = still = 0
    for page in pages:
        place = msgspec.json.encode(page.cursor, order="sorted")
        records = hash(tuple((r.id, r.modified_at, r.deleted, r.erased, r.merged_into) for r in page.records))
        if page.records and last == (place, records):
            raise ConnectorError(_("The CRM sent the same page twice in a row; the next run tries again."))
        still = still + 1 if last and last[0] == place else 0
        empty = 0 if page.records else empty + 1
        if page.records:
            seen[records] = seen.pop(records, 0) + 1
            if len(seen) > REMEMBERED:
                seen.popitem(last=False)
        if seen.get(records, 0) >= SAME or empty > EMPTY or still > STILL:
            raise ConnectorError(
                _("The CRM's pages go in circles and would never end; the next run tries again.")
            )
        last = (place, records)
        yield page
