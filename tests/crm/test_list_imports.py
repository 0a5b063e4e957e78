"""Files of existing consents and of suppressed addresses."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from crm import consent, identity, list_imports, tables
from crm.models import (
    ChannelTerms,
    Consent,
    ConsentChange,
    Event,
    ListImport,
    Profile,
    Suppression,
    Topic,
    Upload,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CONSENTS = """Email,External ID,channel,Topic,Status,Date,wording,Legal basis
Ada@Example.com,,email,,yes,2024-02-03,May we?,consent
,C-2,,news,opt-out,2025-01-01T10:00:00+02:00,,legitimate interest
,C-2,email,news,yes,2025-01-01,,
nobody,,email,,yes,2025-01-01,,
ada@example.com,,email,,maybe,2025-01-01,,
ada@example.com,,email,,yes,,,
ada@example.com,,,weather,no,2025-01-01,,
"""

pytestmark = pytest.mark.django_db


def run(kind, text, name="list.csv"):
    job = list_imports.begin(kind, name, [text.encode()], "root")
    list_imports.work(NOW)
    job.refresh_from_db()
    return job


@pytest.fixture
def news():
    return Topic.objects.create(slug="news", name="News")


def test_what_was_in_bad_rows_is_forgotten():
    job = run("suppressions", "address,channel\nann at example,email\n")
    assert "ann at example" in str(job.problems)
    assert list_imports.forget(NOW + timedelta(days=6)) == 0
    assert list_imports.forget(NOW + timedelta(days=7)) == 1
    job.refresh_from_db()
    assert (job.problems, job.rejected) == ([], 1)


class TestConsents:
    def test_rows_keep_their_time_and_bad_ones_are_named(self, news):
        ChannelTerms.objects.create(channel="email", double_opt_in=True)
        job = run("consents", CONSENTS)
        assert (job.state, job.rows, job.taken, job.rejected) == ("done", 7, 2, 5)
        assert [(each["row"], each["field"]) for each in job.problems] == [
            (4, "topic"),
            (5, "email"),
            (6, "state"),
            (7, "changed_at"),
            (8, "key"),
        ]
        ada = Profile.objects.get(email="ada@example.com")
        entry = ConsentChange.objects.get(profile=ada)
        assert (entry.state, entry.changed_at, entry.source, entry.wording) == (
            "subscribed",
            datetime(2024, 2, 3, tzinfo=UTC),
            "import",
            "May we?",
        )
        assert Consent.objects.get(key="news").legal_basis == "legitimate_interest"
        assert not Event.objects.filter(name__in=["consent_changed", "consent_requested"]).exists()
        assert not Upload.objects.exists()

    def test_an_old_yes_undoes_no_newer_no(self):
        [ada] = identity.resolve([identity.Reference(email="ada@example.com")])
        consent.record([consent.Change(ada, "channel", "email", "unsubscribed", "person", NOW)])
        run("consents", "email,channel,state,time\nada@example.com,email,yes,2025-01-01\n")
        assert Consent.objects.get().state == "unsubscribed"

    def test_a_long_file_lets_others_have_their_turn(self, monkeypatch):
        monkeypatch.setattr(list_imports, "CHUNK", 2)
        text = "email,channel,state,time\n" + "".join(
            f"p{n}@example.com,email,yes,2025-01-01\n" for n in range(5)
        )
        job = list_imports.begin("consents", "list.csv", [text.encode()])
        seen = []
        while not list_imports.work(NOW, seconds=0):
            job.refresh_from_db()
            seen.append((job.state, job.line))
        assert seen == [("running", 2), ("running", 4)]
        assert Consent.objects.count() == 5

    def test_a_reader_that_died_is_followed_by_one_who_goes_on(self, news, monkeypatch):
        monkeypatch.setattr(list_imports, "CHUNK", 10)
        lines = [f"p{n}@example.com,email,yes,2025-01-01" for n in range(25)]
        text = "email,channel,state,time\n" + "\n".join(lines)
        job = list_imports.begin("consents", "list.csv", [text.encode()])
        settle, seen = list_imports._settle, []

        def dies(*args):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(args)
            return settle(*args)

        monkeypatch.setattr(list_imports, "_settle", dies)
        with pytest.raises(KeyboardInterrupt):
            list_imports.work(NOW)
        job.refresh_from_db()
        assert (job.state, job.line) == ("running", 20)
        monkeypatch.setattr(list_imports, "_settle", settle)
        assert list_imports.work(NOW) == 1
        assert (Consent.objects.count(), ConsentChange.objects.count()) == (25, 25)
        assert list_imports.work(NOW) == 0

    @pytest.mark.parametrize("text", ["", "email,state\na@example.com,yes\n", "x\n1\n"])
    def test_a_file_that_is_none_is_refused_at_once(self, text):
        with pytest.raises(tables.TableError):
            list_imports.begin("consents", "list.csv", [text.encode()])
        assert not ListImport.objects.exists()
        assert not Upload.objects.exists()


def test_suppressed_addresses():
    Suppression.objects.create(channel="email", address="bo@example.com", reason="known")
    text = "Email,Channel,Reason\nBo@example.com,email,x\nANN@example.com,email,complaint\n+48 601 234 567,,\n7,sms,\n"
    job = run("suppressions", text)
    assert (job.taken, job.changed, job.rejected) == (3, 2, 1)
    assert set(Suppression.objects.values_list("channel", "address", "reason", "source")) == {
        ("email", "bo@example.com", "known", ""),
        ("email", "ann@example.com", "complaint", "import"),
        ("all", "+48601234567", "", "import"),
    }


class TestAdmin:
    def test_a_file_is_taken_and_its_progress_shown(self, admin_client, news):
        url = reverse("admin:crm_listimport_add") + "?kind=consents"
        assert b"wording_version" in admin_client.get(url).content
        sent = {"kind": "consents", "file": SimpleUploadedFile("list.csv", CONSENTS.encode())}
        answer = admin_client.post(url, sent, follow=True)
        assert b"data-quiet-refresh" in answer.content
        list_imports.work(NOW)
        html = admin_client.get(answer.request["PATH_INFO"]).content.decode()
        assert "Tell a channel or a topic in each row, not both." in html
        assert "data-quiet-refresh" not in html
        refused = admin_client.post(url, {"file": SimpleUploadedFile("a.csv", b"x\n1\n")})
        assert b"These columns are missing" in refused.content

    def test_only_those_who_may(self, client, news):
        client.force_login(User.objects.create_user("u", is_staff=True))
        for name in ("add", "changelist"):
            assert client.get(reverse(f"admin:crm_listimport_{name}")).status_code == 403

    def test_suppressed_addresses_are_exported_by_who_may_see_them(self, client):
        Suppression.objects.create(channel="all", address="bo@example.com", reason="complaint")
        user = User.objects.create_user("u", is_staff=True)
        client.force_login(user)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=["view_suppression", "export_suppression"])
        )
        export = reverse("admin:crm_suppression_export")
        assert client.post(export, {"form": "csv"}).status_code == 403
        shown = client.get(reverse("admin:crm_suppression_changelist")).content.decode()
        assert "bo@example.com" not in shown
        user.user_permissions.add(Permission.objects.get(codename="view_contact_data"))
        answer = client.post(export, {"form": "csv"})
        assert "all,bo@example.com,complaint" in b"".join(answer.streaming_content).decode()

    def test_a_topic_with_translations(self, admin_client):
        url = reverse("admin:crm_topic_add")
        data = {"name": "News", "slug": "news", "position": "1", "shown": "on", "legal_basis": "consent"}
        assert admin_client.post(url, data | {"name_ar": "الأخبار"}).status_code == 302
        topic = Topic.objects.get()
        assert topic.translations == {"ar": {"name": "الأخبار"}}
        topic.translations["de"] = {"name": "Neues"}
        topic.save()
        change = reverse("admin:crm_topic_change", args=[topic.pk])
        assert "الأخبار" in admin_client.get(change).content.decode()
        admin_client.post(change, data | {"slug": "other", "name_pl": "Nowości"})
        topic.refresh_from_db()
        assert (topic.slug, topic.translations) == (
            "news",
            {"de": {"name": "Neues"}, "pl": {"name": "Nowości"}},
        )
        assert "Nazwa (العربيّة)" in admin_client.get(url, headers={"Accept-Language": "pl"}).content.decode()

    def test_terms_of_a_channel(self, admin_client):
        data = {"channel": "email", "double_opt_in": "on", "legal_basis": "consent"}
        assert admin_client.post(reverse("admin:crm_channelterms_add"), data).status_code == 302
        assert ChannelTerms.objects.get().double_opt_in
        assert admin_client.get(reverse("admin:crm_channelterms_changelist")).status_code == 200

    def test_a_suppression_for_every_channel(self, admin_client):
        add = reverse("admin:crm_suppression_add")
        admin_client.post(add, {"channel": "all", "address": "Bo@Example.com", "reason": "asked"})
        row = Suppression.objects.get()
        assert (row.channel, row.address, row.source) == ("all", "bo@example.com", "admin")
        answer = admin_client.post(add, {"channel": "sms", "address": "12", "reason": "asked"})
        assert answer.status_code == 200
