"""Admin pages of the audience: what they show, to whom, and with how many queries."""

import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.urls import reverse

from crm import alerts, api_keys, consent, identity, log
from crm.admin.paginator import CAP, EstimatedCountPaginator, _estimate
from crm.admin.profiles import initials
from crm.models import Alert, ApiKey, Consent, Device, Event, Profile, Suppression

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MODELS = ["profile", "event", "consent", "consentchange", "suppression", "apikey", "alert"]


@pytest.fixture
def ada(db):
    profile = Profile.objects.create(
        email="ada@example.com",
        first_name="Ada",
        last_name="<Byron>",
        country="GB",
        language="en",
        attributes={"plan": "gold", "tags": ["x"]},
    )
    profile.identifiers.create(kind="email", value="ada@example.com")
    profile.identifiers.create(kind="external_id", value="C-1")
    return profile


@pytest.fixture
def everything(ada):
    log.append([log.NewEvent(uuid4(), ada.pk, "purchase", NOW, {"total": 5, "note": "<b>"}, "api")])
    consent.record(
        [consent.Change(ada.pk, consent.CHANNEL, "webpush", consent.SUBSCRIBED, "sdk", NOW, "May we?")]
    )
    Device.objects.create(
        profile=ada,
        endpoint="https://push.example/secret",
        p256dh="k",
        auth="a",
        user_agent="Firefox/1 Linux",
    )
    Suppression.objects.create(channel="email", address="no@example.com", reason="asked")
    api_keys.create("shop", ["read"])
    alerts.raise_alert("a", "Push is refused", "Look at the keys.")
    return ada


def user(client, *permissions):
    account = User.objects.create_user("u", password="p", is_staff=True)
    account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(account)
    return client


@pytest.mark.parametrize("model", MODELS)
class TestPermissions:
    def test_nobody_gets_in_without_login(self, client, everything, model):
        response = client.get(reverse(f"admin:crm_{model}_changelist"))
        assert (response.status_code, response["Location"].split("?")[0]) == (302, "/admin/login/")

    def test_staff_without_permission(self, client, everything, model):
        user(client)
        assert client.get(reverse(f"admin:crm_{model}_changelist")).status_code == 403

    def test_viewers_see_lists_and_pages_but_may_not_add(self, client, everything, model):
        user(client, f"view_{model}")
        assert client.get(reverse(f"admin:crm_{model}_changelist")).status_code == 200
        assert client.get(reverse(f"admin:crm_{model}_add")).status_code == 403
        row = {"profile": Profile, "event": Event, "consent": Consent, "apikey": ApiKey, "alert": Alert}.get(
            model
        )
        if row:
            page = client.get(reverse(f"admin:crm_{model}_change", args=[row.objects.first().pk]))
            assert page.status_code == 200

    def test_the_owner(self, admin_client, everything, model):
        assert admin_client.get(reverse(f"admin:crm_{model}_changelist")).status_code == 200


