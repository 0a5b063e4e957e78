"""When a CRM makes one person of two, so do we, whoever tells it and in whatever order."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from crm.connectors.base import Record
from crm.models import Consent, Identifier, Profile, ProfileMerge, SourceRecord, SyncReject
from crm.sync import merges
from crm.sync.engine import run


@pytest.fixture
def synced(connection):
    run(connection)
    return connection


def owner(record_id):
    return Profile.objects.filter(identifiers__kind="crm:people", identifiers__value=record_id).first()


def row(record_id):
    return SourceRecord.objects.get(record_id=record_id)


def merge(crm, loser, winner, tell, told=True):
    """Merge in the CRM; `tell` says on which of the two."""
    crm.people.pop(loser, None)
    crm.now += timedelta(seconds=1)
    if told and tell == "loser":
        crm.feed.append(Record(loser, crm.now, {}, deleted=True, merged_into=winner))
    held = crm.people[winner]
    crm.put(winner, absorbed=(*held.absorbed, loser) if tell == "winner" else ())


@pytest.fixture(params=["loser", "winner"])
def tell(request):
    return request.param


class TestBothKnown:
    def test_the_loser_becomes_the_winner(self, crm, synced, tell):
        loser, winner = owner("1"), owner("2")
        merge(crm, "1", "2", tell)
        report = run(synced)
        assert (report.merged, report.deleted, report.held) == (1, 0, 0)
        assert (row("1").state, row("1").merged_into, row("2").state) == ("merged", "2", "live")
        assert (owner("1"), owner("2")) == (None, winner)
        assert ProfileMerge.objects.get().loser_id == loser.pk
        assert Identifier.objects.get(kind="email", value="p1@example.com").profile == winner

    def test_told_again_it_changes_nothing(self, crm, synced, tell):
        merge(crm, "1", "2", tell)
        run(synced)
        crm.put("2", city="Oslo")
        report = run(synced, "full")
        assert (report.merged, report.updated, Profile.objects.count()) == (0, 1, 39)

    def test_the_losers_late_words_change_nothing(self, crm, synced, tell):
        merge(crm, "1", "2", tell)
        run(synced)
        late = Record("1", row("1").modified_at - timedelta(minutes=1), {"email": "p1@example.com"})
        crm.feed += [late, Record("1", crm.now + timedelta(minutes=1), {}, deleted=True)]
        report = run(synced)
        assert (report.created, report.deleted, row("1").state) == (0, 0, "merged")
        assert Profile.objects.count() == 39

    def test_a_loser_that_somebody_takes_out_of_the_recycle_bin_is_a_record_again(self, crm, synced):
        """Salesforce's undelete. Its address stays with the winner, so that is for a person to settle."""
        merge(crm, "1", "2", "loser")
        merge(crm, "3", "4", "loser")
        run(synced)
        crm.put("1", email="new1@example.com", name="P1", city="Oslo")
        crm.put("3", email="p3@example.com", name="P3", city="Rome")
        run(synced, sweep=True)
        assert (row("1").state, owner("1").city) == ("live", "Oslo")
        assert owner("1") != owner("2")
        assert SyncReject.objects.get().record_id == "3"

    def test_a_chain_and_a_merge_of_merges(self, crm, synced, tell):
        merge(crm, "1", "2", tell)
        merge(crm, "2", "3", tell)
        run(synced)
        merge(crm, "4", "5", tell)
        run(synced)
        merge(crm, "5", "3", tell)
        run(synced)
        assert Profile.objects.count() == 36
        assert [row(name).state for name in ("1", "2", "4", "5", "3")] == ["merged"] * 4 + ["live"]
        assert owner("3").identifiers.filter(kind="email").count() == 5

    def test_the_winners_answer_counts_and_not_the_losers(self, crm, synced, tell):
        crm.put("2", push=False)
        crm.put("1", push=True)
        run(synced)
        merge(crm, "1", "2", tell)
        run(synced)
        assert Consent.objects.get(profile=owner("2")).state == "unsubscribed"

    def test_a_circle_of_merges_is_left_alone(self, crm, synced):
        crm.feed += [
            Record("1", crm.now, {}, deleted=True, merged_into="2"),
            Record("2", crm.now, {}, deleted=True, merged_into="1"),
        ]
        assert run(synced).merged == 0


class TestOutOfOrder:
    def test_a_winner_that_is_not_here_yet_inherits_the_profile(self, crm, synced):
        profile = owner("1")
        crm.people.pop("1")
        crm.feed.append(Record("1", crm.now, {}, deleted=True, merged_into="new"))
        run(synced)
        crm.put("new", email="new@example.com")
        report = run(synced)
        assert (report.created, owner("new")) == (0, profile)

    def test_a_loser_that_was_deleted_before_is_merged_all_the_same(self, crm, synced, tell):
        crm.delete("1")
        run(synced)
        assert row("1").state == "deleted"
        merge(crm, "1", "2", tell)
        assert run(synced).merged == 1
        assert (row("1").state, Profile.objects.count()) == ("merged", 39)

    def test_a_loser_never_seen_stays_away(self, crm, synced):
        """A lagging index may still show it."""
        crm.put("2", absorbed=("ghost",))
        run(synced)
        crm.feed.append(Record("ghost", crm.now - timedelta(hours=1), {"email": "g@example.com"}))
        assert run(synced).created == 0

    def test_merged_into_a_deleted_record_is_deleted(self, crm, synced):
        crm.put("1", push=True)
        run(synced)
        crm.delete("2")
        run(synced)
        crm.people.pop("1")
        crm.feed.append(Record("1", crm.now, {}, deleted=True, merged_into="2"))
        run(synced)
        assert {owner("1"), owner("2")} == {None}
        assert Consent.objects.get().state == "unsubscribed"

    def test_merged_into_an_erased_person_is_erased(self, crm, synced):
        crm.delete("2", erased=True)
        run(synced)
        crm.people.pop("1")
        crm.feed.append(Record("1", crm.now, {}, deleted=True, merged_into="2"))
        run(synced)
        assert not Profile.objects.filter(email__in=["p1@example.com", "p2@example.com"]).exists()


@pytest.mark.parametrize("tell_winner", [True, False])
def test_the_number_of_statements_does_not_grow(crm, synced, tell_winner):
    def count(pairs):
        records = [
            Record(winner, crm.now, {}, absorbed=(loser,))
            if tell_winner
            else Record(loser, crm.now, {}, deleted=True, merged_into=winner)
            for loser, winner in pairs
        ]
        with CaptureQueriesContext(database) as queries:
            assert merges.follow(synced, "people", "crm:people", records, crm.now) == len(pairs)
        return len(queries)

    count([("1", "2")])  # the log gets its partition
    assert count([("3", "4")]) == count([(str(n), str(n + 1)) for n in range(11, 31, 2)])
