"""Files of events: what rows become, and that each is stored once."""

import csv
import gzip
import io
import json
import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import given, settings
from hypothesis import strategies as st

from crm import event_files, event_rows, tables, uploads
from crm.event_rows import Columns, Shape
from crm.models import Event, EventFile, EventFileReject, Upload

CSV = (
    b"Event,Customer ID,timestamp,total,coupon,vip\n"
    b"purchase,C-1,2026-03-01T10:00:00Z,59.9,007,true\n"
    b"purchase,C-2,2026-03-01 11:00:00,12,,FALSE\n"
    b"\n"
    b"purchase,,2026-03-01T10:00:00Z,1,,\n"
    b"purchase,C-3,yesterday,1,,\n"
    b'"Kauf, neu",C-1,1772362800,"1,5",x,\n'
)
JSONL = (
    b"".join(
        json.dumps(event).encode() + b"\n"
        for event in [
            {"name": "looked", "profile": {"email": "a@example.com"}, "occurred_at": "2026-03-01T10:00:00Z"},
            {"name": "looked", "profile": {"email": "bad"}},
            {"id": str(uuid.UUID(int=7)), "name": "looked", "profile": {"anonymous_id": "v"}},
        ]
    )
    + b"{broken\n\n\xff\n"
)


def kept(content, name="shop orders.csv", piece=7):
    return event_files.keep(name, (content[at : at + piece] for at in range(0, len(content), piece)), "ann")


def imported(content, name="shop orders.csv"):
    file = kept(content, name)
    assert event_files.start(file)
    while event_files.work():
        pass
    file.refresh_from_db()
    return file


def stored():
    return list(
        Event.objects.order_by("occurred_at", "id").values_list("name", "profile__external_id", "properties")
    )


