"""Tokens by which a device tells us about a delivery. They hold its number and our signature, nothing personal."""

from django.core import signing

from delivery import signatures

_SALT = "delivery.token"


class BadToken(ValueError):
    """This token was not made by us."""


def make(delivery_id: int) -> str:
    """Return the token of a delivery: URL-safe, under 60 characters, valid for good."""
    return signatures.signer(_SALT).sign(signing.b62_encode(delivery_id))


def read(token: str) -> int:
    """Return the delivery id inside `token`.

    Raises:
        BadToken: it is forged, damaged or not a token.
    """
    try:
        value = signatures.signer(_SALT).unsign(token)
        number = signing.b62_decode(value)
    except (signing.BadSignature, ValueError, AttributeError, TypeError) as error:
        raise BadToken(BadToken.__doc__) from error
    return number
