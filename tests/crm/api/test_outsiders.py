"""What somebody with a site's public key tries, who is not who they say."""

import json
from datetime import UTC, datetime

import pytest
from msgspec import Raw

from crm import identity, identity_rules
from crm.identity import Reference
from crm.ingest_rows import MAX_PROPERTIES_BYTES, Judge, _clean
from crm.models import ApiKey, ChannelTerms, Identifier
from crm.normalise import Rejection

MALLORY = "6d1f4f3b-77aa-4d5c-9c53-2f0e4f0c8a1e"
EMAIL = {"kind": "channel", "key": "email", "state": "subscribed"}


def test_nobody_calls_themselves_what_stands_for_claims(db):
    identity_rules.change(email="proven")
    [kept] = identity.resolve([Reference(email="ada@example.com")])
    [name] = Identifier.objects.filter(profile_id=kept, kind="anonymous_id").values_list("value", flat=True)
    with pytest.raises(Rejection) as refusal:
        identity.normal(Reference(anonymous_id=name))
    assert refusal.value.field == "profile.anonymous_id"


def test_a_browser_is_somebodys_only_where_it_is_named_together_with_them(db):
    [visitor] = identity.resolve([Reference(anonymous_id=MALLORY)])
    server = Reference(id=visitor, anonymous_id=MALLORY)
    identity.resolve([server], proven=[server], source="api")
    [ada] = identity.resolve([Reference(email="ada@example.com")])
    assert identity.resolve([Reference(email="ada@example.com", anonymous_id=MALLORY)]) == [ada]
    claimed = Identifier.objects.get(value=MALLORY)
    assert (claimed.profile_id, claimed.verified) == (ada, False)


@pytest.mark.parametrize("name", ["proof", "click"])
def test_what_is_too_long_for_a_token_is_not_remembered(name):
    held = _clean.cache_info().currsize
    with pytest.raises(Rejection) as refusal:
        _clean(Reference(anonymous_id="v", **{name: "x" * 5_000}))
    assert (refusal.value.field, _clean.cache_info().currsize) == (f"profile.{name}", held)


def test_the_answer_to_a_yes_does_not_tell_what_was_answered_before(browser, server):
    ChannelTerms.objects.create(channel="email", double_opt_in=True)
    known = {"profile": {"email": "ada@example.com"}, "consents": [EMAIL | {"confirmed": True}]}
    assert server.post("consents/", known).json()["pending"] == 0
    answers = []
    for visitor, email in ((MALLORY, "ada@example.com"), (MALLORY[::-1], "bo@example.com")):
        named = {"name": "identified", "profile": {"anonymous_id": visitor, "email": email}}
        browser.post("events/", {"events": [named]})
        answers.append(
            browser.post("consents/", {"profile": {"anonymous_id": visitor}, "consents": [EMAIL]}).json()
        )
    assert answers[0] == answers[1] == {"accepted": 1, "pending": 1, "rejected": []}


def test_a_browsers_patch_is_no_larger_than_an_event():
    key = ApiKey(scopes=["browser"])
    many = {f"a{number}": "x" * 1_000 for number in range(MAX_PROPERTIES_BYTES // 1_000 + 1)}
    event = b'{"name": "n", "profile": {"anonymous_id": "v"}, "patch": {"attributes": %s}}'
    rows = [Raw(event % json.dumps(each).encode()) for each in (many, {"plan": "gold"})]
    good, refused = Judge(key, datetime.now(UTC)).judge(rows)
    assert [row.index for row in good] == [1]
    assert (refused[0].code, refused[0].field) == ("too_large", "patch.attributes")
