"""What every kind of condition has in common."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

import msgspec

from crm.rules.sql import Sql, sql

MOST_LISTED = 200  # ids in a statement; the planner looks at each of them, for each partition and index


class Query(NamedTuple):
    """What one compilation is about.

    Args:
        now: aware, in UTC; relative windows end here.
        scope: the only profiles that matter, or None for everybody.
        rules: the parsed rules of the segments that the rule refers to, by slug.
        live: work computed attributes out from the log of this moment, for a scope, instead of what is kept, which
            is seconds behind: an event must count already for the rule that it makes somebody ask.
        columns: of crm_profile, by the keys of the attributes that are kept there as well; `crm.indexed_attributes`.
        table: a table with the ids of the scope, or nothing; see campaigns/segments/scopes.py.
    """

    now: datetime
    scope: list[int] | None = None
    rules: Mapping[str, Any] = {}
    live: bool = False
    columns: Mapping[tuple[str, ...], str] = {}
    table: str = ""

    def within_scope(self, column: str) -> Sql:
        """` AND` the column is in the scope, or nothing when everybody matters."""
        if self.scope is None:
            return Sql("")
        if self.table:
            return sql(" AND {} IN (SELECT id FROM {})", Sql(column), Sql(self.table))
        if len(self.scope) <= MOST_LISTED:
            return sql(" AND {} = ANY({}::bigint[])", Sql(column), self.scope)
        return sql(" AND {} IN (SELECT DISTINCT unnest({}::bigint[]))", Sql(column), self.scope)

    def everybody(self, where: Sql | None = None) -> Sql:
        """The ids of the profiles in scope, or of those that satisfy a condition on the alias p."""
        return sql(
            "SELECT p.id FROM crm_profile p WHERE ({}){}", where or Sql("true"), self.within_scope("p.id")
        )


class Needs(NamedTuple):
    """What can change the answer about a person; whatever is not named here can't.

    Args:
        events: names of events of the person.
        fields: what `crm.changes` names about a profile: columns such as `country`, `attributes`, `computed`,
            `consents`, `devices`, `identifiers`, `suppressed`, `lists`, `enrollments`.
        segments: slugs of segments whose rule is part of this one.
    """

    events: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()


class Part(NamedTuple):
    """A set of profile ids as a SELECT, or with `complement` everybody in scope except those.

    `distinct` is False when ids may repeat; INTERSECT, UNION and EXCEPT remove repeats anyway.
    """

    ids: Sql
    complement: bool = False
    distinct: bool = True


class Condition:
    """One kind of condition: its JSON shape, its SQL, and its words.

    A subclass checks `config` in `check` (RuleError paths are relative to the condition), and offers either
    `predicate` (a condition on the profile's own row, so that neighbours share one scan) or `part`.
    """

    kind: ClassVar[str]
    label: ClassVar[Any]  # in the builder's menu
    icon: ClassVar[str]  # a Material symbol
    template: ClassVar[str]  # the row in the builder
    position: ClassVar[int] = 100
    Config: ClassVar[type[msgspec.Struct]]
    only_lists: ClassVar[bool] = False  # what it refers to has to be a list
    do_not_call_in_templates: ClassVar[bool] = True  # the builder's menu lists the classes themselves

    def __init__(self, config: Any, path: str = ""):
        self.config, self.path = config, path
        self.check()

    def check(self) -> None:
        """Raises RuleError when the values make no sense together."""

    def predicate(self, query: Query) -> Sql | None:
        """SQL on the profile's alias p, true for whom it holds; None when the answer lies elsewhere."""
        return None

    def part(self, query: Query) -> Part:
        """The ids for whom it holds."""
        return Part(query.everybody(self.predicate(query)))

    def refers_to(self) -> str | None:
        """The slug of the segment whose rule this needs."""
        return None

    def needs(self) -> Needs:
        """What can change the answer about a person, the passing of time apart."""
        raise NotImplementedError

    def passed(self, query: Query, since: datetime) -> list[Sql]:
        """SELECTs of ids that hold everybody whose answer time alone may have changed after `since` until `query.now`.

        Too many ids cost time, a missing one is a mistake. They should follow an index, for they are asked often.
        """
        return []

    def passed_predicate(self, query: Query, since: datetime) -> Sql | None:
        """As `passed`, as a condition on the profile's alias p; those of all segments share one scan."""
        return None

    def describe(self) -> str:
        """A clause about a person, such as “country is Poland”."""
        raise NotImplementedError

    def fact(self, query: Query) -> Sql | None:
        """A scalar expression in JSON about the profile p: what decided. None when there is nothing to say."""
        return None

    def tell(self, fact: Any) -> str:
        """The fact in words."""
        return ""

    @classmethod
    def blank(cls, suggest: Any) -> dict[str, Any]:
        """The condition as the builder adds it. `suggest` is campaigns.segments.suggestions."""
        raise NotImplementedError

    @classmethod
    def read(cls, posted: Mapping[str, list[str]]) -> dict[str, Any]:
        """The condition from the builder's inputs, by name without the row's prefix; not yet checked."""
        raise NotImplementedError

    @classmethod
    def row(cls, data: dict[str, Any], suggest: Any) -> dict[str, Any]:
        """What the row's template shows for a condition, finished or not."""
        raise NotImplementedError
