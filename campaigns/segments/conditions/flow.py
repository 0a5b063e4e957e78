"""A condition on what became of somebody in a flow."""

from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.models import Enrollment, Flow
from campaigns.segments import rows, words
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from crm.rules import operators
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql

STATES = {
    "in": Enrollment.State.ACTIVE.value,
    "completed": Enrollment.State.COMPLETED.value,
    "exited": Enrollment.State.EXITED.value,
}


class FlowConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "flow", "flow": "welcome", "state": "in"}`"""

    kind: str
    flow: str
    state: Literal["in", "completed", "exited", "never"]


class InFlow(Condition):
    """Who is in a flow, went to its end at least once, left it early at least once, or was never in it."""

    kind, label, icon, position = "flow", gettext_lazy("Flow"), "account_tree", 5
    template = "admin/campaigns/segment/conditions/flow.html"
    Config = FlowConfig

    def check(self):
        operators.check_name(self.config.flow, "flow")
        found = Flow.objects.filter(slug=self.config.flow).only("pk", "name").first()
        if found is None:
            raise RuleError(_("There is no flow “%s”.") % self.config.flow[:100], "flow")
        self.flow = found

    def needs(self) -> Needs:
        return Needs(fields=frozenset(["enrollments"]))

    def part(self, query: Query) -> Part:
        state = STATES.get(self.config.state)
        return Part(
            sql(
                "SELECT r.profile_id AS id FROM campaigns_enrollment r WHERE r.flow_id = {} AND {}{}",
                self.flow.pk,
                sql("r.state = {}", state) if state else Sql("true"),
                query.within_scope("r.profile_id"),
            ),
            complement=state is None,
            distinct=False,
        )

    def describe(self) -> str:
        return str(words.RUNS[self.config.state]) % self.flow.name

    def fact(self, query: Query) -> Sql:
        return sql(
            "(SELECT to_jsonb(array_agg(DISTINCT r.state)) FROM campaigns_enrollment r"
            " WHERE r.profile_id = p.id AND r.flow_id = {})",
            self.flow.pk,
        )

    def tell(self, fact: Any) -> str:
        if not fact:
            return _("Was never in it")
        return words.capital(", ".join(str(Enrollment.State(state).label) for state in fact))

    @classmethod
    def blank(cls, suggest):
        flows = suggest.flows()
        return {"kind": cls.kind, "flow": flows[0][0] if flows else "", "state": "in"}

    @classmethod
    def read(cls, posted):
        return rows.read_flow(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.flow(data, suggest)
