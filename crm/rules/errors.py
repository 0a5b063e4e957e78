"""What is wrong with a rule, and where."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake: `path` names the node, such as `all[1].where[0].value`; `message` is a sentence."""

    path: str
    message: str


class RuleError(ValueError):
    """A rule that cannot be used. `problems` holds every mistake found; `path` and `message` the first."""

    def __init__(self, message, path: str = "", problems: list[Problem] | None = None):
        self.problems = problems or [Problem(path, str(message))]
        self.path, self.message = self.problems[0]
        super().__init__(f"{self.path}: {self.message}" if self.path else self.message)

    def under(self, prefix: str) -> "RuleError":
        """The same mistakes, seen from the node that holds this one."""
        return RuleError("", problems=[Problem(join(prefix, path), text) for path, text in self.problems])


def join(prefix: str, path: str) -> str:
    """`all[1]` and `value` make `all[1].value`; an index needs no dot."""
    return f"{prefix}.{path}" if prefix and path and not path.startswith("[") else prefix + path
