"""The people behind a number of a report: what the number is called, who looked at them, and making a list of them."""

from typing import Any

import msgspec
from django.db import transaction

from analytics.reporting import query as asking
from analytics.reporting import writing
from analytics.reporting.columns import LABELS
from analytics.reporting.query import FILTERS, Query
from analytics.reporting.shapes import Report
from analytics.reports import people
from campaigns.models import ListJob, Segment
from crm import audit

NAME_LENGTH = 200


def narrowed(report: Report) -> Report:
    """The report with all filters: a number may be about less than what its report can be narrowed to."""
    return msgspec.structs.replace(report, takes=FILTERS)


def called(report: Report, query: Query, column: str) -> str:
    """What a number is, in words: its column, what it is narrowed to (else the report), and the period."""
    chips = [value for _name, _label, value in writing.filters_in_words(narrowed(report), query)]
    parts = [str(LABELS[column]), *(chips or [str(report.title)]), writing.period_in_words(query)]
    return ", ".join(parts)[:NAME_LENGTH]


def looked_at(by: Any, report: Report, query: Query, column: str, rows: int) -> None:
    """Note in the audit log that somebody looked at a page of the people behind a number.

    Args:
        by: as `audit.record` takes it.
        rows: how many they were shown.
    """
    detail = {"rows": rows, "column": column, "parameters": asking.params(narrowed(report), query)}
    audit.record(by, "report.people_viewed", ("analytics.report", report.slug), **detail)


@transaction.atomic
def save(
    by: Any, report: Report, query: Query, column: str, author: str, name: str, slug: str = ""
) -> tuple[Segment, ListJob]:
    """Make a list of all people behind a number, in the background, and note in the audit log of what it is made.

    Args:
        by: as `audit.record` takes it.
        author: as lists and their versions name them.

    Raises:
        lists.ListError: it can't be called so.
    """
    words = called(report, query, column)
    made, job = people.save(column, query.period, query.filters, words, name[:NAME_LENGTH], slug, author)
    audit.record(
        by, "list.filled", made, mode=job.mode, kind=people.SOURCE, report=report.slug, column=column
    )
    return made, job