class TestRows:
    def test_a_csv_file(self, db):
        file = imported(CSV)
        assert (file.state, file.rows, file.stored, file.rejected, file.known) == ("done", 5, 3, 2, 0)
        assert file.position == file.size == len(CSV)
        assert stored() == [
            ("purchase", "C-1", {"total": 59.9, "coupon": "007", "vip": True}),
            ("Kauf, neu", "C-1", {"total": "1,5", "coupon": "x"}),
            ("purchase", "C-2", {"total": 12, "vip": False}),
        ]
        rejects = file.rejects.order_by("row").values_list("row", "field")
        assert list(rejects) == [(5, "profile"), (6, "timestamp")]

    def test_a_jsonl_file(self, db):
        file = imported(JSONL, "x.jsonl")
        assert (file.format, file.state, file.stored, file.rejected) == ("jsonl", "done", 2, 3)
        assert list(file.rejects.order_by("row").values_list("row", flat=True)) == [2, 4, 6]
        assert Event.objects.filter(pk=uuid.UUID(int=7)).exists()

    def test_flat_jsonl_is_mapped_like_columns(self, db):
        line = {"event": "played", "user_id": 7, "time": 1772362800000, "properties": {"a": [1]}, "level": 3}
        file = imported(json.dumps(line).encode(), "x.jsonl")
        assert (file.stored, stored()) == (1, [("played", "7", {"a": [1], "level": 3})])
        assert Event.objects.get().occurred_at == datetime(2026, 3, 1, 11, tzinfo=UTC)

    def test_the_same_file_again_or_packed_stores_nothing_twice(self, db):
        imported(CSV)
        again = imported(gzip.compress(CSV[:50]) + gzip.compress(CSV[50:]), "other.csv.gz")
        assert (again.stored, again.known, Event.objects.count()) == (0, 3, 3)

    def test_rows_with_numbers_of_their_own_are_known_in_any_file(self, db):
        rows = "event,email,time,order_id\n{}bought,a@example.com,2026-03-01T10:00:00Z,A-7\n"
        imported(rows.format("").encode())
        again = imported(rows.format("bought,b@example.com,2026-03-01T10:00:00Z,A-8\n").encode())
        assert (again.stored, again.known) == (1, 1)

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
    def test_encodings(self, db, encoding):
        file = imported(
            "event;email;time;cité\nvu;a@example.com;2026-03-01T10:00:00Z;Orléans\n".encode(encoding)
        )
        assert (file.stored, Event.objects.get().properties) == (1, {"cité": "Orléans"})

    def test_bad_bytes_spoil_one_row(self, db):
        file = imported(
            b"event,email,time\nx,a@example.com,2026-03-01T10:00:00Z\ny\xc3\x28\x00,\x00,\n" + b"\xc3\xa9,,\n"
        )
        assert (file.state, file.stored + file.rejected) == ("done", 3)
        list(event_files.rejects(file))

    @pytest.mark.parametrize("more", [-1, 0, 1])
    def test_a_line_at_the_limit_costs_no_other(self, db, monkeypatch, more):
        monkeypatch.setattr(event_rows, "LINE_LIMIT", 1000)
        monkeypatch.setattr(event_files, "CHUNK_BYTES", 500)
        row = b'{"name": "x", "profile": {"email": "a@example.com"}}'
        file = imported(row + b"\n" + row.ljust(1000 + more) + b"\n" + (row + b"\n") * 20)
        assert (file.state, file.rows, file.stored) == ("done", 22, 21 if more >= 0 else 22)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "empty"),
            (b" \n", "empty"),
            (b"[1]", "JSON array"),
            (b"PK\x03\x04...", "Excel"),
            (b"a,a\n1,2\n", "Two columns"),
            (b",,\n1,2\n", "first row"),
        ],
    )
    def test_what_is_no_such_file(self, db, content, words):
        with pytest.raises(tables.TableError, match=words):
            kept(content)
        assert not Upload.objects.exists()

    @pytest.mark.parametrize("content", [gzip.compress(CSV)[:-9], b"\x1f\x8bnonsense"])
    def test_damaged_packing(self, db, content):
        with pytest.raises(uploads.UploadError, match="damaged"):
            kept(content)
        assert not Upload.objects.exists()

    def test_an_open_quotation_mark_ends_the_import_with_a_reason(self, db, monkeypatch):
        monkeypatch.setattr(tables, "ROW_LIMIT", 1000)
        file = imported(b'event,email\nx,"open\n' + b"a@example.com\n" * 200)
        assert (file.state, "quotation" in file.problem) == ("failed", True)


_CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(_CELL, min_size=3, max_size=3), min_size=1, max_size=8), st.data())
def test_reading_may_stop_after_any_row_and_go_on_there(rows, data):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["email", "x", "y"], *rows])
    content = io.BytesIO(text.getvalue().encode())
    shape = Shape("csv", "utf-8", Columns({"email": "email", "x": "property", "y": "property"}, "n"), "d")
    whole = list(event_rows.read(content, shape))
    assert len(whole) == len(rows)
    assert [before.end < after.end for before, after in pairwise(whole)] == [True] * (len(whole) - 1)
    at = data.draw(st.integers(0, len(whole) - 1))
    rest = list(event_rows.read(content, shape, whole[at].end, at + 1))
    assert rest == whole[at + 1 :]


