"""A condition on being on a list that is kept by hand."""

from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from crm.rules import operators
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql


class ListConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "list", "slug": "vip-guests"}`"""

    kind: str
    slug: str


class InList(Condition):
    """Whoever is on a static list now."""

    kind, label, icon, position = "list", gettext_lazy("List"), "list_alt", 8
    template = "admin/campaigns/segment/conditions/list.html"
    Config = ListConfig
    only_lists = True

    def check(self):
        if not self.config.slug:
            raise RuleError(_("Choose a list."), "slug")
        operators.check_name(self.config.slug, "slug")

    def refers_to(self) -> str:
        return self.config.slug

    def needs(self) -> Needs:
        return Needs(fields=frozenset(["lists"]), segments=frozenset([self.config.slug]))

    def describe(self) -> str:
        return _("on the list “%s”") % self.config.slug

    @classmethod
    def blank(cls, suggest):
        return {"kind": cls.kind, "slug": ""}

    @classmethod
    def read(cls, posted):
        return rows.read_list(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.listed(data, suggest)


class Members(Condition):
    """The stored members of a list, which stand in for its rule; no rule names this."""

    def __init__(self, segment_id: int):
        self.segment_id = segment_id
        super().__init__(None)

    def needs(self) -> Needs:
        return Needs(fields=frozenset(["lists"]))

    def part(self, query: Query) -> Part:
        return Part(
            sql(
                "SELECT m.profile_id AS id FROM campaigns_segmentmembership m WHERE m.segment_id = {}{}",
                self.segment_id,
                query.within_scope("m.profile_id"),
            )
        )

    def describe(self) -> str:
        return _("on the list")

    def fact(self, query: Query) -> Sql:
        return sql(
            "(SELECT to_jsonb(m.entered_at) FROM campaigns_segmentmembership m"
            " WHERE m.profile_id = p.id AND m.segment_id = {})",
            self.segment_id,
        )

    def tell(self, fact: Any) -> str:
        return _("since %s") % str(fact)[:10] if fact else _("Not on the list")
