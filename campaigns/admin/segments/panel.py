"""What stands beside the rule in the builder: the size, the funnel, what is slow and what is not finished yet."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from campaigns.segments import builder, plans, sentence, words
from campaigns.segments.evaluate import Preview
from campaigns.segments.grammar import Group, Not, Rule

MOST_PROBLEMS = 5


class Row(NamedTuple):
    """One step of the funnel: how many people are left, also as a share in percent of those before it and of all."""

    node: str
    text: str
    kept: int
    of_before: float
    of_all: float


class Slow(NamedTuple):
    """Why counting takes long, and what helps; `node` is the id of the condition."""

    node: str
    text: str
    advice: str


class Unfinished(NamedTuple):
    """A condition that can't be asked yet."""

    node: str
    label: str
    message: str


def found(rule: Rule, preview: Preview, paths: Mapping[str, builder.Node]) -> dict[str, Any]:
    """What the panel shows for a rule that was counted.

    Args:
        paths: the tree's nodes by the path they have in the rule.
    """
    counts = {}
    for path in sorted(
        preview.counts, key=len, reverse=True
    ):  # of a group and its “not”, the outer one counts
        if path and path in paths:
            counts[paths[path].id] = preview.counts[path]
    plan = plans.plan(rule)
    return {
        "preview": preview,
        "share": _percent(preview.size, preview.total),
        "counts": {node: (size, _percent(size, preview.total)) for node, size in counts.items()},
        "funnel": _funnel(rule, preview, paths),
        "slow": [
            Slow(paths[item.path].id, item.text, item.advice) for item in plan.reasons if item.path in paths
        ]
        if plan.slow
        else [],
        "takes": plan.words if plan.slow else "",
    }


def unfinished(tree: builder.Node) -> dict[str, Any]:
    """What the panel shows while the nodes of a tree have problems."""
    problems = []
    for node in tree.walk():
        if node.problems:
            parent = tree.parent_of(node)
            number = parent.children.index(node) + 1 if parent else 1
            problems.append(Unfinished(node.id, f"{builder.label(node)} {number}", node.problems[0].message))
    return {"problems": problems[:MOST_PROBLEMS], "unfinished": max(len(problems), 1)}


def _funnel(rule: Rule, preview: Preview, paths: Mapping[str, builder.Node]) -> list[Row]:
    texts = {part.path: words.capital(sentence.clause(part)) for part in _children(rule)}
    rows, before = [], preview.total
    for step in preview.funnel:
        if step.path in texts and step.path in paths:
            shares = _percent(step.kept, before), _percent(step.kept, preview.total)
            rows.append(Row(paths[step.path].id, texts[step.path], step.kept, *shares))
            before = step.kept
    return rows if len(rows) > 1 else []


def _children(rule: Rule) -> list[Rule]:
    return rule.rules if isinstance(rule, Group) else [rule.rule] if isinstance(rule, Not) else []


def _percent(part: int, whole: int) -> float:
    return min(100.0, 100 * part / whole) if whole else 0.0
