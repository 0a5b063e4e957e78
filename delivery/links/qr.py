"""QR codes (ISO/IEC 18004) of addresses, for print and screens."""

import io

import segno


def svg(address: str) -> bytes:
    """Return an SVG picture of an address, with the quiet zone that readers need and a fifth of it repeated against
    dirt (level M).

    Raises:
        ValueError: the address is too long for a QR code.
    """
    out = io.BytesIO()
    try:
        segno.make_qr(address, error="m").save(out, kind="svg", scale=8, border=4, dark="#000", light="#fff")
    except segno.DataOverflowError as error:
        raise ValueError("too long for a QR code") from error
    return out.getvalue()
