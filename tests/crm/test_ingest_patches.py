"""A patch and its event arrive together: the patch first, both or neither."""

import json
import uuid

import pytest

from crm import ingest
from crm.models import ApiKey, Event, Profile
from tests.crm.concurrently import run
from tests.crm.test_ingest import NOW, event, take

PAGE = ApiKey(scopes=["browser"])


@pytest.mark.django_db
class TestPatches:
    def test_it_changes_the_profile_that_the_event_names(self):
        take(event(patch={"first_name": "Ann", "attributes": {"plan": "pro", "seats": 2}}))
        result = take(event(patch={"first_name": "Anna", "attributes": {"seats": None}}))
        ann = Profile.objects.get()
        assert (result.accepted, ann.first_name, ann.attributes) == (1, "Anna", {"plan": "pro"})

    @pytest.mark.parametrize(
        ("patch", "code", "field"),
        [
            ({"country": "Nowhere"}, "unknown_country", "patch.country"),
            ({"nickname": "A"}, "unknown_field", "patch.nickname"),
            ({"email": "taken@example.com"}, "email_taken", "patch.email"),
            ({"attributes": 5}, "invalid_type", "patch.attributes"),
            ([], "invalid_value", "patch"),
        ],
    )
    def test_a_bad_one_takes_only_its_own_event_with_it(self, patch, code, field):
        take(event(profile={"email": "taken@example.com"}))
        result = take(event(name="before"), event(patch=patch), event(name="after"))
        assert result.accepted == 2
        assert [(row.index, row.code, row.field) for row in result.rejected] == [(1, code, field)]
        assert not Event.objects.filter(name="looked", profile__email="ann@example.com").exists()

    def test_patches_of_one_person_come_in_their_order(self):
        take(*[event(patch={"city": city}) for city in ("Oslo", "Rome", "Lima")])
        assert Profile.objects.get().city == "Lima"

    def test_a_browser_only_fills_gaps_and_names_nobody(self):
        take(event(patch={"first_name": "Ann", "attributes": {"plan": "pro"}}))
        given = {"first_name": "Eve", "city": "Oslo", "attributes": {"plan": "free", "size": "M"}}
        assert take(event(patch=given), key=PAGE).accepted == 1
        ann = Profile.objects.get()
        assert (ann.first_name, ann.city, ann.attributes) == ("Ann", "Oslo", {"plan": "pro", "size": "M"})
        for name in ("email", "external_id", "phone", "lifecycle_stage"):
            result = take(event(patch={name: "x"}), key=PAGE)
            assert [(row.code, row.field) for row in result.rejected] == [("not_allowed", f"patch.{name}")]

    def test_repeating_both_changes_nothing(self):
        sent = event(id=str(uuid.uuid4()), occurred_at="2026-10-31T10:00:00Z", patch={"city": "Oslo"})
        assert [take(sent).accepted, take(sent).duplicates] == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_many_patches_of_the_same_people_at_once_do_not_wait_for_each_other_for_good():
    people = [{"external_id": f"p{n}"} for n in range(6)]

    def send(turn):
        rows = [event(profile=person, patch={"attributes": {f"a{turn}": 1}}) for person in people]
        return ingest.ingest(json.dumps({"events": rows[:: 1 if turn % 2 else -1]}).encode(), "api", NOW)

    results = run(*[lambda turn=turn: send(turn) for turn in range(4)])
    assert [result.accepted for result in results] == [6] * 4
    assert {tuple(sorted(p.attributes)) for p in Profile.objects.all()} == {("a0", "a1", "a2", "a3")}
