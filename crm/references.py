"""How callers name a person."""

from collections.abc import Collection

import msgspec
from django.utils.translation import gettext

from crm import normalise
from crm.identity_rules import CLAIMED, Name
from crm.models import Identifier

# In which a proof names a person; which name counts most here is told by the rules.
ORDER = (Identifier.EXTERNAL_ID, Identifier.EMAIL, Identifier.PHONE, Identifier.ANONYMOUS_ID)
_MAX_ID = 2**63 - 1
MAX_TOKEN = 1_000  # characters of a proof or click; ours have some 200 at most


class UnknownProfile(LookupError):
    """There is no profile with this id."""


class ErasedPerson(LookupError):
    """These references name people who were erased, and whoever gave them was not such a person."""

    def __init__(self, references: Collection["Reference"]):
        super().__init__("These people were erased.")
        self.references = frozenset(references)


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a caller names a person; several names at once say that they are one person.

    `proof` is a site's signature of the surest name, `click` the token of a message that was clicked: see
    crm/proof.py, which answers both before a reference is resolved.
    """

    id: int | None = None
    external_id: str | None = None
    email: str | None = None
    phone: str | None = None
    anonymous_id: str | None = None
    proof: str | None = None
    click: str | None = None

    def keys(self) -> list[Name]:
        """(kind, value) of the names given."""
        return [(kind, value) for kind in ORDER if (value := getattr(self, kind))]


def normal(reference: Reference, field: str = "profile") -> Reference:
    """The reference as profiles keep its names, so that everybody finds the same person.

    Args:
        field: where the reference stands in the request, for the rejection.

    Raises:
        Rejection: a name can't be one, or there is none.
    """
    if reference.id is not None and not 0 < reference.id <= _MAX_ID:
        raise normalise.Rejection("unknown_profile", f"{field}.id", gettext("There is no such profile."))
    reference = msgspec.structs.replace(
        reference,
        external_id=normalise.identifier(reference.external_id, f"{field}.external_id"),
        email=normalise.email(reference.email, f"{field}.email"),
        phone=normalise.phone(reference.phone, field=f"{field}.phone"),
        anonymous_id=normalise.identifier(reference.anonymous_id, f"{field}.anonymous_id"),
    )
    if (reference.anonymous_id or "").startswith(CLAIMED):  # anybody can work it out for anybody's email
        detail = gettext("A visitor's id can't begin with “%s”.") % CLAIMED
        raise normalise.Rejection("invalid_value", f"{field}.anonymous_id", detail)
    for name in ("proof", "click"):
        if len(getattr(reference, name) or "") > MAX_TOKEN:
            detail = gettext("At most %d characters fit.") % MAX_TOKEN
            raise normalise.Rejection("too_long", f"{field}.{name}", detail)
    if reference.id is None and not reference.keys():
        raise normalise.Rejection(
            "missing_field", field, gettext("Name the profile by external_id, email, anonymous_id or id.")
        )
    return reference
