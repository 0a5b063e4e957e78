"""Making saved reports for their recipients: once for all who read one language and may see the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.utils import timezone, translation

from analytics.exports import files
from analytics.exports.files import Made
from analytics.models import ReportRecipient, SavedReport
from analytics.reporting import query as queries
from analytics.reporting import registry
from analytics.reporting.shapes import Report
from analytics.saved import allowed, letter, store
from crm import masking


class Broken(Exception):
    """The report can't be made as it was saved, and why."""


class Maker:
    """Makes reports as of one moment, and keeps them for the next recipients."""

    def __init__(self, now: datetime):
        self._now = now
        self._made: dict[tuple[int, str, bool], tuple[Made, letter.Letter]] = {}

    def of(self, saved: SavedReport, recipient: ReportRecipient) -> tuple[Made, letter.Letter]:
        """The report and the mail about it, in the recipient's language and with what they may see.

        Raises:
            Broken: it can't be made.
            NotAllowed: it asks for what this recipient may not see; for others it can be made.
        """
        hidden = allowed.hides(saved, recipient)
        key = (saved.pk, recipient.language, hidden)
        with (
            translation.override(recipient.language),
            timezone.override(ZoneInfo(settings.TIME_ZONE)),
            masking.hiding(hidden),
        ):
            if key not in self._made:
                self._made.clear()  # recipients of one report follow each other; its files are large
                found = self._find(saved)
                self._made[key] = found, letter.written(saved, found)
        found, written = self._made[key]
        if not allowed.attachments(saved, recipient):
            written = msgspec.structs.replace(written, attachments=[])
        return found, written

    def _find(self, saved: SavedReport) -> Made:
        if problem := store.gone([saved]).get(saved.pk):
            raise Broken(problem)
        report = registry.reports()[saved.report]
        try:
            return files.made(report, queries.parse(report, saved.params, self._now), self._now)
        except queries.QueryError as error:
            if masking.hidden() and self._can_be_asked(report, saved):
                raise allowed.NotAllowed(str(error)) from error
            raise Broken(str(error)) from error

    def _can_be_asked(self, report: Report, saved: SavedReport) -> bool:
        """Whether somebody who sees everything can ask for it."""
        try:
            with masking.hiding(False):
                queries.parse(report, saved.params, self._now)
        except queries.QueryError:
            return False
        return True


@contextmanager
def speaking(saved: SavedReport, user_id: int | None) -> Iterator[None]:
    """In the language in which this user gets the report, else the installation's."""
    rows = ReportRecipient.objects.filter(saved=saved, user=user_id).values_list("language", flat=True)
    with translation.override(rows.first() or settings.LANGUAGE_CODE):
        yield
