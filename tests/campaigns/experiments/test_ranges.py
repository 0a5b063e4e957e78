"""Places change hands as seldom as shares allow, whatever shares follow each other."""

from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.experiments import ranges
from delivery import variants
from delivery.variants import PLACES

shares = st.dictionaries(st.sampled_from("abcde"), st.floats(0, 100), min_size=2).filter(
    lambda found: sum(found.values()) > 0.01
)


def owners(found: ranges.Ranges) -> list[str]:
    assert found[-1][0] == PLACES
    assert all(one[0] < other[0] and one[1] != other[1] for one, other in zip(found, found[1:], strict=False))
    begins = [0, *(end for end, _key in found)]
    for begin, (end, key) in zip(begins, found, strict=False):
        assert ranges.at(found, begin) == ranges.at(found, end - 1) == key
    return [key for begin, (end, key) in zip(begins, found, strict=False) for _place in range(begin, end)]


@given(st.lists(shares, min_size=2, max_size=5))
@settings(deadline=None, max_examples=25)
def test_shares_are_kept_and_nobody_moves_without_need(steps: list[dict[str, float]]) -> None:
    found = ranges.first(steps[0])
    before = owners(found)
    for percents in steps[1:]:
        found = ranges.moved(found, percents)
        after = owners(found)
        wanted = ranges.quotas(percents)
        counts = {key: after.count(key) for key in wanted}
        assert counts == wanted
        assert sum(wanted.values()) == PLACES
        total = sum(percents.values())
        assert all(abs(wanted[key] - percents[key] * PLACES / total) <= 1 for key in wanted)
        moves = sum(one != other for one, other in zip(before, after, strict=True))
        needed = sum(max(0, before.count(key) - wanted.get(key, 0)) for key in set(before))
        assert moves == needed
        assert len(found) <= 40
        before = after


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 200), min_size=2), st.integers(1, 10**9))
@settings(deadline=None)
def test_it_begins_as_a_message_divides_people(weights: dict[str, int], person: int) -> None:
    sizes = ranges.quotas(weights) if any(weights.values()) else {"a": PLACES}
    place = variants.place(7, person)
    assert ranges.at(ranges.first(sizes), place) == variants.chosen(7, person, sizes)
