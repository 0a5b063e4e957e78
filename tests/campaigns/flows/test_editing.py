"""Edits of a draft: they keep it a flow, and undo brings back what was."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaigns.flows import editing
from campaigns.flows.definition import parse, walk
from campaigns.models import Flow


def split(key: str) -> dict:
    return {
        "key": key,
        "kind": "split",
        "config": {},
        "branches": [{"name": "Yes", "rule": {"all": []}, "steps": []}, {"name": "Else", "steps": []}],
    }


def keys(draft: dict) -> list[str]:
    return [step.key for step, _depth in walk(parse(draft).steps)]


def places(draft: dict) -> list[str]:
    """Every sequence of the draft."""
    found = [""]
    for step, _siblings in editing.walk(draft["steps"]):
        found += [f"{step['key']}:{number}" for number in range(len(step.get("branches", [])))]
    return found


EDITS = st.lists(
    st.tuples(st.sampled_from(["wait", "split", "remove", "move"]), st.integers(0, 50), st.integers(0, 50)),
    max_size=15,
)


def edit(draft: dict, what: str, one: int, other: int) -> dict:
    """One edit, with `one` and `other` choosing among the steps and places there are."""
    where = places(draft)
    if what in ("wait", "split"):
        key = editing.new_key(draft)
        step = split(key) if what == "split" else {"key": key, "kind": "wait", "config": {"amount": 1}}
        return editing.insert(draft, where[one % len(where)], other % 4, step)
    present = keys(draft)
    if not present:
        return draft
    key = present[one % len(present)]
    if what == "remove":
        return editing.remove(draft, key)[0]
    try:
        return editing.move(draft, key, where[other % len(where)], other % 4)
    except ValueError:
        return draft  # a split into itself


class TestPureEdits:
    @given(EDITS)
    def test_keys_stay_unique_and_nothing_but_removal_loses_a_step(self, edits):
        draft = editing.empty()
        for what, one, other in edits:
            before, original = set(keys(draft)), repr(draft)
            changed = edit(draft, what, one, other)
            assert repr(draft) == original, "the draft that was given is left alone"
            after = keys(changed)
            assert len(after) == len(set(after))
            if what == "move":
                assert set(after) == before
            elif what in ("wait", "split"):
                assert len(after) == len(before) + 1
            draft = changed

    @given(EDITS)
    def test_removal_says_how_many_steps_go(self, edits):
        draft = editing.empty()
        for what, one, other in edits:
            draft = edit(draft, what, one, other)
        for key in keys(draft):
            changed, number = editing.remove(draft, key)
            assert len(keys(draft)) - len(keys(changed)) == number

    @given(EDITS)
    def test_locate_tells_where_insert_put_it(self, edits):
        draft = editing.empty()
        for what, one, other in edits:
            draft = edit(draft, what, one, other)
        for key in keys(draft):
            place, index, length = editing.locate(draft, key)
            assert 0 <= index < length
            assert editing.move(draft, key, place, index) == draft

    def test_a_split_cannot_go_into_itself(self):
        draft = editing.insert(editing.empty(), "", 0, split("q"))
        draft = editing.insert(draft, "q:0", 0, split("inner"))
        for place in ("q:0", "q:1", "inner:0"):
            with pytest.raises(ValueError, match="itself"):
                editing.move(draft, "q", place, 0)

    @pytest.mark.parametrize("place", ["nobody:0", "q:2", "q:-1", "q:x", "w:0"])
    def test_a_place_that_is_not_there_is_refused(self, place):
        draft = editing.insert(editing.empty(), "", 0, split("q"))
        draft = editing.insert(draft, "", 0, {"key": "w", "kind": "wait", "config": {"amount": 1}})
        with pytest.raises(KeyError):
            editing.insert(draft, place, 0, {"key": "n", "kind": "exit"})

    def test_a_branch_stored_without_steps_takes_one(self):
        """Empty lists are left out when a definition is written compactly."""
        draft = {"steps": [{"key": "q", "kind": "split", "branches": [{"name": "a"}, {"name": "b"}]}]}
        changed = editing.insert(draft, "q:1", 0, {"key": "n", "kind": "exit"})
        assert keys(changed) == ["q", "n"]
        assert editing.remove(changed, "q")[1] == 2
        assert editing.locate(changed, "n") == ("q:1", 0, 1)


class TestSavingAndUndo:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(EDITS)
    def test_undoing_everything_restores_each_draft_in_turn(self, db, edits):
        flow = Flow.objects.create(slug=f"f{Flow.objects.count()}", name="F", draft=editing.empty())
        history = []
        for what, one, other in edits:
            before = flow.draft
            flow = editing.save(flow.pk, flow.revision, lambda d, e=(what, one, other): edit(d, *e))
            if flow.draft != before:
                history.append(before)
        for earlier in reversed(history):
            flow = editing.undo(flow.pk, flow.revision)
            assert flow.draft == earlier
        with pytest.raises(LookupError):
            editing.undo(flow.pk, flow.revision)

    def test_an_edit_of_an_older_revision_changes_nothing(self, db):
        flow = Flow.objects.create(slug="f", name="F", draft=editing.empty())
        step = {"key": "a", "kind": "exit"}
        editing.save(flow.pk, 0, lambda draft: editing.insert(draft, "", 0, step))
        with pytest.raises(editing.StaleDraftError):
            editing.save(flow.pk, 0, lambda draft: editing.insert(draft, "", 0, {"key": "b", "kind": "exit"}))
        with pytest.raises(editing.StaleDraftError):
            editing.undo(flow.pk, 0)
        flow.refresh_from_db()
        assert keys(flow.draft) == ["a"]
