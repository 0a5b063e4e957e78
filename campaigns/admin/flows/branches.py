"""The branches of a split in its panel: told apart by a rule, by a share, or by what came of a wait."""

from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from campaigns.admin.flows import rules
from campaigns.flows import editing
from campaigns.flows.steps.base import StepKind


class Row:
    """One branch in the form. `origin` is its index among the stored branches, None for a new one."""

    def __init__(
        self,
        name: str,
        origin: int | None,
        number: int = 0,
        editor: rules.RuleEditor | None = None,
        percent: str = "",
    ):
        self.name, self.origin, self.number, self.editor, self.percent = name, origin, number, editor, percent
        self.error = ""


class Branches:
    """What all ways to tell branches apart share: names, and the steps that the branches hold."""

    template: str
    most = rules.MOST_BRANCHES
    least = 2

    def __init__(self, kind: StepKind, post: QueryDict | None, stored: list[dict[str, Any]]):
        self.kind, self.before, self.error = kind, stored, ""
        self.rows: list[Row] = []
        if post is not None and ("branch" in post or "rest-name" in post):
            self.rows = [self.read(post, int(text)) for text in self._numbers(post)]
            self.read_rest(post)
        else:
            self.load(stored)

    def _numbers(self, post: QueryDict) -> list[str]:
        texts = [text for text in post.getlist("branch") if text.isdecimal() and len(text) < 3]
        return [text for text in dict.fromkeys(texts) if int(text) < rules.RULE]

    def load(self, stored: list[dict[str, Any]]) -> None:
        """Begin with what is stored."""
        raise NotImplementedError

    def read(self, post: QueryDict, number: int) -> Row:
        """The branch called `number` as its inputs say."""
        name, origin = post.get(f"b{number}-name", ""), self.origin(post.get(f"b{number}-origin", ""))
        return Row(name.strip()[:100], origin, number)

    def read_rest(self, post: QueryDict) -> None:
        """Read what is not a row."""

    def origin(self, text: str) -> int | None:
        """The stored branch that an input names; None if there is none such."""
        return int(text) if text.isdecimal() and int(text) < len(self.before) else None

    @property
    def all(self) -> list[Row]:
        return self.rows

    def new(self, number: int) -> Row:
        """A branch that is being added."""
        return Row("", None, number)

    def apply(self, operation: str, target: str) -> str:
        """Do what a button asks for; return the id of what gets the focus."""
        if operation == "add-branch" and len(self.rows) < self.most:
            free = next(n for n in range(rules.RULE) if n not in {row.number for row in self.rows})
            self.rows.append(self.new(free))
            return f"b{free}-name"
        if operation == "remove-branch":
            self.rows = [row for row in self.rows if str(row.number) != target]
            return "add-branch"
        return ""

    def is_valid(self) -> bool:
        """Whether every branch has a name of its own and what tells it apart."""
        names = [row.name for row in self.all]
        for row in self.all:
            if not row.name:
                row.error = _("Name the branch.")
            elif names.count(row.name) > 1:
                row.error = _("Another branch has this name.")
            else:
                row.error = self.mistake(row)
        return not any(row.error for row in self.all)

    def mistake(self, row: Row) -> str:
        """What is wrong with what tells a branch apart; empty if nothing is."""
        return ""

    def part(self, row: Row) -> dict[str, Any]:
        """What tells a branch apart, as stored."""
        return {}

    def stored(self) -> list[dict[str, Any]]:
        """The branches with the steps that they held before."""
        return [
            {
                "name": row.name,
                "steps": self.before[row.origin].get("steps", []) if row.origin is not None else [],
                **self.part(row),
            }
            for row in self.all
        ]

    def shown(self) -> dict[str, Any]:
        """What the template draws."""
        return {
            "template": self.template,
            "rows": [self.row(row) for row in self.rows],
            "error": self.error,
            "can_add": len(self.rows) < self.most,
            "can_remove": len(self.rows) > self.least,
        }

    def row(self, row: Row) -> dict[str, Any]:
        """What the template draws of one branch."""
        branch = self.before[row.origin] if row.origin is not None else {}
        return {
            "number": row.number,
            "name": row.name,
            "origin": "" if row.origin is None else row.origin,
            "error": row.error,
            "percent": row.percent,
            "held": sum(1 for _step in editing.walk(branch.get("steps", []))),
        }


