"""The rule language: a JSON tree of groups and conditions.

    rule := {"all": [rule, …]} | {"any": [rule, …]} | {"not": rule} | {"kind": …, …}

An empty `all` holds for everybody, an empty `any` for nobody. What each kind of condition takes is in its
`Config` under campaigns/segments/conditions; what comparisons mean is in campaigns/segments/operators.py.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from campaigns.segments.conditions import kinds
from campaigns.segments.conditions.base import Condition
from crm.rules.errors import Problem, RuleError, join
from crm.rules.shapes import problem

DEEPEST = 4  # levels of all/any groups
MOST_NODES = 100


class Group:
    """`all` or `any` of some rules."""

    def __init__(self, mode: str, rules: "list[Rule]", path: str):
        self.mode, self.rules, self.path = mode, rules, path


class Not:
    """Everybody but those for whom a rule holds."""

    def __init__(self, rule: "Rule", path: str):
        self.rule, self.path = rule, path


Rule = Group | Not | Condition


def parse(data: Any) -> Rule:
    """Check a rule, given as the Python form of its JSON.

    Raises:
        RuleError: with every mistake found, each at the path of its node, such as `all[1].where[0].value`.
    """
    reader = _Reader()
    rule = reader.read(data, "", 0, 0)
    if reader.problems or rule is None:
        raise RuleError(
            "", problems=[Problem(_tellable(at), _tellable(text)) for at, text in reader.problems]
        )
    return rule


def _tellable(text: str) -> str:
    """Text that can be sent: half a surrogate pair, which JSON can hold, is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def leaves(rule: Rule) -> Iterator[Condition]:
    """The conditions of a rule, in reading order."""
    if isinstance(rule, Group):
        for item in rule.rules:
            yield from leaves(item)
    elif isinstance(rule, Not):
        yield from leaves(rule.rule)
    else:
        yield rule


class _Reader:
    """One pass over a rule that goes on after a mistake."""

    def __init__(self):
        self.problems: list[Problem] = []
        self.nodes = 0

    def wrong(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def read(self, data: Any, path: str, groups: int, nesting: int) -> Rule | None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            if self.nodes == MOST_NODES + 1:
                self.wrong(path, _("A rule has at most %d parts.") % MOST_NODES)
            return None
        if not isinstance(data, dict):
            self.wrong(path, _("A rule is an object with “all”, “any”, “not” or “kind”."))
            return None
        words = [word for word in ("all", "any", "not", "kind") if word in data]
        if len(words) != 1:
            self.wrong(path, _("A rule has exactly one of “all”, “any”, “not” and “kind”."))
            return None
        if words[0] == "kind":
            return self.condition(data, path)
        for key in data:
            if key != words[0]:
                self.wrong(join(path, str(key)[:100]), _("This does not belong here."))
        if words[0] == "not":
            rule = self.read(data["not"], join(path, "not"), groups, nesting + 1)
            return Not(rule, path) if rule else None
        return self.group(words[0], data[words[0]], path, groups + 1, nesting)

    def group(self, mode: str, items: Any, path: str, groups: int, nesting: int) -> Rule | None:
        here = join(path, mode)
        if groups > DEEPEST:
            self.wrong(path, _("Groups nest at most %d deep.") % DEEPEST)
            return None
        if not isinstance(items, list):
            self.wrong(here, _("Give a list of rules."))
            return None
        rules = [self.read(item, f"{here}[{index}]", groups, nesting + 1) for index, item in enumerate(items)]
        return Group(mode, [rule for rule in rules if rule], path)

    def condition(self, data: dict, path: str) -> Condition | None:
        kind = kinds().get(data["kind"]) if isinstance(data["kind"], str) else None
        if kind is None:
            shown = ", ".join(kinds())
            self.wrong(join(path, "kind"), _("The kind is one of: %s.") % shown)
            return None
        try:
            return kind(msgspec.convert(data, kind.Config), path)
        except msgspec.ValidationError as error:
            self.problems.append(problem(error, path))
        except RuleError as error:
            self.problems.extend(error.under(path).problems)
        except UnicodeEncodeError:
            self.wrong(path, _("The name of a value holds a character that cannot be stored."))
        return None
