"""Whom names lead to under other rules than the usual ones, and what proofs change."""

from datetime import UTC, datetime, timedelta

import pytest

from crm import conflicts, identity, identity_rules, merging, profiles, traits, unmerging
from crm.identity import Reference, resolve
from crm.models import Consent, Event, Identifier, IdentityConflict, Profile, ProfileMerge
from crm.unmerging import NotUndoable

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CRM = "shop:contacts"


@pytest.fixture(autouse=True)
def _rules_again():
    yield
    identity_rules._held.clear()


def upsert(kind, value, source="api", **fields):
    [outcome] = profiles.upsert([profiles.Row(kind, value, profiles.validate(fields))], source, NOW).outcomes
    return outcome


def said(proven=True, **names):
    reference = Reference(**names)
    [person] = resolve([reference], NOW, proven=[reference] if proven else [])
    return person


class TestProofs:
    def test_what_a_browser_claims_is_marked_until_somebody_proves_it(self):
        ann = said(False, email="ann@x.com")
        name = Identifier.objects.get(kind="email")
        assert not name.verified
        assert said(email="ann@x.com") == ann
        name.refresh_from_db()
        assert name.verified

    def test_a_crm_proves_the_names_it_tells(self):
        said(False, email="ann@x.com")
        upsert(CRM, "1", email="ann@x.com", external_id="A")
        assert not Identifier.objects.filter(verified=False).exists()

    def test_a_claimed_email_finds_nobody_and_gives_way_to_a_proven_one(self):
        identity_rules.change(email="proven")
        thief = said(False, email="ann@x.com", anonymous_id="t")
        assert said(False, email="ann@x.com", anonymous_id="other") != thief
        ann = said(email="ann@x.com", anonymous_id="a")
        assert ann != thief
        assert Profile.objects.get(pk=thief).email is None
        assert Identifier.objects.get(kind="email").profile_id == ann
        assert said(False, email="ann@x.com", anonymous_id="t") == thief

    def test_a_crm_takes_a_name_that_was_only_claimed(self):
        identity_rules.change(email="proven")
        thief = said(False, email="ann@x.com", anonymous_id="t")
        ann = upsert(CRM, "1", email="ann@x.com").profile_id
        assert ann != thief
        assert dict(Profile.objects.values_list("pk", "email")) == {thief: None, ann: "ann@x.com"}

    def test_claims_that_lead_nowhere_are_collected(self):
        identity_rules.change(email="proven")
        ann = said(email="ann@x.com")
        one, again = said(False, email="ann@x.com"), said(False, email="ann@x.com")
        assert one == again != ann

    def test_visitors_wait_for_a_proof_if_the_rules_say_so(self):
        identity_rules.change(visitors="proof")
        ann, visitor = said(email="ann@x.com"), said(False, anonymous_id="v")
        assert said(False, email="ann@x.com", anonymous_id="v") == ann
        assert said(False, anonymous_id="v") == visitor
        assert said(email="ann@x.com", anonymous_id="v") == ann
        assert said(False, anonymous_id="v") == ann


class TestOrder:
    def test_the_first_kind_counts_most(self):
        ann, bob = said(external_id="A"), said(email="bob@x.com")
        assert said(external_id="A", email="bob@x.com") == ann
        identity_rules.change(order=["email", "crm_id", "external_id", "phone"])
        assert said(external_id="A", email="bob@x.com") == bob

    def test_a_record_moves_to_whom_a_surer_name_means(self):
        record = upsert(CRM, "1", city="Oslo").profile_id
        ann = said(external_id="A")
        assert upsert(CRM, "1", external_id="A").code == "external_id_taken"
        identity_rules.change(order=["external_id", "crm_id", "email", "phone"])
        assert upsert(CRM, "1", external_id="A").profile_id == ann
        assert Identifier.objects.get(kind=CRM).profile_id == ann
        row = IdentityConflict.objects.get()
        assert (row.first_id, row.second_id, row.source) == (record, ann, CRM)

    def test_shared_names_find_nobody(self):
        identity_rules.change(email="never")
        ann = upsert("external_id", "A", email="family@x.com").profile_id
        bob = upsert("external_id", "B", email="family@x.com").profile_id
        assert ann != bob
        assert set(Profile.objects.values_list("email", flat=True)) == {"family@x.com"}
        assert upsert("email", "family@x.com", city="Oslo").code == "not_a_key"
        assert said(external_id="B", email="family@x.com") == bob
        assert not IdentityConflict.objects.exists()

    def test_a_phone_finds_nobody_beside_other_names(self):
        ann = said(phone="+48601234567")
        assert said(phone="+48601234567") == ann
        assert said(phone="+48601234567", email="bob@x.com") != ann
        identity_rules.change(phone="any")
        assert said(phone="+48601234567", email="cleo@x.com") == ann


