"""Files with the members of segments: what is in them, how they are written, and who is in them no more."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns import tasks
from campaigns.models import ExportPart, MemberExport, Segment, SegmentMembership
from campaigns.segments import export_rows, exporting
from crm import consent, merging, privacy, tables
from crm.models import AuditEntry, ComputedAttribute, ComputedValue, Profile

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RIGHTS = ("view_segment", "view_profile", "export_profile", "view_contact_data")


@pytest.fixture
def buyers():
    return Segment.objects.create(slug="buyers", name="Buyers", rule={"all": []}, state="ready")


def join(segment, **fields):
    """A member."""
    profile = Profile.objects.create(**fields)
    SegmentMembership.objects.create(segment=segment, profile=profile, entered_at=NOW)
    return profile


def written(segment, *columns):
    """The export, after the workers were at it."""
    export = exporting.start(segment, columns, "ada", NOW)
    while exporting.work(now=NOW):
        pass
    export.refresh_from_db()
    return export


def rows(export):
    """The file's lines as a spreadsheet program or an import reads them."""
    text = b"".join(exporting.content(export)).decode()
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:])))


def client(*rights):
    user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    browser = Client()
    browser.force_login(user)
    return browser


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\x00"))), max_size=7
    ),
    st.integers(1, 3),
    st.integers(0, 4),
)
def test_the_file_holds_the_members_wherever_a_worker_dies(buyers, names, chunk, crash_at):
    """Every member once, whatever they are called; read back, each text is what it was, and none is a formula."""
    SegmentMembership.objects.all().delete()
    people = [join(buyers, first_name=name) for name in names]
    Profile.objects.create(first_name="somebody else")
    export = exporting.start(buyers, ["id", "first_name", "since"], "ada", NOW)
    real, calls = export_rows.still, []

    def dying(*args):
        calls.append(args)
        if len(calls) == crash_at:
            raise KeyboardInterrupt
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "CHUNK", chunk)
        patch.setattr(export_rows, "still", dying)
        try:
            exporting.work(now=NOW)
        except KeyboardInterrupt:
            exporting.work(now=NOW)
        export.refresh_from_db()
        assert (export.state, export.rows) == ("done", len(people))
    found = rows(export)
    assert [int(row["nudge_id"]) for row in found] == [person.pk for person in people]
    for row, person in zip(found, people, strict=True):
        assert tables.plain(row["first_name"]) == (person.first_name or "")
        assert not row["first_name"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert row["nudge_member_since"] == NOW.isoformat()
    assert "somebody else" not in str(found)


def test_columns_of_every_kind(buyers):
    ann = join(
        buyers,
        email="ann@x.com",
        external_id="=1+1",
        birthday="1990-02-03",
        attributes={"plan": "gold", "a.b": 1, "shoe": {"size": 40}},
    )
    join(buyers)
    consent.record([consent.Change(ann.pk, "channel", "email", "subscribed", "crm", NOW)])
    attribute = ComputedAttribute.objects.create(
        slug="orders",
        name="Orders",
        kind="count",
        config={"kind": "count", "event": "purchase"},
        served=True,
    )
    ComputedValue.objects.create(attribute=attribute, profile=ann, number=3)
    export = written(
        buyers,
        *("external_id", "email", "birthday", "attributes.plan", "attributes.a.b", "attributes.shoe.size"),
        *("computed.orders", "consent.channel.email", "id", "last_seen"),
    )
    first, second = rows(export)
    assert first == {
        "external_id": "'=1+1",
        "email": "ann@x.com",
        "birthday": "1990-02-03",
        "attributes.plan": "gold",
        "attributes.a.b": "1",
        "attributes.shoe.size": "40",
        "nudge_computed_orders": "3",
        "consent.channel.email": "true",
        "nudge_id": str(ann.pk),
        "nudge_last_seen": "",
    }
    assert (second["email"], second["consent.channel.email"], second["attributes.plan"]) == ("", "", "")
    offered = {name for _group, choices in export_rows.columns() for name, _label in choices}
    assert {"email", "since", "computed.orders", "consent.channel.email", "attributes.plan"} <= offered
    assert export_rows.check(sorted(offered)) == sorted(offered)
    for unknown in (["password"], ["computed.gone"], ["consent.x.email"], ["attributes."], ["record.shop:x"]):
        with pytest.raises(export_rows.UnknownColumns) as error:
            exporting.start(buyers, unknown)
        assert error.value.names == unknown


def test_the_number_of_queries_does_not_grow(buyers):
    counts = []
    for people in (2, 30):
        for _number in range(people):
            join(buyers, first_name="x")
        members = export_rows.after(buyers.pk, 0, 100)
        names = ["first_name", "attributes.x", "consent.channel.email", "computed.orders", "since"]
        with CaptureQueriesContext(connection) as asked:
            assert len(export_rows.lines(members, names)) == len(members)
        counts.append(len(asked))
    assert counts[0] == counts[1]


class TestKeeping:
    def test_it_is_encrypted_and_goes_when_its_time_is_over(self, buyers):
        join(buyers, email="zyxwv@x.com")
        export = written(buyers, "email")
        assert b"zyxwv" not in b"".join(bytes(part.content) for part in ExportPart.objects.all())
        assert export.expires_at == NOW + timedelta(hours=72)
        assert exporting.forget(NOW + timedelta(hours=71)) == 0
        assert exporting.forget(NOW + timedelta(hours=72)) == 1
        export.refresh_from_db()
        assert export.state == "expired"
        assert not ExportPart.objects.exists()
        with pytest.raises(exporting.ExportGone):
            exporting.content(export)

    def test_the_sweep_throws_it_away(self, buyers):
        export, newer = written(buyers, "email"), written(buyers, "email")
        MemberExport.objects.filter(pk=export.pk).update(expires_at=timezone.now())
        MemberExport.objects.filter(pk=newer.pk).update(expires_at=timezone.now() + timedelta(hours=1))
        tasks.forget_list_files()
        states = dict(MemberExport.objects.values_list("pk", "state"))
        assert states == {export.pk: "expired", newer.pk: "done"}

    def test_who_is_erased_is_in_no_file_any_more(self, buyers, monkeypatch):
        monkeypatch.setattr(exporting, "CHUNK", 2)
        people = [join(buyers, first_name=name) for name in ("Ann", "Bob", "Cem", "Dee", "Eve")]
        export = written(buyers, "first_name")
        privacy.erase([people[2].pk], "request", NOW)
        assert [row["first_name"] for row in rows(export)] == ["Ann", "Bob", "Dee", "Eve"]
        assert "Cem" not in str(list(ExportPart.objects.values()))

    def test_who_is_erased_is_in_no_file_under_an_earlier_number_either(self, buyers, monkeypatch):
        monkeypatch.setattr(exporting, "CHUNK", 2)
        people = [join(buyers, first_name=name) for name in ("Ann", "Bob", "Cem", "Dee")]
        export = written(buyers, "first_name")
        merging.merge([(people[3].pk, people[0].pk)], "test", NOW)
        privacy.erase([people[0].pk], "request", NOW)
        assert [row["first_name"] for row in rows(export)] == ["Bob", "Cem"]

    def test_who_is_erased_while_their_line_is_written_is_not_kept(self, buyers, monkeypatch):
        ann, _bob = join(buyers, first_name="Ann"), join(buyers, first_name="Bob")
        real = export_rows.still

        def meanwhile(*args):
            privacy.erase([ann.pk], "request", NOW)
            return real(*args)

        monkeypatch.setattr(export_rows, "still", meanwhile)
        export = written(buyers, "first_name")
        assert ExportPart.objects.get().content is None
        assert [row["first_name"] for row in rows(export)] == ["Bob"]

    def test_cancelling_throws_away_what_was_written(self, buyers, monkeypatch):
        monkeypatch.setattr(exporting, "CHUNK", 1)
        for _number in range(3):
            join(buyers)
        export = exporting.start(buyers, ["id"], "ada", NOW)
        assert exporting.work(seconds=0, now=NOW)
        assert ExportPart.objects.count() == 1
        assert exporting.cancel(export, NOW)
        assert not exporting.work(now=NOW)
        assert not exporting.cancel(export, NOW)
        assert not ExportPart.objects.exists()


class TestPages:
    def test_from_the_choice_of_columns_to_the_file(self, buyers):
        join(buyers, email="ann@x.com", first_name="Ann")
        browser = client(*RIGHTS)
        page = reverse("admin:campaigns_segment_export", args=[buyers.pk])
        assert 'value="email" checked' in browser.get(page).content.decode()
        refused = browser.post(page, {"columns": ["nonsense"]})
        assert "nonsense" in refused.content.decode()
        sent = browser.post(page, {"columns": ["email"], "more": "plan shoe"})
        export = MemberExport.objects.get()
        assert export.columns == ["email", "attributes.plan", "attributes.shoe"]
        assert sent.url == reverse("admin:campaigns_member_export", args=[export.pk])
        file = reverse("admin:campaigns_member_export_file", args=[export.pk])
        assert browser.get(file).status_code == 302
        assert 'data-testid="cancel"' in browser.get(sent.url).content.decode()
        tasks.export_members()
        status = browser.get(reverse("admin:campaigns_member_export_status", args=[export.pk]))
        assert file in status.content.decode()
        content = b"".join(browser.get(file).streaming_content).decode()
        assert content == "\ufeffemail,attributes.plan,attributes.shoe\r\nann@x.com,,\r\n"
        told = AuditEntry.objects.filter(action__startswith="members.").order_by("pk")
        assert [(entry.action, entry.object_id) for entry in told] == [
            ("members.exported", str(buyers.pk)),
            ("members.export_fetched", str(buyers.pk)),
        ]
        assert told[0].detail["columns"] == export.columns
        assert told[0].actor

    @pytest.mark.parametrize("missing", RIGHTS)
    def test_each_right_is_needed(self, buyers, missing):
        join(buyers, email="ann@x.com")
        export = written(buyers, "email")
        browser = client(*(right for right in RIGHTS if right != missing))
        assert browser.get(reverse("admin:campaigns_segment_export", args=[buyers.pk])).status_code == 403
        for page in ("", "_status", "_file"):
            address = reverse(f"admin:campaigns_member_export{page}", args=[export.pk])
            assert browser.get(address).status_code == 403
        cancel = reverse("admin:campaigns_member_export_cancel", args=[export.pk])
        assert browser.post(cancel).status_code == 403