class TestProfiles:
    def test_the_page_tells_all_and_escapes_it(self, admin_client, everything):
        html = admin_client.get(reverse("admin:crm_profile_change", args=[everything.pk])).content.decode()
        for text in (
            "ada@example.com",
            "gold",
            "C-1",
            "webpush",
            "May we?",
            "Firefox, Linux",
            "Ada &lt;Byron&gt;",
        ):
            assert text in html, text
        assert "<Byron>" not in html
        assert "push.example/secret" not in html

    def test_a_page_that_is_not_there(self, admin_client):
        assert admin_client.get(reverse("admin:crm_profile_change", args=[1])).status_code == 302

    @pytest.mark.parametrize(
        ("term", "found"),
        [
            ("ada@ex", True),
            ("ADA", True),
            ("byron ada", True),
            ("byron nobody", False),
            ("C-1", True),
            ("C-", False),
            ("ad", False),
            ("\x00", True),
        ],
    )
    def test_search(self, admin_client, ada, term, found):
        response = admin_client.get(reverse("admin:crm_profile_changelist"), {"q": term})
        assert (ada in response.context["cl"].result_list) is found

    def test_search_by_number(self, admin_client, ada):
        response = admin_client.get(reverse("admin:crm_profile_changelist"), {"q": str(ada.pk)})
        assert list(response.context["cl"].result_list) == [ada]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"country": "gb"}, True),
            ({"country": "United Kingdom"}, True),
            ({"country": "PL"}, False),
            ({"country": "nowhere"}, False),
            ({"language": "English"}, True),
            ({"language": "pl"}, False),
        ],
    )
    def test_filters(self, admin_client, ada, query, found):
        response = admin_client.get(reverse("admin:crm_profile_changelist"), query)
        assert (ada in response.context["cl"].result_list) is found

    def test_the_list_takes_as_many_queries_for_one_as_for_a_page(
        self, admin_client, ada, django_assert_num_queries
    ):
        url = reverse("admin:crm_profile_changelist")
        admin_client.get(url)
        with django_assert_num_queries(5):  # session, user, estimate, count, rows
            admin_client.get(url)
        Profile.objects.bulk_create([Profile(first_name=f"P{n}") for n in range(24)])
        with django_assert_num_queries(5):
            assert len(admin_client.get(url).context["cl"].result_list) == 25

    def edit(self, client, profile, **changes):
        url = reverse("admin:crm_profile_change", args=[profile.pk]) + "?edit=1"
        form = client.get(url).context["adminform"].form
        data = {name: form.initial.get(name) or "" for name in form.fields}
        return client.post(url, data | changes)

    def test_a_correction_is_normalised_and_moves_the_identifier(self, admin_client, ada):
        response = self.edit(
            admin_client, ada, email="Ada.New@Example.com", country="Poland", birthday="1990-12-10"
        )
        assert response["Location"] == reverse("admin:crm_profile_change", args=[ada.pk])
        ada.refresh_from_db()
        assert (ada.email, ada.country, str(ada.birthday), ada.first_name) == (
            "ada.new@example.com",
            "PL",
            "1990-12-10",
            "Ada",
        )
        assert set(ada.identifiers.values_list("value", flat=True)) == {"ada.new@example.com", "C-1"}

    @pytest.mark.parametrize(
        ("field", "value"), [("email", "nonsense"), ("email", "bo@example.com"), ("country", "Nowhere")]
    )
    def test_a_wrong_correction_is_explained_at_its_field(self, admin_client, ada, field, value):
        identity.resolve([identity.Reference(email="bo@example.com")])
        response = self.edit(admin_client, ada, **{field: value})
        assert response.status_code == 200
        assert response.context["adminform"].form.errors[field]
        ada.refresh_from_db()
        assert (ada.email, ada.country) == ("ada@example.com", "GB")

    def test_viewers_can_not_edit(self, client, ada):
        user(client, "view_profile")
        url = reverse("admin:crm_profile_change", args=[ada.pk])
        assert "edit=1" not in client.get(url).content.decode()
        assert client.post(f"{url}?edit=1", {"first_name": "Eve"}).status_code == 403
        ada.refresh_from_db()
        assert ada.first_name == "Ada"

    def test_adding(self, admin_client, db):
        response = admin_client.post(
            reverse("admin:crm_profile_add"), {"email": "New@Example.com", "first_name": "New"}
        )
        assert response.status_code == 302
        assert Profile.objects.get(email="new@example.com").identifiers.get().kind == "email"

    def test_nobody_deletes(self, admin_client, ada):
        assert (
            admin_client.post(reverse("admin:crm_profile_delete", args=[ada.pk]), {"post": "yes"}).status_code
            == 403
        )

    @pytest.mark.parametrize(
        ("name", "letters"), [("Ada Byron", "AB"), ("ada@example.com", "AE"), ("زينب", "ز"), ("", "")]
    )
    def test_initials(self, name, letters):
        assert initials(name) == letters


class TestEvents:
    def test_the_list_filters_by_name_and_day(self, admin_client, everything):
        url = reverse("admin:crm_event_changelist")

        def names(**query):
            return [event.name for event in admin_client.get(url, query).context["cl"].result_list]

        assert names() == ["consent_changed", "purchase"]
        assert names(event="purchase") == ["purchase"]
        assert names(event="purch") == []
        assert names(occurred_at_from="2026-11-02") == names(occurred_at_to="2026-10-31") == []
        assert len(names(occurred_at_from="2026-11-01", occurred_at_to="2026-11-01")) == 2
        assert len(names(occurred_at_from="yesterday", occurred_at_to="9999-12-31")) == 2
        assert names(profile__exact=everything.pk) == ["consent_changed", "purchase"]

    def test_properties_are_shown_escaped(self, admin_client, everything):
        event = Event.objects.get(name="purchase")
        html = admin_client.get(reverse("admin:crm_event_change", args=[event.pk])).content.decode()
        assert "&quot;total&quot;: 5" in html
        assert "<b>" not in re.search(r'<pre class="nudge-json".*?</pre>', html, re.S)[0]

    def test_nobody_changes_history(self, admin_client, everything):
        event = Event.objects.first()
        for action in ("change", "delete"):
            response = admin_client.post(
                reverse(f"admin:crm_event_{action}", args=[event.pk]), {"post": "yes"}
            )
            assert response.status_code == 403


