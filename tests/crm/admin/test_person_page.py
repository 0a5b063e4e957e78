"""The page of one person: what is known, and who told it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from crm import consent, identity
from crm.admin.profile_page import clock
from crm.models import (
    AuditEntry,
    Connection,
    LastLocation,
    PersonPlace,
    Place,
    Preference,
    Profile,
    ProfileMerge,
)

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def ada():
    Connection.objects.create(kind="salesforce", name="Sales", slug="sf")
    told = (timezone.now() - timedelta(days=3)).isoformat()
    person = Profile.objects.create(
        first_name="Ada",
        last_name="Byron",
        email="ada@example.com",
        phone="+48601234567",
        timezone="Asia/Tokyo",
        attributes={"plan": "gold", "vip": True},
        sources={"email": ["sf:contacts", told], "attributes.plan": ["api", told], "phone": "odd"},
    )
    person.identifiers.create(kind="email", value="ada@example.com", verified=True)
    person.identifiers.create(kind="sf:contacts", value="003A", verified=True)
    for number in range(20):
        person.identifiers.create(kind="anonymous_id", value=f"visitor-{number:02}")
    return person


def page(client, profile):
    return client.get(reverse("admin:crm_profile_change", args=[profile.pk])).content.decode()


def viewer(client, *codenames):
    user = User.objects.create_user("viewer", "", "pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


def fill(profile):
    place = Place.objects.create(slug="old-town", name="Old Town", latitude=1, longitude=1)
    LastLocation.objects.create(profile=profile, latitude=1, longitude=1, located_at=NOW, place=place)
    PersonPlace.objects.create(profile=profile, place=place, inside=True, entered_at=NOW)
    change = consent.Change(
        profile.pk,
        consent.CHANNEL,
        "webpush",
        consent.SUBSCRIBED,
        "sdk",
        NOW,
        wording="May we?",
        proof={"page": "https://shop.example/cart"},
    )
    consent.record([change])
    Preference.objects.create(
        profile=profile, quiet_from="22:00", quiet_to="07:00", changed_at=NOW, frequencies={"news": "weekly"}
    )


class TestWhatIsTold:
    def test_each_part_says_who_told_it(self, admin_client, ada):
        text = page(admin_client, ada)
        assert "Sales: contacts, 3\xa0days ago" in text
        assert "the API, 3\xa0days ago" in text
        assert text.count('class="profile-proven"') == 2
        assert "Sales: contacts" in text
        assert "10 more" in text, "of 22 names 12 are shown at once"

    def test_one_who_told_nearly_all_is_named_once(self, admin_client):
        told = ["api", timezone.now().isoformat()]
        names = ("email", "first_name", "last_name", "city")
        person = Profile.objects.create(**dict.fromkeys(names, "x"), sources=dict.fromkeys(names, told))
        text = page(admin_client, person)
        assert text.count("the API, now") == 1
        assert "unless another is named" in text

    def test_place_consent_proof_and_wishes(self, admin_client, ada):
        fill(ada)
        text = page(admin_client, ada)
        for words in ("Old Town", "there now", "May we?", "https://shop.example/cart", "Quiet from"):
            assert words in text, words

    def test_the_number_of_queries_does_not_depend_on_the_person(
        self, admin_client, ada, django_assert_num_queries
    ):
        page(admin_client, ada)
        with django_assert_num_queries(22, exact=False) as before:
            page(admin_client, ada)
        fill(ada)
        for number in range(5):
            loser = Profile.objects.create()
            identity.merge([(loser.pk, ada.pk)], "test")
            ada.devices.create(endpoint=f"https://push.example/{number}", p256dh="x", auth="x")
        with django_assert_num_queries(22, exact=False) as after:
            page(admin_client, ada)
        assert len(after) - len(before) <= 1  # the place that people are at

    def test_who_may_not_see_contacts_sees_outlines(self, client, ada):
        fill(ada)
        text = page(viewer(client, "view_profile"), ada)
        assert "ada@example.com" not in text
        assert "+48601234567" not in text
        assert "003A" not in text
        assert "Ada B." in text
        assert not {"Edit", "Erase", "Join with…"} & {line.strip() for line in text.split("</span>")}

    def test_looking_is_remembered_once(self, client, ada):
        user = viewer(client, "view_profile")
        page(user, ada)
        [entry] = AuditEntry.objects.filter(action="profile.viewed")
        assert (entry.object_id, entry.actor) == (str(ada.pk), "viewer")

    def test_merges_can_be_undone_by_those_who_may(self, admin_client, client, ada):
        loser = Profile.objects.create()
        identity.merge([(loser.pk, ada.pk)], "identified")
        merge = ProfileMerge.objects.get()
        assert reverse("admin:crm_profile_unmerge", args=[merge.pk]) in page(admin_client, ada)
        assert "/undo/" not in page(viewer(client, "view_profile"), ada)


class TestClock:
    @pytest.mark.parametrize(
        ("fields", "zone", "why"),
        [
            ({"timezone": "Asia/Tokyo", "country": "PL"}, "Asia/Tokyo", ""),
            (
                {"timezone": "Mars/Base", "latitude": 24.7, "longitude": 46.7},
                "Asia/Riyadh",
                "from where they were",
            ),
            ({"timezone": "Mars/Base", "country": "PL"}, "Europe/Warsaw", "from their country"),
            ({}, "UTC", "the account's, as theirs is not known"),
        ],
    )
    def test_the_zone_and_how_it_is_known(self, fields, zone, why):
        found = clock(Profile(**fields), NOW)
        assert (str(found.zone), found.why) == (zone, why)
        assert found.now == NOW

    def test_a_zone_that_is_none_breaks_no_page(self, admin_client):
        person = Profile.objects.create(first_name="Ada", timezone="Mars/Base")
        assert "UTC" in page(admin_client, person)
        assert admin_client.get(reverse("admin:profile_timeline", args=[person.pk])).status_code == 200