class RuleBranches(Branches):
    """Some with a rule each, and last the one that takes everybody else."""

    template, least = "rule", 0

    def load(self, stored):
        ruled = [(index, branch) for index, branch in enumerate(stored) if branch.get("rule") is not None]
        rest = next((i for i, branch in enumerate(stored) if branch.get("rule") is None), None)
        self.rows = [
            Row(branch["name"], index, number, rules.RuleEditor.of(branch["rule"], number))
            for number, (index, branch) in enumerate(ruled)
        ] or [Row(_("Yes"), None, 0, rules.RuleEditor.of(None, 0))]
        self.rest = Row(stored[rest]["name"] if rest is not None else _("Everybody else"), rest)

    def read(self, post, number):
        row = super().read(post, number)
        row.editor = rules.RuleEditor.posted(post, number)
        return row

    def read_rest(self, post):
        self.rest = Row(post.get("rest-name", "").strip()[:100], self.origin(post.get("rest-origin", "")))

    @property
    def all(self):
        return [*self.rows, self.rest]

    def new(self, number):
        return Row("", None, number, rules.RuleEditor.of(None, number))

    def apply(self, operation, target):
        for row in self.rows:
            if row.editor and row.number == rules.number_of(target):
                return row.editor.apply(operation, target)
        return super().apply(operation, target)

    def is_valid(self):
        good = super().is_valid()
        checked = [row.editor.is_valid() for row in self.rows if row.editor is not None]
        if not self.rows:
            self.error = _("Add a branch with a rule.")
        return good and all(checked) and bool(self.rows)

    def mistake(self, row):
        if row.editor is not None and row.editor.empty:
            return _("Add a condition: without one, everybody would go this way.")
        return ""

    def part(self, row):
        return {"rule": row.editor.rule()} if row.editor is not None else {}

    def row(self, row):
        return {**super().row(row), "tree": row.editor.shown() if row.editor else None}

    def shown(self):
        return {**super().shown(), "rest": super().row(self.rest)}


class PercentBranches(Branches):
    """Each takes a share of the people; the shares add up to 100 %."""

    template = "percent"
    most = 20

    def load(self, stored):
        self.rows = [
            Row(branch["name"], index, index, percent=_digits(branch.get("percent")))
            for index, branch in enumerate(stored)
        ] or [Row("A", None, 0, percent="50"), Row("B", None, 1, percent="50")]

    def read(self, post, number):
        row = super().read(post, number)
        row.percent = post.get(f"b{number}-percent", "").strip()[:20]
        return row

    def new(self, number):
        used = {row.name for row in self.rows}
        letter = next((name for name in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if name not in used), "")
        return Row(letter, None, number, percent="0" if sum(self._shares()) >= 100 else self._rest())

    def _rest(self) -> str:
        return _digits(round(100 - sum(self._shares()), 2))

    def _shares(self) -> list[float]:
        return [_share(row.percent) or 0 for row in self.rows]

    def apply(self, operation, target):
        if operation == "even-split" and self.rows:
            cents = 10_000 // len(self.rows)
            for index, row in enumerate(self.rows):
                row.percent = _digits((cents + (index < 10_000 % len(self.rows))) / 100)
            return "even-split"
        return super().apply(operation, target)

    def is_valid(self):
        good, total = super().is_valid(), round(sum(self._shares()), 6)
        if len(self.rows) < self.least:
            self.error = _("Add a second branch.")
        elif good and total != 100:
            self.error = _("The shares add up to %s %%, not to 100 %%.") % _digits(total)
        return good and not self.error

    def mistake(self, row):
        share = _share(row.percent)
        return (
            "" if share is not None and 0 <= share <= 100 else _("Give the branch a share from 0 to 100 %.")
        )

    def part(self, row):
        share = _share(row.percent) or 0
        return {"percent": int(share) if share == int(share) else share}

    def shown(self):
        return {**super().shown(), "sum": _digits(sum(self._shares()))}


class OutcomeBranches(Branches):
    """As many as the kind has outcomes; only their names can be changed."""

    template = "outcome"

    def load(self, stored):
        names = [str(name) for name in self.kind.outcomes]
        for index, name in enumerate(names):
            held = stored[index]["name"] if index < len(stored) else name
            self.rows.append(Row(held, index if index < len(stored) else None, index))

    def apply(self, operation, target):
        return ""

    def row(self, row):
        outcomes = self.kind.outcomes
        meaning = str(outcomes[row.number]) if row.number < len(outcomes) else ""
        return {**super().row(row), "meaning": meaning}


KINDS: dict[str, type[Branches]] = {
    "rule": RuleBranches,
    "percent": PercentBranches,
    "outcome": OutcomeBranches,
}


def of(kind: StepKind, post: QueryDict | None, stored: list[dict[str, Any]]) -> Branches | None:
    """The editor of a step's branches; None for a kind that has none."""
    return KINDS[kind.branches_by](kind, post, stored) if kind.branching else None


def _share(text: str) -> float | None:
    try:
        share = float(text.replace(",", "."))
    except ValueError:
        return None
    return share if share == share and abs(share) <= 1000 else None


def _digits(share: float | None) -> str:
    return "" if share is None else f"{share:.2f}".rstrip("0").rstrip(".")
