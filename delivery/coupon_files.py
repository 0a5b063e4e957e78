"""Codes in files as shops and spreadsheets write them."""

from collections.abc import Iterator
from typing import IO, Any

from crm import tables

# What columns of codes are called, without marks between the words.
NAMES = frozenset(
    {
        *("code", "codes", "coupon", "coupons", "couponcode", "couponcodes", "voucher", "vouchers"),
        *("vouchercode", "vouchercodes", "promocode", "promocodes", "discountcode", "discountcodes"),
        *("kod", "kody", "kodrabatowy", "kupon", "gutscheincode", "codepromo", "codigo", "código"),
        *("كود", "رمز", "قسيمة"),
    }
)


def codes(file: IO[bytes], name: str, most: int) -> Iterator[str]:
    """The codes in a file, one for each of its rows, "" for a row without one or with the names of columns.

    They are those of the column that is called so, else of the first one.

    Args:
        file: seekable; a text with one code a line, CSV or Excel.
        name: the file's name, whose ending tells what it is.
        most: rows that are read.

    Raises:
        TableError: it is no such file.
    """
    place = 0
    for number, cells, problem in tables.lines(file, name):
        if number > most:
            return
        if number == 1 and (named := _heading(cells)) is not None:
            place = named
            yield ""
            continue
        yield (
            "" if problem or place >= len(cells) or cells[place] is None else tables.plain(str(cells[place]))
        )


def _heading(cells: list[Any]) -> int | None:
    """Which column of the first row says that codes are below; None if it holds a code itself."""
    for place, cell in enumerate(cells):
        if "".join(letter for letter in str(cell or "").casefold() if letter.isalnum()) in NAMES:
            return place
    return None
