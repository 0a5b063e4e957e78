"""From whom to whom: what the content leaves open is the account's to say."""

import msgspec

from delivery.channels.base import Parcel
from delivery.email import mime
from delivery.email.content import EmailPayload


def addressed(parcel: Parcel, from_address: str, from_name: str, reply_to: str) -> EmailPayload:
    """Return a parcel's payload with its addresses checked and filled in from the account's.

    Raises:
        mime.BadAddress: one of them is none.
    """
    payload: EmailPayload = parcel.payload
    answers = payload.reply_to or reply_to
    return msgspec.structs.replace(
        payload,
        to=mime.address(parcel.address.value),
        from_address=mime.address(payload.from_address or from_address),
        from_name=payload.from_name or from_name,
        reply_to=mime.address(answers) if answers else "",
    )
