"""Exporting lists: whose right it is, what the files hold, and that an import takes them back as they were."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import openpyxl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from crm import table_writing, tables
from crm.admin import export_rows, exports
from crm.models import AuditEntry, Connection, Consent, Identifier, Product, Profile, SyncReject
from crm.sync import engine
from tests.crm.admin.files import begun, exported
from tests.crm.admin.pages import page, text_of

pytestmark = pytest.mark.django_db
LIST, EXPORT = reverse("admin:crm_profile_changelist"), reverse("admin:crm_profile_export")
FORMULAS = ["=1+1", "+48", "-2", "@SUM(A1)", "\tx", "\rx", "'=1", "''+x"]


def read(content, name="x.csv"):
    _columns, rows = tables.read(io.BytesIO(content), name)
    return [row.values for row in rows]


def held():
    """People and their answers, but for when they changed."""
    people = [
        {name: value for name, value in row.items() if name != "updated_at"}
        for row in Profile.objects.order_by("pk").values()
    ]
    return people, list(Consent.objects.order_by("pk").values())


def cells(content):
    return list(csv.reader(io.StringIO(content.decode())))


def sheet(client, model, query=""):
    response = client.post(reverse(f"admin:crm_{model}_export") + query, {"form": "xlsx"})
    return b"".join(response.streaming_content)


@pytest.fixture
def ann():
    profile = Profile.objects.create(
        external_id="0017",
        email="ann@x.com",
        phone="+48501600700",
        first_name="Ann",
        language="pl",
        timezone="Europe/Warsaw",
        country="PL",
        city="Łódź",
        latitude=-33.5,
        longitude=151.25,
        birthday=date(1990, 5, 17),
        attributes={"plan": "gold", "Shoe size": 38, "vip": True, "tags": ["a", "b"], "email": "other"},
        first_seen=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    for kind, value in (("external_id", "0017"), ("email", "ann@x.com"), ("phone", "+48501600700")):
        Identifier.objects.create(kind=kind, value=value, profile=profile)
    return profile


@pytest.fixture
def bob():
    profile = Profile.objects.create(
        email="bob@x.com", external_id="0018", country="DE", timezone="Europe/Berlin"
    )
    Identifier.objects.create(kind="email", value="bob@x.com", profile=profile)
    Identifier.objects.create(kind="external_id", value="0018", profile=profile)
    return profile


class TestWhoMay:
    def test_it_takes_a_right_of_its_own(self, ann, staff, client):
        assert "/login/" in client.get(EXPORT).url
        viewer = staff("view_profile")
        assert viewer.get(EXPORT).status_code == 403
        assert viewer.post(EXPORT, {"form": "csv"}).status_code == 403
        assert EXPORT not in viewer.get(LIST).content.decode()
        assert 'value="export_chosen"' not in viewer.get(LIST).content.decode()
        assert staff("view_profile", "export_profile").get(EXPORT).status_code == 403
        exporter = staff("view_profile", "export_profile", "view_contact_data")
        assert f'href="{EXPORT}' in exporter.get(LIST).content.decode()
        assert b"ann@x.com" in exported(exporter, "profile")

    def test_the_right_alone_does_not_show_a_list(self, ann, staff):
        assert staff("export_profile").get(EXPORT).status_code == 403

    def test_products_have_another(self, staff):
        url = reverse("admin:crm_product_export")
        assert staff("view_product", "export_profile").get(url).status_code == 403
        assert staff("view_product", "export_product").get(url).status_code == 200

    def test_rejects_are_for_who_may_export_people_or_correct_them(self, staff):
        url = reverse("admin:crm_syncreject_export")
        assert staff("view_syncreject").get(url).status_code == 403
        assert staff("view_syncreject", "change_connection").get(url).status_code == 200
        assert staff("view_syncreject", "export_profile").get(url).status_code == 200

    def test_a_forged_form_gets_nothing(self, ann, admin_user):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(admin_user)
        assert strict.post(EXPORT, {"form": "csv"}).status_code == 403
        assert not AuditEntry.objects.filter(action="list.exported").exists()

    def test_every_export_is_logged_with_its_size_and_filter(self, ann, bob, admin_client, admin_user):
        exported(admin_client, "profile", "?country=PL", parts=["consents"])
        entry = AuditEntry.objects.get(action="list.exported")
        assert (entry.actor_id, entry.object_type) == (admin_user.pk, "crm.profile")
        assert entry.detail == {
            "rows": 1,
            "form": "csv",
            "parts": ["consents"],
            "filters": ["country"],
            "chosen": False,
        }


class TestWhich:
    def test_the_list_as_filtered_and_searched(self, ann, bob, admin_client):
        shown = admin_client.get(f"{LIST}?country=PL").content.decode()
        assert f'href="{EXPORT}?country=PL"' in shown
        assert "1 row, as the list was filtered." in text_of(admin_client.get(f"{EXPORT}?country=PL"))
        rows = exported(admin_client, "profile", "?country=PL&q=ann&p=3&o=1").decode()
        assert "ann@x.com" in rows
        assert "bob@x.com" not in rows

    def test_chosen_rows_and_all_that_match(self, ann, bob, admin_client):
        chosen = {"action": "export_chosen", "_selected_action": [ann.pk], "index": 0}
        to = admin_client.post(LIST, chosen).url
        assert to == f"{EXPORT}?_chosen={ann.pk}"
        assert "1 row, as chosen." in text_of(admin_client.get(to))
        assert b"bob@x.com" not in exported(admin_client, "profile", to.removeprefix(EXPORT))
        to = admin_client.post(f"{LIST}?country=DE", {**chosen, "select_across": 1}).url
        assert to == f"{EXPORT}?country=DE"

    @pytest.mark.parametrize("query", ["?_chosen=", "?_chosen=x,99999999999999999999", "?country=zz"])
    def test_nothing_is_nothing(self, ann, admin_client, query):
        assert len(cells(exported(admin_client, "profile", query))) == 1

    def test_a_filter_that_makes_no_sense_leads_back(self, admin_client):
        assert admin_client.get(f"{reverse('admin:crm_product_export')}?active__exact=x").url.startswith(
            reverse("admin:crm_product_changelist")
        )


class TestWhat:
    def test_all_fields_attributes_answers_and_ids(self, ann, bob, admin_client):
        crm = Connection.objects.create(kind="hubspot", name="H", slug="hub", mapping={"contacts": {}})
        Identifier.objects.create(kind=f"{crm.slug}:contacts", value="801", profile=ann)
        Consent.objects.create(
            profile=bob, kind="topic", key="news", state="unsubscribed", source="x", changed_at=timezone.now()
        )
        first, second = read(exported(admin_client, "profile", parts=["consents", "crm_ids"]))
        expected = {
            "external_id": "0017",
            "phone": "+48501600700",
            "city": "Łódź",
            "latitude": "-33.5",
            "birthday": "1990-05-17",
            "attributes.Shoe size": "38",
            "attributes.vip": "true",
            "attributes.tags": '["a", "b"]',
            "consent.topic.news": None,
            "nudge_hub_contacts": "801",
            "nudge_id": str(ann.pk),
            "nudge_first_seen": "2026-01-02T03:04:05+00:00",
        }
        assert expected.items() <= first.items()
        assert (second["consent.topic.news"], second["nudge_hub_contacts"]) == ("false", None)

    def test_without_being_asked_no_answers_and_ids(self, ann, admin_client):
        [header, _row] = cells(exported(admin_client, "profile"))
        assert not [name for name in header if name.startswith("consent.")]

    def test_more_attributes_than_columns_come_as_json(self, ann, admin_client, monkeypatch):
        monkeypatch.setattr(export_rows, "COLUMNS", 4)
        [row] = read(exported(admin_client, "profile"))
        assert row["attributes.plan"] == "gold"
        assert row["nudge_more_attributes"] == '{"vip": true}'

    @pytest.mark.parametrize("text", FORMULAS)
    def test_no_cell_is_a_formula_and_imports_get_the_text_back(self, text):
        assert tables.harmless(text) == f"'{text}"
        assert tables.plain(tables.harmless(text)) == text
        assert tables.harmless("a=1") == "a=1"
        assert tables.plain("'tis") == "'tis"

    def test_formulas_in_cells_and_column_names_are_harmless(self, admin_client):
        connection = Connection.objects.create(kind="hubspot", name="=H", slug="h")
        evil = {f"{text}{n}": text for n, text in enumerate(FORMULAS)}
        SyncReject.objects.create(
            connection=connection, object="contacts", record_id="1", code="x", detail="=why", raw=evil
        )
        for line in cells(exported(admin_client, "syncreject")):
            assert not [cell for cell in line if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
        book = openpyxl.load_workbook(io.BytesIO(sheet(admin_client, "syncreject")))
        assert {cell.data_type for line in book.active.iter_rows() for cell in line} <= {
            "s",
            "n",
            "inlineStr",
        }
        assert not [c for line in book.active.iter_rows() for c in line if str(c.value).startswith("=")]

    def test_numbers_stay_numbers(self):
        values = [-5, -0.5, Decimal("12.5000"), Decimal("100.0000"), 10**16, 3.0]
        assert [table_writing.cell(value) for value in values] == [
            -5,
            -0.5,
            Decimal("12.5"),
            100,
            str(10**16),
            3,
        ]

    def test_excels_csv_has_a_byte_order_mark(self, ann, admin_client):
        content = exported(admin_client, "profile", form="excel-csv")
        assert content.startswith(b"\xef\xbb\xbf")
        assert read(content)[0]["city"] == "Łódź"

    def test_a_workbook_leaves_out_only_what_excel_can_not_hold(self, ann, admin_client):
        ann.attributes = {"note": "a\x01b", "long": "x" * 40_000}
        ann.save()
        [row] = read(sheet(admin_client, "profile"), "x.xlsx")
        assert (row["attributes.note"], len(row["attributes.long"])) == ("ab", 32_767)
        assert (row["latitude"], row["birthday"]) == (-33.5, "1990-05-17")

    def test_a_workbook_holds_so_many_rows_and_csv_is_offered_beyond(
        self, ann, bob, admin_client, monkeypatch
    ):
        monkeypatch.setattr(exports, "XLSX_ROWS", 1)
        words = text_of(admin_client.get(EXPORT))
        assert "At most 1 rows. There are more here: choose CSV, which has no limit." in words
        response = admin_client.post(EXPORT, {"form": "xlsx"})
        assert "holds at most 1 rows. Choose CSV" in text_of(response)
        assert not AuditEntry.objects.filter(action="list.exported").exists()

    def test_names_of_attributes_are_no_markup_and_unknown_parts_are_refused(self, ann, admin_client):
        response = admin_client.post(EXPORT, {"form": "csv", "parts": ["<script>"]})
        assert "Content-Disposition" not in response
        assert "<script>" not in response.content.decode().split("content-main")[1]


class TestMany:
    @pytest.fixture
    def crowd(self, monkeypatch):
        monkeypatch.setattr(export_rows, "CHUNK", 1_000)
        Profile.objects.bulk_create(Profile(email=f"p{n}@x.com", attributes={"n": n}) for n in range(2_500))

    def test_it_streams_without_a_query_for_each_row(self, crowd, admin_client):
        with CaptureQueriesContext(database) as before:
            response = admin_client.post(EXPORT, {"form": "csv", "parts": ["consents", "crm_ids"]})
        assert response.streaming
        with CaptureQueriesContext(database) as queries:
            pieces = list(response.streaming_content)
        assert len(before) < 25
        assert len(queries) < 15
        assert len(pieces) > 4
        assert max(map(len, pieces)) < 100_000
        rows = read(b"".join(pieces))
        assert len({row["email"] for row in rows}) == 2_500

    def test_rows_that_change_places_meanwhile_are_neither_lost_nor_doubled(self, crowd, admin_client):
        response = admin_client.post(EXPORT, {"form": "csv"})
        pieces = iter(response.streaming_content)
        first = next(pieces)
        Profile.objects.filter(email__in=["p1@x.com", "p2499@x.com"]).update(email=None, first_name="Z")
        rows = read(first + b"".join(pieces))
        assert len({row["nudge_id"] for row in rows}) == len(rows) == 2_500


class TestRoundTrip:
    @pytest.mark.parametrize("form", ["csv", "excel-csv", "xlsx"])
    def test_people_come_back_as_they_were(self, ann, bob, admin_client, form):
        for kind, key, state in (("channel", "email", "subscribed"), ("topic", "news", "unsubscribed")):
            Consent.objects.create(
                profile=ann, kind=kind, key=key, state=state, source="sdk", changed_at=timezone.now()
            )
        before = held()
        content = exported(admin_client, "profile", form=form, parts=["consents", "crm_ids"])
        name = "people.xlsx" if form == "xlsx" else "people.csv"
        draft = begun(admin_client, SimpleUploadedFile(name, content))
        assert draft.config["key"] == "external_id"
        admin_client.post(page("start", draft.pk))
        report = engine.run(draft)
        # They count as changed, as they are known by the file's keys now, too; all else is as it was.
        assert (report.created, report.updated, report.rejected) == (0, 2, 0)
        assert held() == before

    def test_products_come_back_as_they_were(self, admin_client):
        Product.objects.create(
            sku="0-1", name="=Cup", price=Decimal("12.5"), stock=3, active=False, attributes={"size": "-L"}
        )
        content = exported(admin_client, "product")
        draft = begun(admin_client, SimpleUploadedFile("products.csv", content), about="products")
        admin_client.post(page("start", draft.pk))
        assert engine.run(draft).unchanged == 1
        assert Product.objects.get().attributes == {"size": "-L"}
