"""A condition on what became of our messages to a person."""

from datetime import datetime
from typing import Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows, words
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from campaigns.segments.windows import Within
from crm.rules import operators
from crm.rules.sql import Sql, joined, sql
from delivery.models import Delivery

# What somebody did -> the events that tell so.
EVENTS = {
    "received": ["message_sent", "message_delivered"],
    "opened": ["message_opened"],
    "clicked": ["message_clicked"],
    "converted": ["message_converted"],
    "dismissed": ["message_dismissed"],
    "bounced": ["message_failed"],
}


class MessageConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON shape; every filter that is absent leaves its question open."""

    kind: str
    did: Literal["received", "opened", "clicked", "converted", "dismissed", "bounced"]
    message: str | None = None
    flow: str | None = None
    channel: str | None = None
    topic: str | None = None
    within: Within | None = None


class Message(Condition):
    """Who received, opened, clicked… a message; at least once."""

    kind, label, icon, position = "message", gettext_lazy("Message"), "mark_email_read", 3
    template = "admin/campaigns/segment/conditions/message.html"
    Config = MessageConfig

    def check(self):
        for name in ("message", "flow", "channel", "topic"):
            operators.check_json_scalar(getattr(self.config, name) or "", name)
        if self.config.within:
            self.config.within.check("within")

    def part(self, query: Query) -> Part:
        return Part(_people(self._matching(query), query), distinct=False)

    def needs(self) -> Needs:
        return Needs(events=frozenset(EVENTS[self.config.did]))

    def passed(self, query: Query, since: datetime) -> list[Sql]:
        if self.config.within is None:
            return []
        edges = self.config.within.crossed(Sql("e.occurred_at"), since, query.now)
        return [_people(joined(" AND ", [self._about(), edge]), query) for edge in edges]

    def _matching(self, query: Query) -> Sql:
        """The condition on one event e."""
        within = self.config.within
        inside = within.bounds(Sql("e.occurred_at"), query.now) if within else []
        return joined(" AND ", [self._about(), *inside])

    def _about(self) -> Sql:
        """The condition on what an event e tells, whenever it was."""
        config = self.config
        checks = [sql("e.name = ANY({}::text[])", EVENTS[config.did])]
        checks += [
            sql("e.properties ->> {}::text = {}", name, getattr(config, name))
            for name in ("message", "channel")
            if getattr(config, name) is not None
        ]
        if config.flow is not None:
            checks.append(
                sql(
                    "e.properties #>> '{{origin,type}}' = {} AND e.properties #> '{{origin,id}}'"
                    " = (SELECT to_jsonb(f.id) FROM campaigns_flow f WHERE f.slug = {})",
                    Delivery.Origin.FLOW.value,
                    config.flow,
                )
            )
        if config.topic is not None:
            slugs = sql("SELECT slug FROM delivery_message WHERE topic = {}", config.topic)
            checks.append(sql("e.properties ->> 'message' IN ({})", slugs))
        return joined(" AND ", checks)

    def describe(self) -> str:
        config = self.config
        verb = words.DID[config.did]
        what = _("%(did)s the message “%(message)s”") if config.message else _("%(did)s a message")
        text = what % {"did": verb, "message": config.message}
        if config.flow:
            text += " " + _("of the flow “%s”") % config.flow
        if config.topic:
            text += " " + _("on the topic “%s”") % config.topic
        if config.channel:
            text += " " + _("by %s") % config.channel
        return f"{text} {words.within(config.within)}" if config.within else text

    def fact(self, query: Query) -> Sql:
        return sql(
            "(SELECT jsonb_build_array(count(*), max(e.occurred_at)) FROM crm_event e"
            " WHERE e.profile_id = p.id AND {})",
            self._matching(query),
        )

    def tell(self, fact) -> str:
        return words.happened(fact)

    @classmethod
    def blank(cls, suggest):
        return {"kind": cls.kind, "did": "opened", "within": {"last": {"days": 30}}}

    @classmethod
    def read(cls, posted):
        return rows.read_message(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.message(data, suggest)


def _people(matching: Sql, query: Query) -> Sql:
    return sql(
        "SELECT e.profile_id AS id FROM crm_event e WHERE {}{}", matching, query.within_scope("e.profile_id")
    )
