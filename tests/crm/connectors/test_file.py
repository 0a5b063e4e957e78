"""Files of people and products, imported as from a CRM."""

import pytest

from crm import uploads
from crm.connectors.base import ConnectorError
from crm.connectors.file import File, proposed_key
from crm.models import Connection, Profile, Upload, UploadPart
from crm.sync import setup

pytestmark = pytest.mark.django_db

PEOPLE = """E-mail;First name;Customer ID;Newsletter;SMS opt-in;Points
ann@x.com;Ann;00017;yes;yes;5
bob@x.com;Bob;;no;no;7.5
;Carl;00019;;;
"""


def upload(text=PEOPLE, name="people.csv"):
    return uploads.keep(name, [text.encode()], "amal")


def connector(kept, **config):
    return File({"upload": kept.pk, "key": "E-mail", **config}, {})


def suggested(about="people", **config):
    reader = connector(upload(), **config)
    return reader.suggest(about, reader.fields(about))


class TestReading:
    def test_it_says_what_is_in_it(self):
        assert connector(upload()).test() == "The file has 3 rows and 6 columns."

    def test_columns_are_known_by_their_usual_names(self):
        suggestion = suggested()
        assert suggestion.fields == {
            "First name": "first_name",
            "Customer ID": "external_id",
            "E-mail": "email",
            "Newsletter": "attributes.newsletter",
            "Points": "attributes.points",
        }
        assert suggestion.consent == {"SMS opt-in": {"kind": "channel", "key": "sms"}}
        assert proposed_key(connector(upload()).fields("people"), suggestion) == "Customer ID"

    def test_rows_are_records_with_typed_values(self):
        names = ["First name", "Customer ID", "Newsletter", "Points"]
        [page] = connector(upload()).pages("people", {}, "full", names)
        first, second, third = page.records
        assert (first.id, first.fields) == (
            "ann@x.com",
            {"First name": "Ann", "Customer ID": "00017", "Newsletter": True, "Points": 5},
        )
        assert second.fields["Points"] == 7.5
        assert third.problem
        assert page.expected == 3
        assert first.modified_at < second.modified_at

    def test_every_page_is_a_place_to_go_on_from(self):
        kept = upload("E-mail\n" + "".join(f"p{n}@x.com\n" for n in range(2500)))
        pages = list(connector(kept).pages("people", {}, "full", ["E-mail"]))
        assert [len(page.records) for page in pages] == [1000, 1000, 500]
        rest = list(connector(kept).pages("people", pages[0].cursor, "full", ["E-mail"]))
        assert [page.records[0].id for page in rest] == ["p1000@x.com", "p2000@x.com"]
        assert (
            sum(len(p.records) for p in connector(kept).pages("people", pages[-1].cursor, "incremental", []))
            == 0
        )
        assert (
            sum(len(p.records) for p in connector(kept).pages("people", pages[-1].cursor, "full", [])) == 2500
        )

    def test_records_are_read_by_key(self):
        found = connector(upload()).read("people", ["bob@x.com", "nobody"], ["First name"])
        assert [record.fields for record in found] == [{"First name": "Bob"}]
        assert list(connector(upload()).ids("people")) == [["ann@x.com", "bob@x.com"]]

    def test_a_file_that_is_gone_or_no_table_is_told_plainly(self):
        with pytest.raises(ConnectorError, match="upload it again"):
            File({"upload": 0}, {}).test()
        with pytest.raises(ConnectorError, match="empty"):
            connector(upload("")).fields("people")


class TestKeeping:
    def test_a_large_file_is_kept_in_pieces_and_read_whole(self, monkeypatch):
        monkeypatch.setattr(uploads, "PART", 10)
        content = bytes(range(256))
        kept = uploads.keep("x", [content[:3], content[3:40], content[40:]])
        assert (kept.size, UploadPart.objects.filter(upload=kept).count()) == (256, 26)
        with uploads.opened(kept) as file:
            assert file.read() == content

    def test_one_beyond_the_limit_is_refused_whole(self, monkeypatch):
        monkeypatch.setattr(uploads, "LIMIT", 10)
        with pytest.raises(uploads.UploadError):
            uploads.keep("x", [b"12345678", b"12345678"])
        assert not Upload.objects.exists()

    def test_unused_files_go_and_used_ones_stay(self):
        used, unused = upload(), upload()
        Upload.objects.update(uploaded_at="2026-01-01T00:00Z")
        Connection.objects.create(kind="file", name="f", slug="f", config={"upload": used.pk})
        assert uploads.forget_unused() == 1
        assert list(Upload.objects.all()) == [used]
        assert unused.pk not in set(UploadPart.objects.values_list("upload_id", flat=True))
        assert Profile.objects.count() == 0


def test_setup_suggests_for_a_file_too():
    reader = connector(upload("sku,Name,Price\n1,Cup,3.5\n", "things.csv"), key="sku")
    assert setup.suggested(reader, "products")["fields"] == {"sku": "sku", "Name": "name", "Price": "price"}
