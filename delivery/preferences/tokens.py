"""Tokens in the links to somebody's preference page: numbers and our signature, nothing personal.

They stay valid for good, as a mail that was kept for years must still let its reader leave; also when the secret
key is replaced, as long as the old one is listed in SECRET_KEY_FALLBACKS. A link that staff opened is for an hour.
"""

from datetime import timedelta

import msgspec
from django.core import signing

from delivery import signatures

_PERSON, _STAFF = "delivery.preferences", "delivery.preferences.staff"
STAFF_AGE = timedelta(hours=1)


class BadToken(ValueError):
    """This token was not made by us, or is over."""


class Link(msgspec.Struct, frozen=True):
    """Whose page it is, which message led there, and whether one of us has opened it."""

    profile_id: int
    delivery_id: int | None = None
    staff: bool = False


def make(profile_id: int, delivery_id: int | None = None) -> str:
    """Return a person's token: URL-safe, under 80 characters."""
    numbers = [profile_id] if delivery_id is None else [profile_id, delivery_id]
    return signatures.signer(_PERSON).sign("-".join(map(signing.b62_encode, numbers)))


def make_for_staff(profile_id: int) -> str:
    """Return a token for one of us to see and change a person's choices with."""
    return signing.TimestampSigner(salt=_STAFF, sep=".").sign(signing.b62_encode(profile_id))


def read(token: str) -> Link:
    """Return what a token says.

    Raises:
        BadToken: it is forged, damaged, not a token, or over.
    """
    try:
        if token.count(".") == 2:
            value = signing.TimestampSigner(salt=_STAFF, sep=".").unsign(token, max_age=STAFF_AGE)
            return Link(_number(value), staff=True)
        person, _dash, delivery = signatures.signer(_PERSON).unsign(token).partition("-")
        return Link(_number(person), _number(delivery) if delivery else None)
    except (signing.BadSignature, ValueError, AttributeError, TypeError) as error:
        raise BadToken(BadToken.__doc__) from error


def _number(text: str) -> int:
    number = signing.b62_decode(text)
    if not 0 < number < 2**63:
        raise ValueError("not one of our numbers")
    return number
