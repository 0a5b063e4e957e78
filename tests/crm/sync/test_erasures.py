"""Who is erased here is erased in the CRM too, if that was asked for, whatever happens in between."""

from datetime import timedelta

import pytest
from django.utils import timezone

from crm import privacy, tombstones
from crm.models import CrmErasure, ErasedName, Identifier, Profile, SourceRecord
from crm.sync import erasures
from crm.sync.engine import run
from tests.crm.sync.fake import FakeConnector

NOW = timezone.now()


@pytest.fixture
def people(crm, connection):
    """Five people of the CRM."""
    run(connection)
    return sorted(Profile.objects.filter(identifiers__kind="crm:people").values_list("pk", flat=True))[:5]


def test_only_what_was_asked_for_is_sent_and_in_batches(crm, connection, people):
    privacy.erase(people[:1], "request", NOW)
    privacy.erase(people[1:4], "request", NOW, crms=True)
    assert erasures.due(NOW) == [connection.pk]
    assert erasures.run(connection.pk, NOW) == 3
    assert sorted(crm.erased) == ["2", "3", "4"]
    assert erasures.due(NOW + timedelta(days=9)) == []
    assert set(CrmErasure.objects.values_list("state", flat=True)) == {"done"}
    # The CRM tells of them in its feed; nobody returns, and nothing is erased again.
    assert run(connection).created == 0
    assert SourceRecord.objects.filter(state="erased").count() == 4


def test_a_crm_that_is_down_is_asked_again_until_it_answers(crm, connection, people):
    privacy.erase(people[:1], "request", NOW, crms=True)
    crm.down = "The CRM is on holiday."
    at = NOW
    for _attempt in range(erasures.ATTEMPTS + 2):
        assert erasures.run(connection.pk, at) == 0
        row = CrmErasure.objects.get()
        assert (row.state, row.detail) == ("waiting", crm.down)
        assert at < row.due_at <= at + timedelta(hours=6)
        assert erasures.run(connection.pk, at) == 0  # too early
        at = row.due_at
    crm.down = ""
    assert erasures.run(connection.pk, at) == 1


def test_what_the_crm_refuses_is_given_up_told_and_can_be_tried_again(crm, connection, people):
    crm.refused = {"1"}
    privacy.erase(people[:2], "request", NOW, crms=True)
    at = NOW
    for _attempt in range(erasures.ATTEMPTS):
        erasures.run(connection.pk, at)
        at += timedelta(hours=7)
    failed = CrmErasure.objects.get(state="failed")
    assert (failed.record_id, failed.detail) == ("1", "It is locked.")
    assert CrmErasure.objects.get(state="done").record_id == "2"
    crm.refused = set()
    assert erasures.again([failed], at) == 1
    assert erasures.run(connection.pk, at) == 1


def test_a_worker_that_dies_in_the_call_leaves_it_to_the_next(crm, connection, people, monkeypatch):
    def die(*args):
        raise KeyboardInterrupt

    privacy.erase(people[:1], "request", NOW, crms=True)
    with monkeypatch.context() as patch:
        patch.setattr(FakeConnector, "erase", die)
        with pytest.raises(KeyboardInterrupt):
            erasures.run(connection.pk, NOW)
    assert erasures.run(connection.pk, NOW) == 0  # taken, for as long as a call may last
    assert erasures.run(connection.pk, NOW + erasures.LEASE) == 1


class TestTombstones:
    def test_a_name_is_recognised_but_not_kept(self, crm, connection, people, django_assert_num_queries):
        names = set(Identifier.objects.filter(profile_id=people[0]).values_list("kind", "value"))
        other = ("email", "p2@example.com")
        with django_assert_num_queries(1):
            assert tombstones.erased(names) == set()
        privacy.erase(people[:1], "request")
        assert tombstones.erased([*names, other]) == names
        with django_assert_num_queries(1):
            tombstones.erased([*names, other])
        digests = b"".join(bytes(row.digest) for row in ErasedName.objects.all())
        assert len(digests) == 32 * len(names)
        assert not [value for _kind, value in names if len(value) > 3 and value.encode() in digests]

    def test_a_name_that_somebody_who_stays_bears_locks_nobody_out(self, crm, connection, people):
        shared = Profile.objects.get(pk=people[0]).email
        Profile.objects.filter(pk=people[1]).update(email=shared)
        privacy.erase(people[:1], "request")
        assert tombstones.erased([("email", shared)]) == set()

    def test_who_comes_back_by_one_name_is_free_under_all(self, crm, connection, people):
        names = set(Identifier.objects.filter(profile_id=people[0]).values_list("kind", "value"))
        privacy.erase(people[:2], "request")
        assert tombstones.lift([("email", "p1@example.com")]) == 1
        assert tombstones.erased([*names, ("email", "p2@example.com")]) == {("email", "p2@example.com")}

    def test_another_key_first_still_recognises_the_old_ones(self, crm, connection, people, settings):
        privacy.erase(people[:1], "request")
        settings.NUDGE_ENCRYPTION_KEYS = ("new", *settings.NUDGE_ENCRYPTION_KEYS)
        assert tombstones.erased([("email", "p1@example.com")])
        settings.NUDGE_ENCRYPTION_KEYS = ("new",)
        assert not tombstones.erased([("email", "p1@example.com")])
