"""The ledger of consents: only ever added to, and enough to tell the present answers from."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import consent, identity, opt_in
from crm.models import ChannelTerms, Consent, ConsentChange, Profile, Topic

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEYS = [("channel", "email"), ("topic", "news")]

pytestmark = pytest.mark.django_db


def answer(profile_id, state="subscribed", minutes=0, key=KEYS[0], source="sdk", **more):
    return consent.Change(profile_id, *key, state, source, NOW + timedelta(minutes=minutes), **more)


@pytest.fixture
def ann():
    return identity.resolve([identity.Reference(email="ann@example.com")], NOW)[0]


def refused(statement, *parameters):
    raised = pytest.raises(IntegrityError, match="can only be added to")
    with raised, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)


class TestAppendOnly:
    def test_no_entry_can_be_changed_or_deleted(self, ann):
        other = Profile.objects.create()
        consent.record([answer(ann, wording="May we?")])
        refused("UPDATE crm_consentchange SET state = 'unsubscribed'")
        refused("UPDATE crm_consentchange SET wording = '', profile_id = %s", other.pk)
        refused("UPDATE crm_consentchange SET profile_id = %s", other.pk)
        refused("DELETE FROM crm_consentchange")
        with pytest.raises(IntegrityError), transaction.atomic():
            Profile.objects.get(pk=ann).delete()
        assert ConsentChange.objects.get().wording == "May we?"

    def test_a_merge_moves_entries(self, ann):
        bob = identity.resolve([identity.Reference(email="bob@example.com")], NOW)[0]
        consent.record([answer(bob)])
        identity.merge([(bob, ann)], "test", NOW)
        assert ConsentChange.objects.get().profile_id == ann

    def test_who_is_erased_leaves_the_proof_without_their_browser(self, ann, settings):
        told = opt_in.proof("https://u:p@shop.example.com/news?mail=ann", "Firefox", "en")
        opt_in.answer([answer(ann, wording="May we?", proof=told)], now=NOW)
        assert ConsentChange.objects.get().proof["page"] == "https://shop.example.com/news"
        consent.forget([ann])
        entry = ConsentChange.objects.get()
        assert (set(entry.proof), entry.wording) == ({"language", "address"}, "May we?")
        assert opt_in.was_about(entry, "ann@example.com")
        assert not opt_in.was_about(entry, "bob@example.com")
        settings.NUDGE_ENCRYPTION_KEYS = ["new", *settings.NUDGE_ENCRYPTION_KEYS]
        assert opt_in.was_about(entry, "ann@example.com")
        settings.NUDGE_ENCRYPTION_KEYS = ["new"]  # nobody can try addresses who has the database alone
        assert not opt_in.was_about(entry, "ann@example.com")
        refused("DELETE FROM crm_consentchange")


steps = st.lists(
    st.tuples(
        st.sampled_from(["answer", "record", "confirm"]),
        st.sampled_from(KEYS),
        st.sampled_from(["subscribed", "unsubscribed"]),
        st.sampled_from(["sdk", "crm", "person"]),
        st.integers(-3, 3),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_replaying_the_ledger_gives_the_present_answers(steps, ann):
    with transaction.atomic():
        ChannelTerms.objects.get_or_create(channel="email", double_opt_in=True)
        Topic.objects.get_or_create(slug="news", name="News")
        for place, (kind, key, state, source, shift) in enumerate(steps):
            change = answer(ann, state, place + shift, key, source)
            now = NOW + timedelta(minutes=place + 5)
            if kind == "answer":
                opt_in.answer([change], now=now)
            elif kind == "record":
                consent.record([change])
            else:
                opt_in.confirm(ann, now=now)
        replayed = {}
        for entry in ConsentChange.objects.order_by("pk"):
            replayed[entry.kind, entry.key] = (entry.state, entry.source, entry.legal_basis)
        held = {
            (row.kind, row.key): (row.state, row.source, row.legal_basis) for row in Consent.objects.all()
        }
        assert replayed == held
        transaction.set_rollback(True)
