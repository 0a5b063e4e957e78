"""The link by which whoever reads a report's mail at a typed address gets it no more: a number and our signature."""

from django.conf import settings
from django.core import signing
from django.urls import reverse

from delivery import signatures

_SALT = "analytics.saved.leave"


class BadToken(ValueError):
    """This token was not made by us."""


def url(recipient_id: int) -> str:
    """The whole address of the page."""
    token = signatures.signer(_SALT).sign(signing.b62_encode(recipient_id))
    return settings.NUDGE_PUBLIC_URL + reverse("report_leave", args=[token])


def read(token: str) -> int:
    """The recipient's number.

    Raises:
        BadToken: it is forged, damaged or not a token.
    """
    try:
        number = signing.b62_decode(signatures.signer(_SALT).unsign(token))
        if 0 < number < 2**63:
            return number
    except (signing.BadSignature, ValueError, AttributeError, TypeError) as error:
        raise BadToken(BadToken.__doc__) from error
    raise BadToken(BadToken.__doc__)
