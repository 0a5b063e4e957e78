"""Amounts and free values of deals and products, as CRMs and files write them; a rejection names the CRM's field."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.translation import gettext as _

from crm import normalise
from crm.normalise import Rejection, shortened

LARGEST = Decimal(10) ** 14
PLACES = 4


def amount(value: Any, field: str) -> Decimal | None:
    """A number, or a text that is one ("12.50"), at PLACES decimal places; None for nothing.

    Raises:
        Rejection: it is no number, or beyond LARGEST.
    """
    if value is None or value == "":
        return None
    try:
        number = None if isinstance(value, bool) else Decimal(str(value).strip())
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number) >= LARGEST:
        raise Rejection("invalid_number", field, _("“%s” is not a number.") % shortened(str(value)))
    return round(number, PLACES)


def attribute(name: str, value: Any, field: str) -> Any:
    """A free value that is to be kept under `name`; see normalise.attribute.

    Raises:
        Rejection: it can't be stored.
    """
    try:
        return normalise.attribute(name, value)
    except Rejection as error:
        raise Rejection(error.code, field, error.detail) from None
