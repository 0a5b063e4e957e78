"""The rule as the builder's form holds it: a tree of nodes, each with an id, its inputs named `<id>.<input>`."""

import copy
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.http import QueryDict
from django.utils.translation import gettext as _

from campaigns.segments import rows
from campaigns.segments.conditions import kinds
from campaigns.segments.grammar import DEEPEST, MOST_NODES
from campaigns.segments.suggestions import Suggestions
from crm.rules.errors import Problem
from crm.rules.wrong import Wrong

MODES = ("all", "any", "none", "notall")
MOST_LEVELS = 2 * DEEPEST  # of groups that are drawn, so that what is too deep can be put right
_ID = re.compile(r"n[0-9]{1,4}")


class Node:
    """A group (`mode` and `children`) or a condition (`data`, its JSON, maybe unfinished)."""

    def __init__(self, node_id: str, kind: str, mode: str = "all", data: dict[str, Any] | None = None):
        self.id, self.kind, self.mode, self.data = node_id, kind, mode, data or {}
        self.folded = False
        self.children: list[Node] = []
        self.problems: list[Problem] = []

    @property
    def height(self) -> int:
        """How many levels of groups it is."""
        return 1 + max((child.height for child in self.children), default=0) if self.kind == "group" else 0

    def walk(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, node_id: str) -> "Node | None":
        return next((node for node in self.walk() if node.id == node_id), None)

    def parent_of(self, node: "Node") -> "Node | None":
        return next((found for found in self.walk() if node in found.children), None)


def from_rule(rule: Any) -> Node:
    """The tree for a rule's JSON. A condition alone becomes a group of one; a broken part becomes an empty group."""
    ids = (f"n{number}" for number in range(10_000))
    root = _node(rule, ids)
    if root.kind == "group":
        return root
    whole, root.id = Node(root.id, "group"), next(ids)
    whole.children.append(root)
    return whole


def _node(rule: Any, ids: Iterator[str], negated: bool = False) -> Node:
    rule = rule if isinstance(rule, dict) else {}
    if "not" in rule:
        return _node(rule["not"], ids, not negated)
    if "kind" in rule and rule["kind"] in kinds():
        if not negated:
            return Node(next(ids), rule["kind"], data=rule)
        wrapper = Node(next(ids), "group", "none")
        wrapper.children.append(Node(next(ids), rule["kind"], data=rule))
        return wrapper
    mode = "any" if "any" in rule else "all"
    group = Node(next(ids), "group", {"any": "none", "all": "notall"}[mode] if negated else mode)
    items = rule.get(mode)
    group.children = [_node(item, ids) for item in (items if isinstance(items, list) else [])]
    return group


def to_rule(root: Node) -> tuple[dict[str, Any], dict[str, Node]]:
    """The JSON of the tree, and its nodes by the path they have in it."""
    paths: dict[str, Node] = {}

    def written(node: Node, path: str) -> dict[str, Any]:
        paths[path] = node
        if node.kind != "group":
            # `type` only tells the row which input to show.
            data = {key: value for key, value in node.data.items() if key != "type"}
            if "where" in data:
                data["where"] = [{key: item[key] for key in item if key != "type"} for item in data["where"]]
            return data
        negated, mode = node.mode in ("none", "notall"), "all" if node.mode in ("all", "notall") else "any"
        here = f"{path}.not" if negated and path else "not" if negated else path
        inner = f"{here}.{mode}" if here else mode
        paths[here] = node
        group = {mode: [written(child, f"{inner}[{index}]") for index, child in enumerate(node.children)]}
        return {"not": group} if negated else group

    return written(root, ""), paths


def mark(paths: dict[str, Node], problems: list[Problem]) -> None:
    """Give each problem to the node it is about, with the path that is left inside the node."""
    for path, message in problems:
        inside = [
            known
            for known in paths
            if not known or path == known or path.startswith((f"{known}.", f"{known}["))
        ]
        longest = max(inside, key=len)
        paths[longest].problems.append(Problem(path[len(longest) :].lstrip("."), message))


def read(post: QueryDict) -> Node:
    """The tree as posted: each node names its parent, in the order of the page. Unknown things are left out."""
    root = Node("n0", "group")
    nodes = {"n0": root}
    inputs: dict[str, dict[str, list[str]]] = {}
    for name, texts in post.lists():
        node_id, dot, rest = name.partition(".")
        if dot:
            inputs.setdefault(node_id, {})[rest] = texts
    levels = {"n0": 1}
    for node_id in post.getlist("node")[: MOST_NODES + 50]:
        posted = inputs.get(node_id, {})
        kind = (posted.get("kind") or [""])[0]
        mode = (posted.get("mode") or ["all"])[0]
        mode = mode if mode in MODES else "all"
        if node_id == "n0":
            root.mode = mode
            continue
        parent = nodes.get((posted.get("parent") or ["n0"])[0])
        if not _ID.fullmatch(node_id) or node_id in nodes or parent is None or parent.kind != "group":
            continue
        if kind == "group":
            levels[node_id] = levels[parent.id] + 1
            if levels[node_id] > MOST_LEVELS:
                continue
            node = Node(node_id, kind, mode)
            node.folded = bool((posted.get("folded") or [""])[0])
        elif kind in kinds():
            node = Node(node_id, kind, data=kinds()[kind].read(posted))
        else:
            continue
        nodes[node_id] = node
        parent.children.append(node)
    return root


class Outcome(NamedTuple):
    """What an operation did: the id of the node or input that gets the focus, and of a node that is new or moved."""

    focus: str
    added: str = ""
    moved: str = ""


