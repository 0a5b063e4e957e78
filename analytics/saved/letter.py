"""A report as an email: what it says in text and HTML, its tables, and the files that come with it."""

import hashlib
from typing import Any

import msgspec
from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.html import linebreaks, urlize
from django.utils.translation import get_language, get_language_bidi
from django.utils.translation import gettext as _

from analytics.exports import files
from analytics.exports.files import Made
from analytics.models import SavedReport
from analytics.reporting import writing
from analytics.reporting.shapes import Column, Row, Table
from analytics.saved import store
from delivery.email.content import Attachment, EmailPayload
from delivery.email.headers import one_line

SHOWN_ROWS, SHOWN_COLUMNS = 20, 8  # in the mail itself; the rest is attached and behind the link


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What all recipients who read one language get alike."""

    subject: str
    context: dict[str, Any]
    attachments: list[Attachment]
    rows: int


def written(saved: SavedReport, found: Made) -> Letter:
    """The mail about a report, in the language that is in force."""
    report, query, sheet = found.report, found.query, found.sheet
    period = "" if report.timeless else writing.period_in_words(query)
    missing = writing.missing(query)
    shown = sheet.cards if sheet.figures is not None else []
    cards = [_card(column, sheet.figures, missing) for column in shown]
    context = {
        "name": saved.name,
        "title": str(report.title),
        "period": period,
        "filters": [(label, text) for _key, label, text in writing.filters_in_words(report, query)],
        "warnings": sheet.warnings,
        "notes": sheet.notes,
        "cards": cards,
        "unequal": writing.unequal(query) if any(card["change"] for card in cards) else "",
        "tables": [_table(table) for table in sheet.tables],
        "at": writing.moment(found.at),
        "link": settings.NUDGE_PUBLIC_URL + store.url(saved.report, saved.params),
        "language": get_language() or settings.LANGUAGE_CODE,
        "right_to_left": get_language_bidi(),
    }
    subject = one_line(f"{saved.name}: {period}" if period else saved.name)
    return Letter(subject=subject, context=context, attachments=_attached(saved, found), rows=found.rows)


def payload(letter: Letter, leave: str = "") -> EmailPayload:
    """The mail for one recipient.

    Args:
        leave: the address that takes them off by one POST (RFC 8058); empty for users, who do that in the admin.
    """
    context = {**letter.context, "leave": leave}
    headers = {"Auto-Submitted": "auto-generated"}
    if leave:
        headers |= {
            "List-Unsubscribe": f"<{leave}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    with translation.override(context["language"]):
        return EmailPayload(
            subject=letter.subject,
            html=_rendered("analytics/mail/report.html", context),
            text=_rendered("analytics/mail/report.txt", context),
            headers=headers,
            attachments=letter.attachments,
        )


def _rendered(template: str, context: dict[str, Any]) -> str:
    """A template's text as a plain string: an account that takes JSON can't encode Django's safe ones."""
    return str.__add__(render_to_string(template, context), "")


def about_trouble(saved: SavedReport, words: str) -> EmailPayload:
    """To its owner: that it can't be made any more, and where to change it."""
    page = settings.NUDGE_PUBLIC_URL + reverse("admin:analytics_savedreport_change", args=[saved.pk])
    subject = one_line(_("Your report “%s” can't be sent any more") % saved.name)
    text = "\n\n".join(
        [words, _("It is not sent until it asks for something else. Change or delete it here: %s") % page]
    )
    html = f'<html lang="{get_language()}" dir="auto"><body>{linebreaks(urlize(text, autoescape=True))}</body></html>'
    return EmailPayload(subject=subject, html=html, text=text, headers={"Auto-Submitted": "auto-generated"})


def digest(found: Made) -> str:
    """What tells whether a report says something else than before; when it was made does not count."""
    sheet = found.sheet
    told = [
        (
            table.slug,
            [(row.key, sorted((name, str(value)) for name, value in row.values.items())) for row in rows],
        )
        for table in sheet.tables
        for rows in [table.rows]
    ]
    of_figures = (
        sorted((name, str(value)) for name, value in sheet.figures.values.items()) if sheet.figures else []
    )
    return hashlib.sha256(msgspec.json.encode([told, of_figures, sheet.warnings])).hexdigest()


def filled(found: Made) -> bool:
    """Whether there is anything in it: a row of a table that has a number other than zero."""
    return any(
        _is_something(value)
        for table in found.sheet.tables
        for row in table.rows
        for value in row.values.values()
    )


def _is_something(value: Any) -> bool:
    return bool(any(value.values()) if isinstance(value, dict) else value)


def _card(column: Column, row: Row | None, missing: float) -> dict[str, str]:
    if row is None:
        return {}
    value = row.values.get(column.key)
    before = (row.before or {}).get(column.key)
    change = writing.change(column, value, before, missing) if row.before is not None else None
    return {
        "label": str(column.label),
        "value": writing.written(column, value),
        "change": change.text if change else "",
        "words": change.words if change else "",
        "definition": str(column.definition),
    }


def _table(table: Table) -> dict[str, Any]:
    columns = table.columns[:SHOWN_COLUMNS]
    rows = table.rows[:SHOWN_ROWS]
    more = len(table.rows) - len(rows)
    lines = [*rows, *([table.total] if table.total else [])]
    return {
        "title": str(table.title),
        "head": str(table.head),
        "columns": [str(column.label) for column in columns],
        "lines": [
            (row.label, [writing.written(column, row.values.get(column.key)) for column in columns])
            for row in lines
        ],
        "empty": str(table.empty) or _("Nothing yet."),
        "more": more,
        "narrower": len(table.columns) > len(columns),
        "filled": bool(rows),
    }


def _attached(saved: SavedReport, found: Made) -> list[Attachment]:
    name = f"{found.report.slug}-{found.at:%Y-%m-%d}"
    if saved.attach == SavedReport.Attach.XLSX:
        with files.workbook_of(found) as book:
            return [Attachment(f"{name}.xlsx", files.XLSX_TYPE, book.read())]
    if saved.attach == SavedReport.Attach.CSV:
        return [
            Attachment(
                f"{name}-{table.slug}.csv",
                "text/csv",
                "".join(files.csv_of(table, excel=True)).encode(),
            )
            for table in found.sheet.tables
        ]
    return []
