"""Who is meant: against a naive model of the rules, and when many claim the same names at once."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import consent, identity, log, signals
from crm.identity import Reference, merge, resolve
from crm.models import Consent, ConsentChange, Device, Event, Identifier, Profile, ProfileMerge
from tests.crm.concurrently import chunks, run

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KNOWN = ("external_id", "email", "phone")

references = st.builds(
    Reference,
    external_id=st.sampled_from([None, None, "A", "B"]),
    email=st.sampled_from([None, None, "a@x.com", "b@x.com", "c@x.com"]),
    anonymous_id=st.sampled_from([None, "1", "2", "3"]),
).filter(lambda reference: reference.keys())


class Model:
    """The rules of crm.identity for one reference after the other: a person is a set of (kind, value)."""

    def __init__(self):
        self.people: list[set[tuple[str, str]]] = []

    def owner(self, key):
        return next((person for person in self.people if key in person), None)

    def resolve(self, reference):
        keys = reference.keys()
        target = self.surest(keys)
        if target is None:
            self.people.append(target := set())
        for key in keys:
            owner = self.owner(key)
            if owner is None:
                if key[0] not in KNOWN or key[0] not in dict(target):
                    target.add(key)
            elif owner is not target and not any(kind in KNOWN for kind, _ in owner):
                target |= owner
                self.people = [person for person in self.people if person is not owner]

    def surest(self, keys):
        unknown = {}
        for kind, value in keys:
            owner = self.owner((kind, value))
            if owner is None and kind in KNOWN:
                unknown[kind] = value
            elif owner is not None and all(dict(owner).get(k, v) == v for k, v in unknown.items()):
                return owner
        return None

    def partition(self):
        return sorted(sorted(person) for person in self.people if person)


def partition():
    people = {}
    for kind, value, profile in Identifier.objects.values_list("kind", "value", "profile_id"):
        people.setdefault(profile, []).append((kind, value))
    return sorted(sorted(keys) for keys in people.values())


def assert_columns_show_the_identifiers():
    for profile in Profile.objects.prefetch_related("identifiers"):
        names = {row.kind: row.value for row in profile.identifiers.all() if row.kind in KNOWN}
        assert {kind: getattr(profile, kind) for kind in KNOWN if getattr(profile, kind)} == names


@pytest.mark.django_db
class TestAgainstTheModel:
    @given(given_references=st.lists(references, min_size=1, max_size=12), size=st.integers(1, 12))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_batches_act_as_one_after_the_other(self, given_references, size):
        model = Model()
        for reference in given_references:
            model.resolve(reference)
        with transaction.atomic():
            for batch in chunks(given_references, size):
                ids = resolve(batch, NOW)
                assert len(ids) == len(batch)
                assert identity.existing_ids(ids) == set(ids)
            assert partition() == model.partition()
            assert_columns_show_the_identifiers()
            transaction.set_rollback(True)


@pytest.mark.django_db
class TestRules:
    def test_a_visitor_who_gives_an_email_becomes_that_person(self):
        [visitor] = resolve([Reference(anonymous_id="v")])
        assert resolve([Reference(anonymous_id="v", email="ann@example.com")]) == [visitor]
        assert Profile.objects.get().email == "ann@example.com"
        assert not ProfileMerge.objects.exists()

    def test_a_visitor_who_turns_out_to_be_known_is_merged(self):
        visitor, ann = resolve([Reference(anonymous_id="v"), Reference(email="ann@example.com")])
        assert resolve([Reference(anonymous_id="v", email="ann@example.com")]) == [ann]
        assert resolve([Reference(anonymous_id="v")]) == [ann]
        assert not Profile.objects.filter(pk=visitor).exists()
        assert ProfileMerge.objects.get().loser_id == visitor

    def test_two_known_people_stay_two(self):
        ann, bob = resolve([Reference(external_id="A"), Reference(email="bob@example.com")])
        assert resolve([Reference(external_id="A", email="bob@example.com")]) == [ann]
        assert Profile.objects.count() == 2
        assert Identifier.objects.get(kind="email").profile_id == bob

    def test_a_shared_computer_does_not_join_people(self):
        [ann] = resolve([Reference(email="ann@example.com", anonymous_id="pc")])
        [bob] = resolve([Reference(email="bob@example.com", anonymous_id="pc")])
        assert ann != bob
        assert resolve([Reference(anonymous_id="pc")]) == [ann]

    def test_a_profile_from_a_crm_is_not_anonymous(self):
        crm, ann = resolve([Reference(anonymous_id="v"), Reference(email="ann@example.com")])
        Identifier.objects.create(kind="hubspot:contacts", value="1", profile_id=crm)
        assert resolve([Reference(anonymous_id="v", email="ann@example.com")]) == [ann]
        assert Profile.objects.count() == 2

    def test_our_own_number_counts_most(self):
        ann, bob = resolve([Reference(external_id="A"), Reference(external_id="B")])
        assert resolve([Reference(id=bob, external_id="A")]) == [bob]
        with pytest.raises(identity.UnknownProfile):
            resolve([Reference(id=ann + bob)])

    def test_nothing_to_go_by(self):
        with pytest.raises(ValueError):
            resolve([Reference()])

    def test_queries_do_not_grow(self, django_assert_max_num_queries):
        resolve([Reference(anonymous_id="warm", email="warm@example.com")])
        with django_assert_max_num_queries(9):
            ids = resolve([Reference(anonymous_id=f"v{n}", email=f"p{n}@example.com") for n in range(500)])
        assert len(set(ids)) == 500


@pytest.mark.django_db
class TestMerge:
    def test_everything_moves_and_the_winners_own_data_stays(self):
        visitor, ann = resolve([Reference(anonymous_id="v"), Reference(email="ann@example.com")], NOW)
        Profile.objects.filter(pk=visitor).update(first_name="Anna", city="Oslo", attributes={"a": 1, "b": 1})
        Profile.objects.filter(pk=ann).update(first_name="Ann", attributes={"a": 2})
        Device.objects.create(profile_id=visitor, endpoint="https://push.example/1", p256dh="k", auth="a")
        log.append([log.NewEvent(log.event_id("x"), visitor, "looked", NOW, {}, "sdk")])
        for profile, state, at in ((visitor, "unsubscribed", NOW), (ann, "subscribed", NOW.replace(hour=11))):
            consent.record([consent.Change(profile, "channel", "webpush", state, "sdk", at)])
        heard = []
        signals.profiles_merging.connect(receiver := lambda pairs, **kwargs: heard.extend(pairs), weak=False)
        try:
            merge([(visitor, ann)], "by hand", NOW)
        finally:
            signals.profiles_merging.disconnect(receiver)
        profile = Profile.objects.get()
        assert heard == [(visitor, ann)]
        assert (profile.first_name, profile.city, profile.attributes) == ("Ann", "Oslo", {"a": 2, "b": 1})
        assert Device.objects.get().profile_id == ann
        assert Counter(Event.objects.filter(profile_id=ann).values_list("name", flat=True)) == {
            "looked": 1,
            "consent_changed": 2,
            "profile_merged": 1,
        }
        assert Consent.objects.get().state == "unsubscribed"
        assert ConsentChange.objects.filter(profile_id=ann).count() == 2
        snapshot = ProfileMerge.objects.get().snapshot
        assert (snapshot["first_name"], snapshot["identifiers"]) == ("Anna", [["anonymous_id", "v"]])

    @pytest.mark.parametrize("no_on_the_loser", [True, False])
    @pytest.mark.parametrize(
        ("own_yes", "crms", "state", "source"),
        [
            (None, "subscribed", "unsubscribed", "sdk"),
            (None, "unsubscribed", "unsubscribed", "sdk"),
            (13, "subscribed", "subscribed", "crm"),
            (13, "unsubscribed", "unsubscribed", "crm"),
        ],
    )
    def test_a_crms_later_answer_does_not_undo_a_persons_own_no(
        self, no_on_the_loser, own_yes, crms, state, source
    ):
        """A CRM's answer is as old as its record's last change, whatever that was; only the person takes a no back."""
        one, two, three = resolve([Reference(email=f"{n}@x.com") for n in range(3)])
        loser, winner = (one, two) if no_on_the_loser else (two, one)
        answers = [(one, "unsubscribed", "sdk", 12), (two, crms, "crm", 20)]
        if own_yes:
            answers.append((three, "subscribed", "form", own_yes))
        for profile, answer, who, hour in answers:
            change = consent.Change(profile, "channel", "webpush", answer, who, NOW.replace(hour=hour))
            consent.record([change])
        merge([(loser, winner), (three, winner)], "crm", NOW)
        held = Consent.objects.get()
        assert (held.profile_id, held.state, held.source) == (winner, state, source)

    def test_gaps_are_filled_from_all_who_are_merged_at_once(self):
        one, two, ann = resolve(
            [Reference(anonymous_id="1"), Reference(anonymous_id="2"), Reference(email="a@x.com")]
        )
        Profile.objects.filter(pk=one).update(city="Oslo", attributes={"a": 1})
        Profile.objects.filter(pk=two).update(first_name="Ann", attributes={"b": 1})
        merge([(one, ann), (two, ann)], "by hand")
        profile = Profile.objects.get()
        assert (profile.city, profile.first_name, profile.attributes) == ("Oslo", "Ann", {"a": 1, "b": 1})

    def test_a_merge_of_a_merge_leads_to_the_last(self):
        one, two, three = resolve([Reference(anonymous_id=str(n)) for n in range(3)])
        merge([(one, two)], "a")
        merge([(two, three)], "b")
        assert set(ProfileMerge.objects.values_list("winner_id", flat=True)) == {three}
        merge([(one, three)], "again")
        assert ProfileMerge.objects.count() == 2


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_new_people_are_created_once(self):
        batch = [Reference(email=f"p{n}@example.com", anonymous_id=f"v{n}") for n in range(40)]
        answers = run(
            *(
                lambda rows=rows: dict(zip(rows, resolve(rows), strict=True))
                for rows in (batch, batch[::-1]) * 3
            )
        )
        assert all(answer == answers[0] for answer in answers)
        assert Profile.objects.count() == 40
        assert Identifier.objects.count() == 80

    def test_one_visitor_who_logs_in_as_two_people_at_once(self):
        for n in range(10):
            [visitor] = resolve([Reference(anonymous_id=f"v{n}")])
            first, second = run(
                lambda n=n: resolve([Reference(anonymous_id=f"v{n}", email=f"ann{n}@example.com")]),
                lambda n=n: resolve([Reference(anonymous_id=f"v{n}", email=f"bob{n}@example.com")]),
            )
            assert first != second
            assert [visitor] in (first, second)
        assert_columns_show_the_identifiers()

    def test_visitors_are_merged_into_one_person_from_all_sides(self):
        resolve([Reference(email="ann@example.com"), *(Reference(anonymous_id=str(n)) for n in range(6))])
        run(
            *(
                lambda n=n: resolve(
                    [Reference(anonymous_id=str(n)), Reference(anonymous_id=str(n), email="ann@example.com")]
                )
                for n in range(6)
            )
        )
        assert Profile.objects.count() == 1
        assert ProfileMerge.objects.count() == 6
        assert Identifier.objects.count() == 7
