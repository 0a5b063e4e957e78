"""Who may say who a visitor is."""

import hashlib
import hmac

import pytest

from crm import api_keys, identity, proof
from crm.identity import Reference
from crm.models import ApiKey, Profile
from crm.normalise import Rejection


@pytest.fixture
def key(db):
    made, _text = api_keys.create("web", ["browser"])
    api_keys.renew_identity_secret(made)
    return ApiKey.objects.get(pk=made.pk)


@pytest.fixture
def reader():
    good: dict[str, int] = {}

    def read(tokens):
        return {token: good[token] for token in tokens if token in good}

    proof.register(read)
    yield good
    proof._readers.remove(read)


def signed(key, **names):
    secret = key.identity_secret["secret"].encode()
    return ".".join(
        hmac.new(secret, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()
        for kind, value in names.items()
    )


class TestJudge:
    def test_a_server_is_believed(self, db):
        key, _text = api_keys.create("server", ["write"])
        judged = proof.judge(key, Reference(email="ada@example.com", proof="x", click="y"))
        assert judged == proof.Judged(Reference(email="ada@example.com"), True)

    def test_a_right_proof_is_believed(self, key):
        given = Reference(external_id="C-1", anonymous_id="a", proof=signed(key, external_id="C-1"))
        assert proof.judge(key, given) == proof.Judged(Reference(external_id="C-1", anonymous_id="a"), True)

    @pytest.mark.parametrize("wrong", [None, "", "0" * 64, "ü", "." * 1000, "\x00"])
    def test_without_one_names_are_claims_or_nothing(self, key, wrong):
        given = Reference(external_id="C-1", anonymous_id="a", proof=wrong)
        assert proof.judge(key, given) == proof.Judged(Reference(external_id="C-1", anonymous_id="a"), False)
        api_keys.require_proof(key, True)
        assert proof.judge(key, given) == proof.Judged(Reference(anonymous_id="a"), False)
        with pytest.raises(Rejection) as refusal:
            proof.judge(key, Reference(external_id="C-1", proof=wrong))
        assert refusal.value.code == "proof_required"

    def test_a_proof_is_of_one_name_of_one_kind(self, key):
        mine = signed(key, external_id="C-1")
        assert not proof.judge(key, Reference(external_id="C-2", proof=mine)).proven
        assert not proof.judge(key, Reference(email="C-1", proof=mine)).proven
        both = Reference(external_id="C-1", email="victim@example.com", proof=mine)
        assert proof.judge(key, both) == proof.Judged(Reference(external_id="C-1"), True)

    def test_several_names_have_several_proofs(self, key):
        names = {"external_id": "C-1", "email": "ada@example.com"}
        judged = proof.judge(key, Reference(**names, proof=signed(key, **names)))
        assert judged == proof.Judged(Reference(**names), True)

    def test_a_new_secret_ends_the_old_proofs(self, key):
        old = Reference(external_id="C-1", proof=signed(key, external_id="C-1"))
        api_keys.renew_identity_secret(key)
        assert not proof.judge(key, old).proven

    def test_a_key_without_a_secret_proves_nothing(self, db):
        key, _text = api_keys.create("bare", ["browser"])
        ApiKey.objects.filter(pk=key.pk).update(identity_secret={})
        key.refresh_from_db()
        forged = hmac.new(b"", b"external_id:C-1", hashlib.sha256).hexdigest()
        assert not proof.judge(key, Reference(external_id="C-1", proof=forged)).proven
        with pytest.raises(ValueError, match="secret"):
            api_keys.require_proof(key, True)

    def test_the_secret_is_encrypted(self, key, django_db_blocker):
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT identity_secret FROM crm_apikey WHERE id = %s", [key.pk])
            assert key.identity_secret["secret"] not in cursor.fetchone()[0]


class TestClicks:
    def test_a_click_names_whom_the_message_was_sent_to(self, key, reader):
        person = Profile.objects.create(email="ada@example.com")
        reader["good"] = person.pk
        given = Reference(anonymous_id="a", click="good")
        assert proof.judge(key, given) == proof.Judged(Reference(id=person.pk, anonymous_id="a"), False)
        forged = Reference(anonymous_id="a", click="bad")
        assert proof.judge(key, forged) == proof.Judged(Reference(anonymous_id="a"), False)

    def test_a_known_visitor_stays_who_they_are(self, key, reader, django_assert_num_queries):
        [ada, bob, anonymous] = identity.resolve(
            [
                Reference(email="ada@example.com", anonymous_id="ada-browser"),
                Reference(email="bob@example.com", anonymous_id="bob-browser"),
                Reference(anonymous_id="nobody"),
            ]
        )
        reader["to ada"] = ada
        by = {
            name: Reference(anonymous_id=name, click="to ada")
            for name in ("ada-browser", "bob-browser", "nobody", "new")
        }
        with django_assert_num_queries(2):
            clicks = proof.clicked(by.values())
        assert {name for name, reference in by.items() if reference in clicks} == {
            "ada-browser", "nobody", "new",
        }  # fmt: skip
        assert proof.judge(key, by["bob-browser"], clicks).reference == Reference(anonymous_id="bob-browser")
        judged = [proof.judge(key, reference, clicks).reference for reference in by.values()]
        assert identity.resolve(judged) == [ada, bob, ada, ada]
        assert not Profile.objects.filter(pk=anonymous).exists()

    def test_a_name_counts_more_than_a_click(self, key, reader):
        person = Profile.objects.create(email="ada@example.com")
        reader["good"] = person.pk
        given = Reference(anonymous_id="a", email="bob@example.com", click="good")
        assert proof.judge(key, given).reference == Reference(anonymous_id="a", email="bob@example.com")