class TestConflicts:
    def test_one_row_for_a_pair_in_few_statements(self, django_assert_max_num_queries):
        people = [said(external_id=str(n)) for n in range(20)] + [said(email=f"{n}@x.com") for n in range(20)]
        both = [Reference(external_id=str(n), email=f"{n}@x.com") for n in range(20)]
        with django_assert_max_num_queries(9):
            assert resolve(both, NOW) == people[:20]
        resolve(both, NOW)
        resolve(both, NOW + timedelta(hours=1))
        assert set(IdentityConflict.objects.values_list("seen", "state")) == {(2, "open")}
        assert IdentityConflict.objects.count() == 20

    def test_a_visitor_who_was_parted_is_not_joined_again(self):
        visitor, ann = said(False, anonymous_id="v"), said(email="ann@x.com")
        said(False, anonymous_id="v", email="ann@x.com")
        unmerging.undo(ProfileMerge.objects.get().pk, NOW)
        assert said(False, anonymous_id="v", email="ann@x.com") == ann
        assert said(False, anonymous_id="v") == visitor

    def test_pairs_follow_merges(self):
        ann, bob, cleo = said(external_id="A"), said(email="b@x.com"), said(external_id="C")
        conflicts.keep_apart([(ann, bob)], "me")
        merging.merge([(bob, cleo)], "admin")
        assert conflicts.apart([ann, cleo]) == {(ann, cleo)}


class TestMergedNumbers:
    def test_they_lead_to_the_winner(self):
        bob, ann = said(external_id="B"), said(external_id="A")
        merging.merge([(bob, ann)], "admin")
        assert resolve([Reference(id=bob)]) == [ann]
        assert identity.existing_ids([bob, ann]) == {ann, bob}
        assert upsert("id", str(bob), city="Oslo").profile_id == ann


class TestUndoing:
    def test_only_the_last_and_only_what_was_written_down(self):
        one, two, ann = said(external_id="1"), said(external_id="2"), said(external_id="A")
        merging.merge([(one, ann)], "admin")
        merging.merge([(two, ann)], "admin")
        first, second = ProfileMerge.objects.order_by("pk")
        with pytest.raises(NotUndoable):
            unmerging.undo(first.pk)
        unmerging.undo(second.pk)
        ProfileMerge.objects.update(moved=None)
        with pytest.raises(NotUndoable):
            unmerging.undo(first.pk)
        assert unmerging.last(ann) is None

    def test_what_came_since_stays_and_what_changed_hands_is_told(self):
        bob, ann = said(email="bob@x.com"), said(external_id="A")
        upsert("id", str(bob), city="Oslo", first_name="Bob")
        merging.merge([(bob, ann)], "admin", NOW)
        upsert("id", str(ann), city="Rome", email="ann@x.com")
        undone = unmerging.undo(unmerging.last(ann).pk, NOW)
        assert undone.lost == [("email", "bob@x.com")]
        people = {row.pk: row for row in Profile.objects.all()}
        assert (people[ann].city, people[ann].first_name, people[ann].email) == ("Rome", None, "ann@x.com")
        assert (people[bob].city, people[bob].first_name, people[bob].email) == ("Oslo", "Bob", None)
        assert set(Event.objects.filter(name="profile_unmerged").values_list("profile_id", flat=True)) == {
            ann,
            bob,
        }

    def test_a_no_said_since_counts_for_both(self):
        from crm import consent

        bob, ann = said(email="bob@x.com"), said(external_id="A")
        consent.record([consent.Change(bob, "channel", "webpush", "subscribed", "sdk", NOW)])
        merging.merge([(bob, ann)], "admin", NOW)
        later = NOW + timedelta(days=1)
        consent.record([consent.Change(ann, "channel", "webpush", "unsubscribed", "person", later)])
        unmerging.undo(unmerging.last(ann).pk, later)
        assert set(Consent.objects.values_list("profile_id", "state")) == {
            (ann, "unsubscribed"),
            (bob, "unsubscribed"),
        }


class TestSources:
    def test_each_field_says_who_told_it_last(self):
        pk = upsert(CRM, "1", email="ann@x.com", city="Oslo", attributes={"plan": "gold"}).profile_id
        upsert("id", str(pk), source="admin", city="Rome")
        traits.fill_gaps([(pk, {"city": "Bergen", "country": "NO"})], now=NOW)
        profile = Profile.objects.get()
        told = {name: source for name, (source, at) in profile.sources.items()}
        assert told == {"email": CRM, "city": "admin", "attributes.plan": CRM, "country": "sdk"}
        assert {at for _source, at in profile.sources.values()} == {NOW.isoformat()}

    def test_a_merge_brings_those_of_what_it_fills(self):
        bob, ann = said(email="bob@x.com"), said(external_id="A")
        upsert("id", str(bob), source="admin", city="Oslo")
        upsert("id", str(ann), source="api", first_name="Ann")
        merging.merge([(bob, ann)], "admin", NOW)
        told = {name: source for name, (source, _at) in Profile.objects.get().sources.items()}
        assert told == {"external_id": "sdk", "email": "sdk", "city": "admin", "first_name": "api"}
        unmerging.undo(unmerging.last(ann).pk, NOW)
        assert set(Profile.objects.get(pk=ann).sources) == {"external_id", "first_name"}
