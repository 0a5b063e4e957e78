"""Reading tables: whatever people upload."""

import io
import time
import zipfile
from datetime import date, datetime

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm import tables
from crm.tables import TableError


def table(content, name="people.csv", **options):
    if isinstance(content, str):
        content = content.encode()
    columns, rows = tables.read(io.BytesIO(content), name, **options)
    return columns, list(rows)


def workbook(*lines):
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def changed(content, part, old, new):
    """A workbook with something replaced in one of its parts."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as packed,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in packed.namelist():
            data = packed.read(name)
            assert name != part or old in data
            target.writestr(name, data.replace(old, new) if name == part else data)
    return made.getvalue()


class TestCsv:
    @pytest.mark.parametrize(
        "line", [b"," * 5_000_000, b'"x\n",' * 1_000_000], ids=["one line", "many lines"]
    )
    @pytest.mark.parametrize("before", [b"", b"a,b\n1,2\n"], ids=["header", "later"])
    def test_an_endless_row_is_not_held_in_memory(self, line, before):
        with pytest.raises(TableError, match="longer than"):
            table(before + line)

    def test_column_names_that_cannot_be_stored_are_told(self):
        with pytest.raises(TableError, match="column names"):
            table(b"e\0mail,city\na@x.com,Oslo\n")

    @pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_the_usual_kinds(self, mark, end):
        text = end.join(
            [mark.join(["email", "city"]), mark.join(["a@x.com", "Łódź 🌸"]), mark.join(["b@x.com", ""])]
        )
        columns, rows = table("\ufeff" + text)
        assert columns == ["email", "city"]
        assert [row.values for row in rows] == [
            {"email": "a@x.com", "city": "Łódź 🌸"},
            {"email": "b@x.com", "city": None},
        ]
        assert [row.number for row in rows] == [2, 3]

    def test_quotes_lines_within_cells_and_leading_zeros(self):
        _columns, rows = table('id,note\n00123,"says ""hi"",\nand more"\n')
        assert rows[0].values == {"id": "00123", "note": 'says "hi",\nand more'}

    def test_a_broken_row_is_told_and_the_others_are_read(self):
        _columns, rows = table(b"email,city\na@x.com,\xff\xfe\nb@x.com,Rome,too,much\n\nc@x.com\n")
        assert ["encoding" in rows[0].problem, "more cells" in rows[1].problem, rows[2].problem] == [
            True,
            True,
            "",
        ]
        assert rows[2].values == {"email": "c@x.com", "city": None}

    def test_other_encodings(self):
        assert table("a\nŁ".encode("cp1250"), encoding="cp1250")[1][0].values == {"a": "Ł"}
        assert table("a\nŁ".encode("utf-16"))[1][0].values == {"a": "Ł"}

    def test_a_cell_beyond_all_measure(self):
        _columns, rows = table("a\n" + "x" * (tables.CELL_LIMIT + 10) + "\ny\n")
        assert rows[0].problem
        assert rows[-1].values == {"a": "y"}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "empty"),
            ("\n\n", "first row"),
            ("a,b,a\n1,2,3", "Two columns"),
            (b"PK\x03\x04zip", "Excel file"),
            (b"\xff,\xfe\xfd\n", "encoding"),
            (",".join(map(str, range(2000))), "1000 columns"),
        ],
    )
    def test_what_is_no_table_is_told_plainly(self, content, words):
        with pytest.raises(TableError) as caught:
            table(content)
        assert words in str(caught.value)

    @given(st.binary(max_size=300), st.sampled_from(tables.ENCODINGS))
    def test_no_bytes_whatever_break_it(self, content, encoding):
        try:
            columns, rows = table(content, encoding=encoding)
        except TableError:
            return
        assert all(set(row.values) == set(columns) for row in rows)


class TestExcel:
    def test_values_keep_their_meaning(self):
        content = workbook(
            ["email", "born", "seen", "points", "share", "vip", None],
            ["a@x.com", date(1990, 5, 1), datetime(2026, 1, 2, 3, 4, 5), 17.0, 0.5, True],
            [],
            ["b@x.com"],
        )
        columns, rows = table(content, "People.XLSX")
        assert columns == ["email", "born", "seen", "points", "share", "vip"]
        assert rows[0].values == {
            "email": "a@x.com",
            "born": "1990-05-01",
            "seen": "2026-01-02T03:04:05",
            "points": 17,
            "share": 0.5,
            "vip": True,
        }
        assert rows[1].number == 4
        assert rows[1].values["born"] is None

    @pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 100])
    def test_what_is_no_workbook_is_told_plainly(self, content):
        with pytest.raises(TableError):
            table(content, "people.xlsx")

    def test_a_bomb_is_not_unpacked(self, monkeypatch):
        monkeypatch.setattr(tables, "UNPACKED_LIMIT", 100)
        with pytest.raises(TableError, match="too large"):
            table(workbook(["a"]), "people.xlsx")

    @pytest.mark.parametrize(
        ("part", "old", "new"),
        [
            ("xl/styles.xml", b"</styleSheet>", b"<a/>" * 3_000_000 + b"</styleSheet>"),
            ("xl/worksheets/sheet1.xml", b"</sheetData>", b"<row/>" * 20_000_000 + b"</sheetData>"),
        ],
    )
    def test_parts_that_would_fill_the_memory_are_not_read(self, part, old, new):
        began = time.process_time()
        with pytest.raises(TableError, match="too large"):
            table(changed(workbook(["a"], ["x"]), part, old, new), "people.xlsx")
        assert time.process_time() - began < 5

    def test_a_row_far_down_is_not_waited_for(self, monkeypatch):
        monkeypatch.setattr(tables, "SHEET_ROWS", 1000)
        sheet = "xl/worksheets/sheet1.xml"
        content = changed(workbook(["a"], ["x"]), sheet, b'<dimension ref="A1:A2"/>', b"")
        content = changed(content, sheet, b'<row r="2"', b'<row r="900000000"')
        with pytest.raises(TableError, match="more rows"):
            table(changed(content, sheet, b'r="A2"', b'r="A900000000"'), "people.xlsx")