def apply(root: Node, operation: str, target: str, suggest: Suggestions) -> Outcome:
    """Change the tree as a button asks; anything unknown changes nothing.

    Args:
        operation: add-<kind>, add-group, wrap, unwrap, remove, duplicate, up, down, moved (by dragging: the posted
            inputs stand in the new order already), or for parts of an event as rows.change_parts.
        target: id of the node the button belongs to.
    """
    node = root.find(target)
    if node is None:
        return Outcome(root.id)
    verb, _sign, what = operation.partition("-")
    if verb == "add" and node.kind == "group" and (what == "group" or what in kinds()):
        return _add(root, node, what, suggest)
    if node.kind == "event" and what:
        name = rows.change_parts(node.data, operation, suggest)
        return Outcome(f"{node.id}.{name}" if name else node.id)
    parent = root.parent_of(node)
    if parent is None:
        return Outcome(node.id)
    if operation in ("up", "down"):
        return Outcome(node.id, moved=node.id if _step(root, parent, node, operation == "up") else "")
    place = parent.children.index(node)
    if operation == "remove":
        parent.children.remove(node)
        near = parent.children[min(place, len(parent.children) - 1)] if parent.children else parent
        return Outcome(near.id)
    if operation == "duplicate":
        twin = copy.deepcopy(node)
        for item in twin.walk():
            item.id = _new_id(root, twin)
        parent.children.insert(place + 1, twin)
        return Outcome(twin.id, moved=twin.id)
    if operation == "wrap" and _fits(root, parent, node, deeper=1):
        group = Node(_new_id(root), "group", "any")
        group.children = [node]
        parent.children[place] = group
        return Outcome(group.id)
    if operation == "unwrap" and _dissolves(node, parent):
        parent.children[place : place + 1] = node.children
        return Outcome(node.children[0].id if node.children else parent.id)
    return Outcome(node.id, moved=node.id if operation == "moved" else "")


def _add(root: Node, group: Node, kind: str, suggest: Suggestions) -> Outcome:
    new = Node(_new_id(root), kind, "any", kinds()[kind].blank(suggest) if kind != "group" else None)
    if kind == "group" and not _fits(root, group, new):
        return Outcome(group.id)
    group.children.append(new)
    group.folded = False
    return Outcome(new.id, added=new.id)


def _step(root: Node, parent: Node, node: Node, up: bool) -> bool:
    """Move a node one place in reading order: past a condition, into a group beside it, or out of its own."""
    place = parent.children.index(node)
    other = place - 1 if up else place + 1
    if 0 <= other < len(parent.children):
        beside = parent.children[other]
        parent.children.remove(node)
        if beside.kind == "group" and not beside.folded and _fits(root, beside, node):
            beside.children.insert(len(beside.children) if up else 0, node)
        else:
            parent.children.insert(other, node)
        return True
    above = root.parent_of(parent)
    if above is None:
        return False
    parent.children.remove(node)
    above.children.insert(above.children.index(parent) + (0 if up else 1), node)
    return True


def _fits(root: Node, group: Node, node: Node, deeper: int = 0) -> bool:
    """Whether a node may stand in a group, under `deeper` new ones, without nesting too deep."""
    depth, at = 1, group
    while (above := root.parent_of(at)) is not None:
        depth, at = depth + 1, above
    return depth + deeper + node.height <= DEEPEST


def _dissolves(group: Node, parent: Node) -> bool:
    """Whether a group can go and leave its conditions behind without a change of meaning."""
    same = {"all": "all", "any": "any", "none": "any", "notall": "all"}[parent.mode]
    return group.kind == "group" and (
        group.mode == same or (len(group.children) == 1 and group.mode in ("all", "any"))
    )


def _new_id(*roots: Node) -> str:
    return f"n{max(int(node.id[1:]) for root in roots for node in root.walk()) + 1}"


def label(node: Node) -> str:
    """What a node is called."""
    return str(kinds()[node.kind].label) if node.kind != "group" else _("Group")


def place_of(root: Node, node_id: str) -> tuple[int, int, int]:
    """(number, of how many, level) of a node among its neighbours, for who can't see it move."""
    node = root.find(node_id)
    parent = root.parent_of(node) if node else None
    if node is None or parent is None:
        return 1, 1, 1
    level, at = 1, parent
    while (above := root.parent_of(at)) is not None:
        level, at = level + 1, above
    return parent.children.index(node) + 1, len(parent.children), level


def shown(root: Node, suggest: Suggestions) -> dict[str, Any]:
    """The tree as the templates show it: nested dicts, with what each row needs."""

    def view(node: Node, depth: int, place: int, parent: Node | None) -> dict[str, Any]:
        last = parent is None or place == len(parent.children) - 1
        found: dict[str, Any] = {
            "id": node.id,
            "kind": node.kind,
            "depth": depth,
            "up": parent is not None and (place > 0 or depth > 2),
            "down": parent is not None and (not last or depth > 2),
            "wraps": parent is not None and depth - 1 + 1 + node.height <= DEEPEST,
            "number": place + 1,
            "wrong": Wrong(node.problems),
        }
        if node.kind == "group":
            found |= {
                "mode": node.mode,
                "folded": node.folded and not any(item.problems for item in node.walk()),
                "size": sum(item.kind != "group" for item in node.walk()),
                "dissolves": parent is not None and _dissolves(node, parent),
                "deepest": depth >= DEEPEST,
                "children": [view(child, depth + 1, at, node) for at, child in enumerate(node.children)],
            }
        else:
            kind = kinds()[node.kind]
            found |= {"label": kind.label, "icon": kind.icon, "template": kind.template}
            found["row"] = kind.row(node.data, suggest)
        return found

    return view(root, 1, 0, None)
