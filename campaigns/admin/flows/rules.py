"""The segment builder's rule editor inside the panels of flows, several to a form.

Each tree has a number. Its nodes are called n0, n1, … by the segment builder and n<number * SPAN + …> on the page,
so that the inputs of one tree do not meet those of another.
"""

import re
from typing import Any

from django.http import QueryDict

from campaigns.segments import builder, compiler, grammar
from campaigns.segments.conditions import kinds
from campaigns.segments.suggestions import Suggestions
from crm.rules.errors import RuleError

SPAN = 1000
MOST_BRANCHES = 20
RULE, CONDITION = 98, 99  # the trees of a step's own rule and of its condition; those below are branches
_NAME = re.compile(r"n([0-9]{1,5})(\..*)?", re.DOTALL)


class RuleEditor:
    """One rule being edited: read from a form, changed by a button, checked, shown."""

    def __init__(self, number: int, root: builder.Node):
        self.number, self.root = number, root

    @classmethod
    def of(cls, rule: dict[str, Any] | None, number: int = 0) -> "RuleEditor":
        """The editor of a stored rule; of an empty one for None."""
        return cls(number, builder.from_rule(rule if rule is not None else {"all": []}))

    @classmethod
    def posted(cls, post: QueryDict, number: int = 0) -> "RuleEditor":
        """The tree called `number` as its inputs say."""
        mine = QueryDict(mutable=True)
        mine.setlist("node", [node for text in post.getlist("node") if (node := _inside(text, number))])
        for name, texts in post.lists():
            if own := _inside(name, number):
                refers = own.endswith(".parent")
                mine.setlist(own, [_inside(text, number) or "" for text in texts] if refers else texts)
        return cls(number, builder.read(mine))

    @property
    def empty(self) -> bool:
        """Whether there is no condition at all."""
        return not self.root.children

    def apply(self, operation: str, target: str) -> str:
        """Change the tree as a button of the page asks; the id on the page that gets the focus."""
        outcome = builder.apply(self.root, operation, _inside(target, self.number) or "", Suggestions())
        return self._outside(outcome.focus)

    def rule(self) -> dict[str, Any]:
        """The rule as JSON, finished or not."""
        return builder.to_rule(self.root)[0]

    def is_valid(self) -> bool:
        """Whether the rule can be asked; otherwise each node of the tree knows what is wrong with it."""
        data, paths = builder.to_rule(self.root)
        try:
            compiler.references(grammar.parse(data))
        except RuleError as error:
            builder.mark(paths, error.problems)
            return False
        return True

    def shown(self) -> dict[str, Any]:
        """The tree for the segment builder's templates, with the page's ids."""

        def rename(node: dict[str, Any]) -> dict[str, Any]:
            node["id"] = self._outside(node["id"])
            for child in node.get("children", []):
                rename(child)
            return node

        return rename(builder.shown(self.root, Suggestions()))

    def _outside(self, name: str) -> str:
        node_id, dot, rest = name.partition(".")
        return f"n{self.number * SPAN + int(node_id[1:])}{dot}{rest}"


def number_of(target: str) -> int | None:
    """The number of the tree that a node of the page belongs to."""
    found = _NAME.fullmatch(target)
    return int(found[1]) // SPAN if found else None


def template_values(edit_url: str, may_change: bool) -> dict[str, Any]:
    """What the segment builder's templates need besides the tree."""
    return {
        "kinds": list(kinds().values()),
        "edit_url": edit_url,
        "may_change": may_change,
    }


def _inside(name: str, number: int) -> str | None:
    """A node's name of the page as the segment builder says it; None if it belongs to another tree."""
    found = _NAME.fullmatch(name)
    if not found or int(found[1]) // SPAN != number:
        return None
    return f"n{int(found[1]) % SPAN}{found[2] or ''}"
