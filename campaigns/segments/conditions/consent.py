"""A condition on what somebody answered when asked whether we may write."""

from typing import Any, Literal

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows, words
from campaigns.segments.conditions.base import Condition, Needs, Part, Query
from crm.models import Consent as Answer
from crm.rules import operators
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql

NEVER_ASKED = "none"


class ConsentConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "consent", "channel": "webpush", "state": "subscribed"}`, or with `topic` in place of `channel`."""

    kind: str
    state: Literal["subscribed", "unsubscribed", "pending", "none"]
    channel: str | None = None
    topic: str | None = None


class Consent(Condition):
    """The present answer for one channel or one topic."""

    kind, label, icon, position = "consent", gettext_lazy("Consent"), "how_to_reg", 6
    template = "admin/campaigns/segment/conditions/consent.html"
    Config = ConsentConfig

    def check(self):
        config = self.config
        if (config.channel is None) == (config.topic is None):
            raise RuleError(_("Give either a channel or a topic."), "channel")
        name = "topic" if config.channel is None else "channel"
        operators.check_name(getattr(config, name), name)

    def needs(self) -> Needs:
        return Needs(fields=frozenset(["consents"]))

    def part(self, query: Query) -> Part:
        never = self.config.state == NEVER_ASKED
        return Part(
            sql(
                "SELECT c.profile_id AS id FROM crm_consent c WHERE {} AND {}{}",
                self._question(),
                Sql("true") if never else sql("c.state = {}", self.config.state),
                query.within_scope("c.profile_id"),
            ),
            complement=never,
        )

    def _question(self) -> Sql:
        topic, channel = self.config.topic, self.config.channel
        kind = Answer.Kind.TOPIC if channel is None else Answer.Kind.CHANNEL
        return sql("c.kind = {} AND c.key = {}", kind.value, topic if channel is None else channel)

    def describe(self) -> str:
        config = self.config
        values = {"answer": words.ANSWERS[config.state], "name": config.channel or config.topic}
        if config.channel is not None:
            return _("consent to the channel “%(name)s” is: %(answer)s") % values
        return _("consent to the topic “%(name)s” is: %(answer)s") % values

    def fact(self, query: Query) -> Sql:
        return sql(
            "(SELECT to_jsonb(c.state) FROM crm_consent c WHERE c.profile_id = p.id AND {})", self._question()
        )

    def tell(self, fact: Any) -> str:
        return words.capital(str(words.ANSWERS.get(fact or NEVER_ASKED, fact)))

    @classmethod
    def blank(cls, suggest):
        channels = suggest.channels()
        return {"kind": cls.kind, "channel": channels[0][0] if channels else "", "state": "subscribed"}

    @classmethod
    def read(cls, posted):
        return rows.read_consent(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.consent(data, suggest)
