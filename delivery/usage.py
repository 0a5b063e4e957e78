"""What leads to messages and coupon pools by their short names, so that nobody deletes one unawares.

The layers above, where flows and broadcasts are, add functions that tell.
"""

from crm.computed.usage import Finder, Use

MESSAGE, POOL = "message", "pool"
_finders: dict[str, list[Finder]] = {MESSAGE: [], POOL: []}


def register(kind: str, finder: Finder) -> None:
    """Ask `finder` about MESSAGE or POOL too: it returns slug -> uses, in few queries however many there are."""
    if finder not in _finders[kind]:
        _finders[kind].append(finder)


def uses(kind: str) -> dict[str, list[Use]]:
    """Everything that uses each message (MESSAGE) or coupon pool (POOL), by its short name."""
    found: dict[str, list[Use]] = {}
    for finder in _finders[kind]:
        for slug, there in finder().items():
            found.setdefault(slug, []).extend(there)
    return found
