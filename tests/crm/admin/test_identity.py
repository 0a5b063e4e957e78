"""Rules, possible duplicates, joining and parting people in the admin."""

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from crm import identity_rules, merging, profiles
from crm.identity import Reference, resolve
from crm.models import AuditEntry, Identifier, IdentityConflict, IdentityRules, Profile, ProfileMerge

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
RULES = {
    "place_crm_id": 1,
    "place_external_id": 2,
    "place_email": 3,
    "place_phone": 4,
    "external_id": "any",
    "email": "proven",
    "phone": "alone",
    "visitors": "proof",
}


@pytest.fixture(autouse=True)
def _rules_again():
    yield
    identity_rules._held.clear()


@pytest.fixture
def joiner(staff):
    return staff(
        "view_profile", "merge_profile", "view_identityconflict", "view_profilemerge", "view_contact_data"
    )


@pytest.fixture
def two():
    """Ann by customer number, Bob by email; somebody says they are one."""
    ann, bob = resolve([Reference(external_id="A"), Reference(email="bob@x.com")], NOW)
    profiles.upsert([profiles.Row("id", str(bob), profiles.validate({"city": "Oslo"}))], "api", NOW)
    profiles.upsert([profiles.Row("external_id", "A", profiles.validate({"email": "bob@x.com"}))], "api", NOW)
    return ann, bob


class TestRules:
    def test_they_are_changed_and_hold_at_once(self, staff):
        client = staff("view_identityrules", "change_identityrules")
        url = reverse("admin:crm_identityrules_changelist")
        assert client.post(url, RULES).status_code == 302
        assert (IdentityRules.objects.get().email, identity_rules.renew().visitors_need_proof) == (
            "proven",
            True,
        )
        page = client.get(url).content.decode()
        assert '<option value="proven" selected>' in page

    def test_two_in_one_place_are_refused(self, staff):
        client = staff("view_identityrules", "change_identityrules")
        page = client.post(reverse("admin:crm_identityrules_changelist"), {**RULES, "place_phone": 1})
        assert "have the same place" in page.content.decode()
        assert not IdentityRules.objects.exists()

    def test_who_may_only_look_changes_nothing(self, staff):
        url = reverse("admin:crm_identityrules_changelist")
        assert staff("view_identityrules").post(url, RULES).status_code == 403
        assert staff().get(url).status_code == 403


class TestPossibleDuplicates:
    def test_one_row_for_a_pair_is_shown_side_by_side(self, joiner, two, django_assert_max_num_queries):
        row = IdentityConflict.objects.get()
        assert (row.first_id, row.second_id, row.names, row.proven) == (*two, [["email", "bob@x.com"]], True)
        with django_assert_max_num_queries(8):
            listed = joiner.get(reverse("admin:crm_identityconflict_changelist")).content.decode()
        assert "bob@x.com" in listed
        page = joiner.get(reverse("admin:crm_identityconflict_change", args=[row.pk])).content.decode()
        assert "Oslo" in page

    def test_the_chosen_one_survives(self, joiner, two):
        row = IdentityConflict.objects.get()
        url = reverse("admin:crm_identityconflict_change", args=[row.pk])
        assert joiner.post(url, {"decision": "join", "keep": two[1]}).status_code == 302
        person = Profile.objects.get()
        assert (person.pk, person.external_id, person.email, person.city) == (
            two[1],
            "A",
            "bob@x.com",
            "Oslo",
        )
        row.refresh_from_db()
        assert row.state == "joined"
        assert AuditEntry.objects.filter(action="profile.merged", object_id=str(two[1])).exists()

    def test_who_is_kept_apart_is_not_asked_about_again(self, joiner, two):
        row = IdentityConflict.objects.get()
        joiner.post(reverse("admin:crm_identityconflict_change", args=[row.pk]), {"decision": "apart"})
        profiles.upsert([profiles.Row("external_id", "A", profiles.validate({"email": "bob@x.com"}))], "api")
        row.refresh_from_db()
        assert row.state == "apart"
        assert row.decided_by.startswith("user")
        assert (
            "bob@x.com" not in joiner.get(reverse("admin:crm_identityconflict_changelist")).content.decode()
        )

    def test_many_at_once(self, joiner, two):
        [third] = resolve([Reference(external_id="C")])
        profiles.upsert([profiles.Row("external_id", "C", profiles.validate({"email": "bob@x.com"}))], "api")
        url = reverse("admin:crm_identityconflict_changelist")
        rows = list(IdentityConflict.objects.values_list("pk", flat=True))
        assert len(rows) == 2
        joiner.post(url, {"action": "join_chosen", "_selected_action": rows})
        assert Profile.objects.get().pk == two[0]
        assert third in ProfileMerge.objects.values_list("loser_id", flat=True)

    def test_nobody_else_decides(self, staff, two):
        url = reverse("admin:crm_identityconflict_change", args=[IdentityConflict.objects.get().pk])
        assert (
            staff("view_identityconflict", "view_profile").post(url, {"decision": "join"}).status_code == 403
        )
        assert staff("view_profile", "merge_profile").get(url).status_code == 403


class TestJoiningAndParting:
    def test_from_search_to_undo(self, joiner, two):
        ann, bob = two
        url = reverse("admin:crm_profile_merge", args=[ann])
        assert f"?other={bob}" in joiner.get(url, {"q": "bob@x.com"}).content.decode()
        assert "Oslo" in joiner.get(url, {"other": bob}).content.decode()
        assert joiner.post(url, {"other": bob, "keep": ann}).status_code == 302
        [merge] = ProfileMerge.objects.all()
        for page in ("admin:crm_profilemerge_changelist", "admin:crm_profile_change"):
            with CaptureQueriesContext(connection) as asked:
                shown = joiner.get(reverse(page, args=[ann] if page.endswith("change") else []))
            assert reverse("admin:crm_profile_unmerge", args=[merge.pk]) in shown.content.decode()
            assert '"snapshot"' not in str(asked.captured_queries)  # a merge of many events is megabytes
        undo = reverse("admin:crm_profile_unmerge", args=[merge.pk])
        page = joiner.get(undo).content.decode()
        assert "bob@x.com" in page
        assert "Oslo" in page
        assert joiner.post(undo).headers["Location"] == reverse("admin:crm_profile_change", args=[bob])
        assert Identifier.objects.get(kind="email").profile_id == bob
        assert Profile.objects.get(pk=ann).city is None
        assert "no longer there" in joiner.get(undo).content.decode()

    def test_whoever_sees_no_addresses_does_not_find_people_by_them_nor_spoil_them(self, staff, two):
        ann, bob = two
        client = staff("view_profile", "merge_profile")
        url = reverse("admin:crm_profile_merge", args=[ann])
        assert f"?other={bob}" not in client.get(url, {"q": "bob@x.com"}).content.decode()
        assert "bob@x.com" not in client.get(url, {"other": bob}).content.decode()
        client.post(url, {"other": bob, "keep": ann})
        assert Profile.objects.get().email == "bob@x.com"

    def test_permission(self, staff, two):
        client = staff("view_profile", "change_profile")
        assert client.get(reverse("admin:crm_profile_merge", args=[two[0]])).status_code == 403
        merging.merge([two], "admin")
        undo = reverse("admin:crm_profile_unmerge", args=[ProfileMerge.objects.get().pk])
        assert client.post(undo).status_code == 403
        assert Profile.objects.count() == 1
