"""The rule as the builder's form holds it: a tree of nodes, each with an id, its inputs named `<id>.<input>`."""

import copy
import re
from collections.abc import Iterator
from typing import Any

from django.http import QueryDict

from campaigns.segments.conditions import kinds
from campaigns.segments.grammar import MOST_NODES
from campaigns.segments.suggestions import Suggestions
from crm.rules.errors import Problem

MODES = ("all", "any", "none", "notall")
_ID = re.compile(r"n[0-9]{1,4}")


class Node:
    """A group (`mode` and `children`) or a condition (`data`, its JSON, maybe unfinished)."""

    def __init__(self, node_id: str, kind: str, mode: str = "all", data: dict[str, Any] | None = None):
        self.id, self.kind, self.mode, self.data = node_id, kind, mode, data or {}
        self.children: list[Node] = []
        self.problems: list[Problem] = []

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
    whole = Node(next(ids), "group")
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
            node = Node(node_id, kind, mode)
        elif kind in kinds():
            node = Node(node_id, kind, data=kinds()[kind].read(posted))
        else:
            continue
        nodes[node_id] = node
        parent.children.append(node)
    return root


def apply(root: Node, operation: str, target: str, suggest: Suggestions) -> str:
    """Change the tree as a button asks; anything unknown changes nothing.

    Args:
        operation: add-<kind>, add-group, remove, duplicate, up, down, add-where, remove-where-<number>, remove-extra.
        target: id of the node the button belongs to.

    Returns:
        The id of the node to move the keyboard focus to.
    """
    node = root.find(target)
    if node is None:
        return root.id
    parent = root.parent_of(node)
    verb, _dash, what = operation.partition("-")
    if verb == "add" and what == "where" and node.kind == "event":
        node.data.setdefault("where", []).append({"property": "", "op": "", "value": None})
    elif verb == "add" and node.kind == "group" and (what == "group" or what in kinds()):
        new = Node(_new_id(root), what, "any", kinds()[what].blank(suggest) if what != "group" else None)
        node.children.append(new)
        return new.id
    elif verb == "remove" and what == "extra":
        for key in ("aggregate", "not_followed_by"):
            node.data.pop(key, None)
    elif verb == "remove" and what.startswith("where-") and what[6:].isdecimal():
        where = node.data.get("where", [])
        del where[int(what[6:]) : int(what[6:]) + 1]
    elif verb == "remove" and parent:
        place = parent.children.index(node)
        parent.children.remove(node)
        near = parent.children[min(place, len(parent.children) - 1)] if parent.children else parent
        return near.id
    elif verb == "duplicate" and parent:
        twin = copy.deepcopy(node)
        for item in twin.walk():
            item.id = _new_id(root, twin)
        parent.children.insert(parent.children.index(node) + 1, twin)
        return twin.id
    elif verb in ("up", "down") and parent:
        place = parent.children.index(node)
        other = place + (-1 if verb == "up" else 1)
        if 0 <= other < len(parent.children):
            parent.children[place], parent.children[other] = parent.children[other], parent.children[place]
    return node.id


def _new_id(*roots: Node) -> str:
    return f"n{max(int(node.id[1:]) for root in roots for node in root.walk()) + 1}"


def shown(root: Node, suggest: Suggestions, counts: dict[str, int] | None = None) -> dict[str, Any]:
    """The tree as the templates show it: nested dicts, with what each row needs."""

    def view(node: Node, depth: int, place: int, siblings: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": node.id,
            "kind": node.kind,
            "depth": depth,
            "first": place == 0,
            "last": place == siblings - 1,
            "number": place + 1,
            "problems": node.problems,
        }
        if node.kind == "group":
            children = node.children
            found |= {
                "mode": node.mode,
                "children": [view(child, depth + 1, at, len(children)) for at, child in enumerate(children)],
            }
        else:
            kind = kinds()[node.kind]
            found |= {"label": kind.label, "icon": kind.icon, "template": kind.template}
            found["row"] = kind.row(node.data, suggest)
        return found

    return view(root, 1, 0, 1)
