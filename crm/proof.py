"""Whether a browser may say who its visitor is.

Anybody can open a site's page and type a customer's email. So a site may sign the names of the people who have
logged in. The proof of a name is the lower-case hex HMAC-SHA256 (RFC 2104) of "<kind>:<value>", such as
"external_id:C-1001", with the browser key's identity secret as the key. Who signs several names joins their proofs
with dots.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec
from django.utils.translation import gettext as _

from crm.identity import ORDER, Reference
from crm.models import ApiKey, Identifier
from crm.normalise import Rejection

KNOWN = tuple(kind for kind in ORDER if kind != Identifier.ANONYMOUS_ID)

Reader = Callable[[Collection[str]], Mapping[str, int]]
_readers: list[Reader] = []


class Judged(msgspec.Struct, frozen=True):
    """A reference to resolve, and whether its names are proven rather than claimed."""

    reference: Reference
    proven: bool


def register(reader: Reader) -> None:
    """Add what reads the tokens of clicked messages: it returns the profile ids of those that are good."""
    if reader not in _readers:
        _readers.append(reader)


def sign(secret: str, kind: str, value: str) -> str:
    """What a site's server puts into its page as the proof of a name.

    Args:
        kind: such as "external_id".
        value: as profiles keep it: trimmed, an email in lower case.
    """
    return hmac.new(secret.encode(), f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()


def clicked(references: Iterable[Reference]) -> dict[Reference, int]:
    """The profiles that the clicked messages of `references` were sent to, in a fixed number of queries.

    Left out are forged and expired tokens, references that give a name as well, and visitors whom we know as
    somebody else: who opens a forwarded mail is not the person it was sent to.
    """
    by_token = {
        reference: reference.click
        for reference in references
        if reference.click and not any(getattr(reference, kind) for kind in KNOWN)
    }
    if not by_token:
        return {}
    sent_to: dict[str, int] = {}
    for reader in _readers:
        sent_to |= reader(set(by_token.values()))
    found = {reference: sent_to[token] for reference, token in by_token.items() if token in sent_to}
    visitors = Identifier.objects.filter(
        kind=Identifier.ANONYMOUS_ID, value__in={r.anonymous_id for r in found if r.anonymous_id}
    )
    owners = dict(visitors.values_list("value", "profile_id"))
    named = set(
        Identifier.objects.filter(profile_id__in=owners.values())
        .exclude(kind=Identifier.ANONYMOUS_ID)
        .values_list("profile_id", flat=True)
    )
    return {
        reference: person
        for reference, person in found.items()
        if owners.get(reference.anonymous_id or "") in (None, person)
        or owners[reference.anonymous_id or ""] not in named
    }


def judge(key: ApiKey | None, reference: Reference, clicks: Mapping[Reference, int] | None = None) -> Judged:
    """Turn what a caller says into what may be believed.

    A server's key is believed. A browser's key is believed about the names that it proves; without any proof the
    names are claims, and none at all if the key demands proofs. A valid `click` stands for the profile that the
    message was sent to, as a claim: mails are forwarded.

    Args:
        reference: in normal form (`identity.normal`).
        clicks: what `clicked` says about the batch that `reference` is of; None: it is asked here.

    Raises:
        Rejection: the key demands a proof, and nothing is left to name the visitor by.
    """
    plain = msgspec.structs.replace(reference, proof=None, click=None)
    if key is None or ApiKey.Scope.BROWSER not in key.scopes:
        return Judged(plain, True)
    if reference.click:
        person = (clicked([reference]) if clicks is None else clicks).get(reference)
        if person is not None:
            return Judged(Reference(id=person, anonymous_id=reference.anonymous_id), False)
    names = {kind: value for kind in KNOWN if (value := getattr(reference, kind))}
    proven = _proven(key, names, reference.proof)
    # A name without a proof beside one with it is left out: a person may not claim another's email for themselves.
    left_out = names.keys() - proven if proven or key.requires_proof else ()
    plain = msgspec.structs.replace(plain, **dict.fromkeys(left_out))
    if plain.id is None and not plain.keys():
        detail = _("This key names people only with a proof, and it is missing or wrong.")
        raise Rejection("proof_required", "profile.proof", detail)
    return Judged(plain, bool(proven))


def _proven(key: ApiKey, names: Mapping[str, str], proof: str | None) -> set[str]:
    """The kinds of those of `names` that one of the proofs given is right for."""
    secret = key.identity_secret.get("secret")
    if not proof or not secret:
        return set()
    # As bytes: compare_digest refuses text beyond ASCII, which anybody may send.
    given = [part.encode() for part in proof.split(".", len(KNOWN))[: len(KNOWN)]]
    return {
        kind
        for kind, value in names.items()
        if any(hmac.compare_digest(sign(secret, kind, value).encode(), one) for one in given)
    }