class TestApiKeys:
    def test_a_new_key_is_shown_once_and_works(self, admin_client):
        response = admin_client.post(
            reverse("admin:crm_apikey_add"),
            {
                "name": "shop",
                "scopes": ["browser"],
                "allowed_origins": "https://a.example\nhttps://b.example/",
            },
        )
        text = re.search(r'data-testid="api-key">(.*?)<', response.content.decode())[1]
        key = api_keys.find(text)
        assert key.allowed_origins == ["https://a.example", "https://b.example"]
        assert "no-store" in response["Cache-Control"]
        for url in (
            reverse("admin:crm_apikey_change", args=[key.pk]),
            reverse("admin:crm_apikey_changelist"),
        ):
            assert text not in admin_client.get(url).content.decode()

    @pytest.mark.parametrize(
        "data",
        [
            {"name": "", "scopes": ["read"]},
            {"name": "x", "scopes": []},
            {"name": "x", "scopes": ["browser", "read"]},
            {"name": "x", "scopes": ["browser"], "allowed_origins": "shop"},
            {"name": "x", "scopes": ["browser"], "allowed_origins": " "},
            {"name": "taken", "scopes": ["read"]},
        ],
    )
    def test_wrong_input(self, admin_client, data):
        api_keys.create("taken", ["read"])
        response = admin_client.post(reverse("admin:crm_apikey_add"), data)
        assert response.status_code == 200
        assert response.context["form"].errors
        assert ApiKey.objects.count() == 1

    def test_revoking_asks_first(self, admin_client, db):
        key, text = api_keys.create("shop", ["read"])
        url = reverse("admin:crm_apikey_revoke", args=[key.pk])
        assert "Revoke this key?" in admin_client.get(url).content.decode()
        assert api_keys.find(text)
        response = admin_client.post(url, {"_form_submitted": "on"}, HTTP_HX_REQUEST="true")
        assert response["HX-Redirect"] == reverse("admin:crm_apikey_changelist")
        assert api_keys.find(text) is None

    def test_viewers_can_not_revoke(self, client, db):
        key, text = api_keys.create("shop", ["read"])
        user(client, "view_apikey")
        url = reverse("admin:crm_apikey_revoke", args=[key.pk])
        assert client.post(url, {"_form_submitted": "on"}).status_code == 403
        assert api_keys.find(text)


class TestAlerts:
    def test_open_ones_come_first_and_can_be_resolved(self, admin_client, db):
        for key in ("old", "new"):
            alerts.raise_alert(key, key, "…")
        alerts.resolve("old")
        url = reverse("admin:crm_alert_changelist")
        assert [alert.key for alert in admin_client.get(url).context["cl"].result_list] == ["new", "old"]
        alert = Alert.objects.get(key="new")
        resolve = reverse("admin:crm_alert_resolve", args=[alert.pk])
        admin_client.get(resolve)
        assert Alert.objects.filter(resolved_at=None).count() == 1
        admin_client.post(resolve, {"_form_submitted": "on"})
        assert not Alert.objects.filter(resolved_at=None).exists()


class TestSuppressions:
    def test_added_in_normal_form_then_removed(self, admin_client):
        admin_client.post(
            reverse("admin:crm_suppression_add"),
            {"channel": "email", "address": " No@Example.com", "reason": "asked"},
        )
        row = Suppression.objects.get()
        assert (row.channel, row.address) == ("email", "no@example.com")
        admin_client.post(reverse("admin:crm_suppression_delete", args=[row.pk]), {"post": "yes"})
        assert not Suppression.objects.exists()


class TestOtherPages:
    @pytest.mark.parametrize(
        "page",
        [
            *("auth_user_changelist", "auth_user_add", "auth_group_changelist", "auth_group_add"),
            *("django_celery_beat_periodictask_changelist", "django_celery_beat_periodictask_add"),
            *("django_celery_beat_crontabschedule_add", "django_celery_beat_clockedschedule_add"),
            *("django_celery_beat_intervalschedule_add", "django_celery_beat_solarschedule_add"),
        ],
    )
    def test_open(self, admin_client, page):
        assert admin_client.get(reverse(f"admin:{page}")).status_code == 200

    def test_only_the_demo_says_so(self, admin_client, settings):
        url = reverse("admin:crm_alert_changelist")
        assert "Demo" not in admin_client.get(url).content.decode()
        settings.NUDGE_DEMO = True
        assert "Demo" in admin_client.get(url).content.decode()

    def test_the_language_can_be_chosen(self, admin_client):
        url = reverse("admin:crm_alert_changelist")
        admin_client.post(reverse("set_language"), {"language": "ar", "next": url})
        assert 'dir="rtl"' in admin_client.get(url).content.decode()


