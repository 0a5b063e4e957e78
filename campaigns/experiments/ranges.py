"""Which places of people belong to which arm while an experiment learns: as few as possible change hands.

Ranges are [end, key] pairs in order of their ends, the last one ending at PLACES; each reaches from the end before it.
Where they lay one behind the other in the arms' order, as a message's variants do, a border that moves would push all
those behind it along, and people would change arms whose shares are what they were.
"""

from collections.abc import Mapping, Sequence

from delivery.variants import PLACES

Ranges = list[list[int | str]]


def first(percents: Mapping[str, float]) -> Ranges:
    """The ranges at the start: the arms one behind the other, by their letters as `variants.chosen` has them."""
    found, end = [], 0
    for key, size in sorted(quotas(percents).items()):
        end += size
        if size:
            found.append((end, key))
    return _joined(found)


def quotas(percents: Mapping[str, float]) -> dict[str, int]:
    """How many places each arm gets; they add up to PLACES, each within one of its exact share (Hamilton's method).

    Raises:
        ValueError: nobody gets anything.
    """
    total = sum(percents.values())
    if total <= 0 or min(percents.values()) < 0:
        raise ValueError("Some arm must get people, and none less than nobody.")
    exact = {key: share * PLACES / total for key, share in percents.items()}
    found = {key: int(size) for key, size in exact.items()}
    by_rest = sorted(found, key=lambda key: (found[key] - exact[key], key))
    for key in by_rest[: PLACES - sum(found.values())]:
        found[key] += 1
    return found


def at(ranges: Sequence[Sequence[int | str]], place: int) -> str:
    """The arm of somebody's place."""
    return next(str(key) for end, key in ranges if place < int(end))


def moved(ranges: Sequence[Sequence[int | str]], percents: Mapping[str, float]) -> Ranges:
    """The ranges with these shares instead: only arms that lose people give places, and no more than they lose.

    Places are taken at the borders to arms that gain, where there are such borders, so that ranges stay few.
    """
    wanted = quotas(percents)
    pieces = _pieces(ranges)
    for key in {key for _size, key in pieces} - wanted.keys():
        wanted[key] = 0
    spare = dict.fromkeys(wanted, 0)
    for size, key in pieces:
        spare[key] += size
    for key in wanted:
        spare[key] -= wanted[key]  # positive: has to give so many; negative: is to get them
    pieces = _at_borders(pieces, spare)
    return _ends(_elsewhere(pieces, spare))


Pieces = list[tuple[int, str]]  # sizes and keys, in order


def _at_borders(pieces: Pieces, spare: dict[str, int]) -> Pieces:
    sizes, keys = [size for size, _key in pieces], [key for _size, key in pieces]
    for here in range(len(pieces)):
        for beside in (here - 1, here + 1):
            if 0 <= beside < len(pieces):
                goes = min(sizes[here], spare[keys[here]], -spare[keys[beside]])
                if goes > 0:
                    sizes[here] -= goes
                    sizes[beside] += goes
                    spare[keys[here]] -= goes
                    spare[keys[beside]] += goes
    return [(size, key) for size, key in zip(sizes, keys, strict=True) if size]


def _elsewhere(pieces: Pieces, spare: dict[str, int]) -> Pieces:
    found: Pieces = []
    for size, key in pieces:
        left = size
        for other in sorted(spare):
            goes = min(left, spare[key], -spare[other])
            if goes > 0:
                found.append((goes, other))
                left -= goes
                spare[key] -= goes
                spare[other] += goes
        if left:
            found.append((left, key))
    return found


def _pieces(ranges: Sequence[Sequence[int | str]]) -> Pieces:
    found, begin = [], 0
    for end, key in ranges:
        found.append((int(end) - begin, str(key)))
        begin = int(end)
    return found


def _ends(pieces: Pieces) -> Ranges:
    found, end = [], 0
    for size, key in pieces:
        end += size
        found.append((end, key))
    return _joined(found)


def _joined(found: Sequence[tuple[int, str]]) -> Ranges:
    """Neighbours of one arm as one range."""
    return [
        [end, key]
        for (end, key), after in zip(found, [*(key for _end, key in found[1:]), None], strict=True)
        if key != after
    ]
