"""A condition on whether a message by a channel would be sent to somebody at all."""

from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import reaching, rows, words
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from crm.rules import operators
from crm.rules.errors import RuleError
from crm.rules.sql import Sql
from delivery import channels


class ReachableConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "reachable", "channel": "webpush"}`"""

    kind: str
    channel: str


class Reachable(Condition):
    """Who agreed to a channel, as far as it needs a yes, and has an address there that is not suppressed."""

    kind, label, icon, position = "reachable", gettext_lazy("Reachable"), "notifications_active", 7
    template = "admin/campaigns/segment/conditions/reachable.html"
    Config = ReachableConfig

    def check(self):
        operators.check_name(self.config.channel, "channel")
        known = channels.everything().get(self.config.channel)
        if known is None:
            raise RuleError(_("There is no channel “%s”.") % self.config.channel[:100], "channel")
        self.channel = known

    def needs(self) -> Needs:
        return Needs(fields=frozenset(["consents", "suppressed", *self.channel.address_fields]))

    def part(self, query: Query) -> Part:
        return Part(reaching.reachable(self.channel, query.within_scope("a.profile_id")), distinct=False)

    def describe(self) -> str:
        return _("can be reached by %s") % self.channel.label

    def fact(self, query: Query) -> Sql:
        return reaching.fact(self.channel)

    def tell(self, fact: Any) -> str:
        return words.reached(fact)

    @classmethod
    def blank(cls, suggest):
        offered = suggest.channels()
        return {"kind": cls.kind, "channel": offered[0][0] if offered else ""}

    @classmethod
    def read(cls, posted):
        return rows.read_reachable(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.reachable(data, suggest)