class TestRunning:
    @pytest.fixture
    def many(self, db, monkeypatch):
        monkeypatch.setattr(event_files, "CHUNK", 10)
        rows = "".join(f"x,p{n % 7}@example.com,2026-03-01T10:00:{n:02}Z\n" for n in range(35))
        file = kept(("event,email,time\n" + rows).encode(), piece=1000)
        assert event_files.start(file)
        return file

    def test_it_goes_on_where_a_worker_died(self, many, monkeypatch):
        assert event_files.work(seconds=0)

        def die(_rows):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(EventFileReject.objects, "bulk_create", die)
            with pytest.raises(KeyboardInterrupt):
                event_files.work(seconds=0)
        many.refresh_from_db()
        assert (many.stored, Event.objects.count()) == (10, 10)
        while event_files.work(seconds=0):
            pass
        many.refresh_from_db()
        assert (many.state, many.rows, many.stored, many.known) == ("done", 35, 35, 0)

    def test_two_files_take_turns(self, many):
        other = kept(b"event,email\ny,b@example.com\n")
        event_files.start(other)
        now = datetime(2026, 4, 1, tzinfo=UTC)
        for seconds in range(2):
            event_files.work(seconds=0, now=now + timedelta(seconds=seconds))
        assert set(Event.objects.values_list("name", flat=True)) == {"x", "y"}

    def test_cancelled_and_taken_up_again(self, many):
        event_files.work(seconds=0)
        assert event_files.cancel(many)
        assert not event_files.work()
        assert Event.objects.count() == 10
        assert event_files.start(many)
        event_files.work()
        assert Event.objects.count() == 35
        assert not event_files.start(many)

    def test_a_fault_of_ours_ends_one_file_and_says_so(self, many, monkeypatch):
        monkeypatch.setattr("crm.ingest.store", lambda *_args: 1 / 0)
        assert not event_files.work()
        many.refresh_from_db()
        assert (many.state, bool(many.problem)) == ("failed", True)

    def test_a_preview_keeps_nothing(self, db):
        file = kept(CSV)
        found = event_files.preview(file)
        assert (found.rows, found.stored, len(found.rejected)) == (5, 3, 2)
        assert found.events[0]["profile"] == {"external_id": "C-1"}
        assert not Event.objects.exists()

    def test_rejected_rows_can_be_corrected_and_imported(self, db):
        [header, *rows] = event_files.rejects(imported(CSV))
        assert header[4:] == ["Event", "Customer ID", "timestamp", "total", "coupon", "vip"]
        rows[1][6] = "2026-03-02"
        text = io.StringIO()
        csv.writer(text).writerows([header, *rows])
        again = imported(text.getvalue().encode())
        assert (again.stored, again.rejected) == (1, 1)

    def test_files_that_are_being_read_are_not_tidied_away(self, many):
        later = datetime.now(UTC) + timedelta(days=8)
        assert uploads.forget_unused(later) == 0
        event_files.cancel(many)
        assert uploads.forget_unused(later) == 1
        assert not event_files.start(EventFile.objects.get(pk=many.pk))


class TestCommand:
    def test_with_what_it_can_not_guess(self, db, tmp_path, capsys):
        path, rejected = tmp_path / "x.csv.gz", tmp_path / "rejected.csv"
        path.write_bytes(
            gzip.compress(b"wer,when,what\na@example.com,2026-03-01 10:00,x\nb,2026-03-01 10:00,x\n")
        )
        call_command(
            "import_events", path, "--map=wer=email", "--map=when=occurred_at", "--map=what=name",
            "--zone=Europe/Warsaw", f"--rejected={rejected}",
        )  # fmt: skip
        assert "1 events stored" in capsys.readouterr().out
        assert Event.objects.get().occurred_at == datetime(2026, 3, 1, 9, tzinfo=UTC)
        assert "invalid_email" in rejected.read_text()

    @pytest.mark.parametrize("options", [["--map=x=email"], ["--map=a=y"], ["--zone=Nowhere"], []])
    def test_what_can_not_be(self, db, tmp_path, options):
        path = tmp_path / "x.csv"
        path.write_text("a,b\n1,2\n")
        with pytest.raises(CommandError):
            call_command("import_events", path, *options)


def test_no_spreadsheet_takes_rejected_rows_for_formulas():
    header = event_files.reject_header(["=cmd()", "plain"])
    row = event_files.reject_row(2, "code", "=cmd()", "+1 is no email", ["@x", "-1", "y"])
    assert not [cell for cell in header + row if cell.startswith(("=", "+", "-", "@"))]
    assert tables.plain(header[-2]) == "=cmd()"