class TestTitlesAndEmptyLists:
    @pytest.mark.parametrize(
        ("page", "path"),
        [
            ("campaigns_segment", ["Audience", "Segments"]),
            ("delivery_message", ["Messages", "Templates"]),
            ("crm_apikey", ["Settings", "API keys"]),
            ("auth_group", ["Settings", "Roles"]),
        ],
    )
    def test_a_page_is_named_as_in_the_menu(self, admin_client, page, path):
        text = admin_client.get(reverse(f"admin:{page}_changelist")).content.decode()
        heading = re.sub(r"<[^>]*>", "\n", re.search(r"<h1.*?</h1>", text, re.S)[0])
        assert [word for word in heading.split() if word != "chevron_right"] == " ".join(path).split()

    def test_an_empty_list_tells_what_to_do_and_a_filtered_one_how_to_see_all(self, admin_client):
        text = admin_client.get(reverse("admin:crm_apikey_changelist")).content.decode()
        assert "No API keys yet" in text
        assert "A website needs a public key" in text
        text = admin_client.get(reverse("admin:crm_profile_changelist"), {"q": "nobody"}).content.decode()
        assert "Nothing matches" in text
        assert "0 results" in text

    def test_a_person_needs_something_to_be_known_by(self, admin_client):
        answer = admin_client.post(reverse("admin:crm_profile_add"), {"first_name": "Ada"})
        assert "Give an email, a phone or a customer number" in answer.content.decode()
        assert not Profile.objects.exists()

    def test_a_suppression_needs_a_channel_that_exists(self, admin_client):
        data = {"channel": "telepathy", "address": "a@example.com", "reason": "asked"}
        assert admin_client.post(reverse("admin:crm_suppression_add"), data).status_code == 200
        assert not Suppression.objects.exists()

    def test_a_public_key_comes_with_the_snippet(self, admin_client, settings):
        settings.NUDGE_PUBLIC_URL = "https://nudge.example.com"
        data = {"name": "shop", "scopes": ["browser"], "allowed_origins": "https://shop.example.com"}
        text = admin_client.post(reverse("admin:crm_apikey_add"), data).content.decode()
        assert re.search(r'src="https://nudge.example.com/sdk/nudge.js" data-key="pk_[\w-]+"', text)

    @pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/admin/crm/event/add/", 403)])
    def test_an_error_is_a_page_that_leads_home(self, admin_client, path, status):
        answer = admin_client.get(path)
        assert answer.status_code == status
        assert '<a href="/">' in answer.content.decode()


class TestPaginator:
    def test_small_and_filtered_lists_are_counted(self, ada):
        assert EstimatedCountPaginator(Profile.objects.order_by("pk"), 25).count == 1
        assert EstimatedCountPaginator(Profile.objects.filter(country="PL").order_by("pk"), 25).count == 0

    def test_a_big_table_is_estimated_and_its_pages_end(self, ada, monkeypatch):
        monkeypatch.setattr("crm.admin.paginator._estimate", lambda table: 5_000_000)
        paginator = EstimatedCountPaginator(Profile.objects.order_by("pk"), 25)
        assert (paginator.count, paginator.num_pages) == (5_000_000, 400)
        assert (
            EstimatedCountPaginator(Profile.objects.filter(country="GB").order_by("pk"), 25).count == 1 < CAP
        )

    def test_partitions_count_together(self, everything):
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE crm_event")
        assert _estimate("crm_event") == 2


def test_searching_uses_indexes_only(ada):
    """Each part of the OR needs one, or PostgreSQL reads the whole table."""
    query, _ = site._registry[Profile].get_search_results(None, Profile.objects.order_by(), "ada byron")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = query.explain()
    assert "Seq Scan" not in plan
    assert plan.count("profile_search_") >= 3


@pytest.mark.parametrize(
    "model_admin",
    [model_admin for model, model_admin in site._registry.items() if model._meta.app_label == "crm"],
    ids=str,
)
def test_system_checks_need_no_database(model_admin):
    """`manage.py migrate` runs them before there is a single table."""
    assert model_admin.check() == []


@pytest.mark.django_db
def test_an_alerts_page_shows_its_state_in_words(admin_client):
    alerts.raise_alert("a", "Push is refused", "Look at the keys.")
    page = admin_client.get(reverse("admin:crm_alert_change", args=[Alert.objects.get().pk])).content.decode()
    assert "(&#x27;open&#x27;" not in page
