"""The short way to known profiles answers as the long one, or leaves it to that."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from crm import identity, identity_lookup, identity_rules
from crm.models import Identifier, IdentityRules, Profile

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

references = st.builds(
    identity.Reference,
    external_id=st.sampled_from([None, "a", "b", "c"]),
    email=st.sampled_from([None, "a@x.com", "b@x.com"]),
    anonymous_id=st.sampled_from([None, "v", "w", "x"]),
).filter(lambda reference: reference.keys())
batches = st.lists(st.tuples(references, st.booleans()), min_size=1, max_size=4).map(dict)


def state():
    return sorted(Identifier.objects.values_list()), Profile.objects.count()


@pytest.mark.django_db
@given(
    history=st.lists(batches, max_size=5),
    asked=batches,
    email=st.sampled_from(IdentityRules.Match.values),
    visitors=st.sampled_from(IdentityRules.Visitors.values),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_says_what_resolving_says_and_only_where_that_writes_nothing(history, asked, email, visitors):
    with transaction.atomic():
        identity_rules.change(email=email, visitors=visitors)
        for batch in history:
            identity.resolve(list(batch), NOW, [name for name, proven in batch.items() if proven])
        found = identity_lookup.find(asked, NOW) or identity_lookup.find(asked, NOW)
        event(f"found: {found is not None}")
        if found is not None:
            before = state()
            answer = identity.resolve(list(asked), NOW, [name for name, proven in asked.items() if proven])
            assert [found.profiles[reference] for reference in asked] == answer
            assert state() == before
        transaction.set_rollback(True)
    identity_rules._held.clear()


@pytest.mark.django_db
class TestFinding:
    def find(self, *asked, since=NOW):
        return identity_lookup.find(dict.fromkeys(asked, True), since)

    def test_known_people_take_one_query(self, django_assert_num_queries):
        people = [identity.Reference(external_id=f"p{n}", anonymous_id=f"v{n}") for n in range(50)]
        ids = identity.resolve(people, NOW, people)
        people.append(identity.Reference(id=ids[0]))
        identity_rules.renew()
        with django_assert_num_queries(1):
            found = self.find(*people)
        assert [found.profiles[reference] for reference in people] == [*ids, ids[0]]

    def test_strangers_are_left_to_resolving(self):
        identity.resolve([known := identity.Reference(external_id="a")], NOW, [known])
        identity_rules.renew()
        assert self.find(known)
        for stranger in ({"external_id": "b"}, {"external_id": "a", "email": "a@x.com"}, {"id": 10**12}):
            assert self.find(known, identity.Reference(**stranger)) is None

    def test_who_was_not_seen_for_long_is_told(self):
        [person] = identity.resolve([reference := identity.Reference(external_id="a")], NOW, [reference])
        identity_rules.renew()
        assert self.find(reference, since=NOW).unseen == []
        assert self.find(reference, since=NOW + timedelta(seconds=1)).unseen == [person]
