"""How a draft is drawn."""

import pytest

from campaigns.admin.flows import tree
from campaigns.flows import comparing, editing
from campaigns.flows.definition import parse
from campaigns.models import Flow


def drawn(steps: list[dict]) -> tree.Tree:
    return tree.build(Flow.objects.create(slug="f", name="F", draft={**editing.empty(), "steps": steps}))


def split(*ends: bool) -> dict:
    """A split whose branches end in an exit or go on."""
    branches = [
        {"name": str(number), "rule": {"all": []}, "steps": [leave(f"x{number}")] if end else []}
        for number, end in enumerate(ends)
    ]
    del branches[-1]["rule"]
    return {"key": "q", "kind": "split", "branches": branches}


def leave(key: str) -> dict:
    return {"key": key, "kind": "exit", "config": {}}


@pytest.mark.parametrize(
    ("ends", "joins"),
    [
        ((False, False), [(50, 0, "start", False), (0, 50, "end", False)]),
        ((True, False), [None, (0, 50, "end", False)]),
        ((False, True), [(50, 0, "start", False), None]),
        ((False, False, False), [(50, 0, "start", False), (0, 0, "", True), (0, 50, "end", False)]),
        ((True, False, False), [None, (50, 0, "", True), (0, 50, "end", False)]),
        ((True, False, True), [None, (50, 50, "", True), None]),
        (
            (False, True, True, False),
            [(50, 0, "start", False), (0, 0, "", False), (0, 0, "", False), (0, 50, "end", False)],
        ),
    ],
)
def test_the_line_back_reaches_from_every_branch_that_goes_on_to_the_middle(db, ends, joins):
    [card] = drawn([split(*ends)]).trunk.cards
    found = [branch.join for branch in card.branches]
    assert [join and (join.start, join.end, join.corner, join.tick) for join in found] == joins
    assert not card.ends


def test_nobody_gets_past_an_exit_or_a_split_that_takes_everybody_out(db):
    found = drawn([split(True, True), leave("after")])
    assert found.trunk.ends
    assert [card.key for card in found.unreachable] == ["after"]


def test_a_broken_draft_is_shown_as_such(db):
    flow = Flow.objects.create(slug="f", name="F", draft={"steps": "none"})
    assert tree.build(flow).problems


def test_unfinished_rules_and_unknown_kinds_are_drawn(db):
    step = split(False, False)
    step["branches"][0]["rule"] = {"kind": "segment", "slug": ""}
    found = drawn([step, {"key": "z", "kind": "teleport"}])
    assert found.trunk.cards[0].branches[0].rule == "This rule is not finished."
    assert found.trunk.cards[1].problems


def test_an_added_step_moves_nobody_and_a_moved_one_is_named(flow):
    def compared(after: dict) -> comparing.Changes:
        return comparing.compare(parse(flow.draft), parse(after))

    found = compared(editing.insert(flow.draft, "", 0, leave("n")))
    assert [len(part) for part in (found.added, found.removed, found.changed, found.moved)] == [1, 0, 0, 0]
    assert compared(editing.move(flow.draft, "w1", "q1:1", 0)).moved
    found = compared({**flow.draft, "exit_on": [{"kind": "event", "name": "purchase"}]})
    assert [part.after for part in found.settings]
    assert not found.moved
