"""Reports as CSV and Excel: the same numbers, typed, never a formula, and every file in the audit log."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import openpyxl
import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import translation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.exports import files, flat
from analytics.reporting import query as queries
from analytics.reporting import registry
from analytics.reporting.shapes import Chart, Column, Kind, Report, Row, Series, Sheet, Table
from crm.models import AuditEntry

pytestmark = pytest.mark.django_db
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
COLUMNS = [
    Column(key=kind.value, label=kind.value.title(), definition="What it is.", kind=kind) for kind in Kind
]
amounts = st.decimals(0, 10**6, places=2)
values = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8),
        "count": st.none() | st.integers(0, 10**9),
        "share": st.none() | st.floats(0, 1),
        "money": st.none() | st.dictionaries(st.sampled_from(["EUR", "PLN", "USD"]), amounts, max_size=2),
        "seconds": st.none() | st.floats(0, 10**6),
        "day": st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
        "moment": st.none() | st.just(AT),
    }
)


def made(rows: list[Row], **more) -> files.Made:
    report = registry.reports()["channels"]
    table = Table(slug="t", title="A [title]: with/signs*", head="What", columns=COLUMNS, rows=rows)
    return files.Made(
        report=report, query=queries.parse(report, {}), sheet=Sheet(tables=[table], **more), at=AT
    )


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(values, st.none() | values), max_size=4))
def test_files_have_the_numbers_of_the_sheet(found):
    rows = [
        Row(key=str(number), label=f"={number}", values=now, before=before)
        for number, (now, before) in enumerate(found)
    ]
    report = made(rows)
    [table] = report.sheet.tables
    heads = flat.heads(table)
    raw = list(flat.lines(table, heads, rows))
    book = openpyxl.load_workbook(files.workbook_of(report))
    assert book.sheetnames[0] == "About"
    page = book.worksheets[1]
    for row, line in enumerate(raw, 2):
        assert page.cell(row, 1).data_type == "s", "a label is never a formula"
        assert page.cell(row, 1).value == f"={row - 2}"
        for place, (head, value) in enumerate(zip(heads, line, strict=True), 2):
            cell = page.cell(row, place)
            if value is None or value == "":
                assert cell.value is None
            elif head.column.kind == Kind.TEXT:
                assert (cell.value, cell.data_type) == (value, "s")
            elif head.column.kind in (Kind.DAY, Kind.MOMENT):
                expected = (
                    value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
                )
                assert cell.value == expected.replace(tzinfo=None)
            else:
                assert cell.value == pytest.approx(float(value))
                assert ("%" in cell.number_format) == (head.column.kind == Kind.SHARE)
    text = "".join(files.csv_of(table))
    written = list(csv.reader(io.StringIO(text)))
    assert written[0] == ["What", *(head.label for head in heads)]
    for line, texts in zip(raw, written[1:], strict=True):
        assert texts[0].startswith("'=")
        for head, value, cell in zip(heads, line, texts[1:], strict=True):
            if value is None:
                assert cell == ""
            elif head.column.kind in (Kind.COUNT, Kind.SHARE, Kind.MONEY, Kind.SECONDS):
                assert float(cell) == pytest.approx(float(value))


def test_each_currency_has_a_column_and_money_that_was_not_earned_is_zero():
    rows = [
        Row(
            key="a",
            label="A",
            values={"money": {"EUR": Decimal("1.5")}},
            before={"money": {"PLN": Decimal(2)}},
        ),
        Row(key="b", label="B", values={"money": None}),
    ]
    table = Table(slug="t", title="T", head="H", columns=[COLUMNS[3]], rows=rows)
    heads = flat.heads(table)
    assert [head.key for head in heads] == ["money_EUR", "money_EUR_before", "money_PLN", "money_PLN_before"]
    assert list(flat.lines(table, heads, rows)) == [
        [Decimal("1.5"), 0, 0, Decimal(2)],
        [None, None, None, None],
    ]


def test_a_workbook_tells_what_it_is_about_and_reads_from_the_right_in_arabic():
    chart = Chart(
        slug="days",
        title="By day",
        head="Day",
        labels=["January 1"],
        days=[date(2026, 1, 1)],
        series=[Series(column=COLUMNS[1], values=[3], before=[2])],
    )
    row = Row(key="", label="All", values={"count": 3})
    report = made([row], charts=[chart], cards=[COLUMNS[1]], figures=row, warnings=["Look here"])
    with translation.override("ar"):
        book = openpyxl.load_workbook(files.workbook_of(report))
    assert len(book.worksheets) == 4
    assert all(page.sheet_view.rightToLeft for page in book.worksheets)
    told = [cell for line in book.worksheets[0].iter_rows(values_only=True) for cell in line if cell]
    assert {"Look here", "What it is."} <= set(told)
    assert list(book["By day"].iter_rows(values_only=True))[1] == ("2026-01-01", 3, 2)
    assert len(set(book.sheetnames)) == 4


@pytest.fixture
def analyst(client):
    """Somebody who sees messages and may take reports away."""
    user = User.objects.create_user("ana", "ana@example.com", is_staff=True)
    wanted = ("view_message", "export_report", "add_savedreport", "view_savedreport", "change_savedreport")
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    client.force_login(user)
    return user


@pytest.fixture
def named(monkeypatch):
    """The channels' report with one row that looks like a formula."""
    import msgspec

    row = Row(key="x", label="=1+1", values={"count": 3})
    sheet = Sheet(tables=[Table(slug="t", title="T", head="H", columns=[COLUMNS[1]], rows=[row])])
    report: Report = msgspec.structs.replace(registry.reports()["channels"], build=lambda query: sheet)
    monkeypatch.setitem(registry.reports(), "channels", report)


def test_every_file_is_in_the_audit_log(client, analyst, named):
    url = reverse("admin:report_export", args=["channels", "csv"])
    response = client.get(url, {"period": "7", "country": "PL", "excel": "1"})
    text = b"".join(response.streaming_content).decode()
    assert text == "\ufeffH,Count\r\n'=1+1,3\r\n"
    assert "no-store" in response["Cache-Control"]
    assert "channels-" in response["Content-Disposition"]
    entry = AuditEntry.objects.filter(action="report.exported").get()
    assert (entry.actor, entry.object_type, entry.object_id) == ("ana", "analytics.report", "channels")
    assert entry.detail == {
        "rows": 1,
        "form": "csv",
        "table": "t",
        "parameters": {"period": "7", "country": "PL"},
    }
    response = client.get(reverse("admin:report_export", args=["channels", "xlsx"]))
    book = openpyxl.load_workbook(io.BytesIO(b"".join(response.streaming_content)))
    assert list(book["T"].iter_rows(values_only=True))[1] == ("=1+1", 3)
    assert book["T"]["A2"].data_type == "s"
    assert AuditEntry.objects.filter(action="report.exported").count() == 2


def test_only_who_may_takes_a_report_away(client, analyst, named):
    url = reverse("admin:report_export", args=["channels", "csv"])
    assert client.post(url).status_code == 405
    assert client.get(url, {"table": "chairs"}).status_code == 404
    assert client.get(url, {"channel": "email", "from": "nonsense"}).status_code == 302
    assert client.get(reverse("admin:report_export", args=["flows", "csv"])).status_code == 403
    analyst.user_permissions.remove(Permission.objects.get(codename="export_report"))
    assert client.get(url).status_code == 403
    client.logout()
    assert client.get(url).status_code == 302
    assert not AuditEntry.objects.filter(action="report.exported").exists()
