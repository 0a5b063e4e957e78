"""A condition that chance decides, always in the same way for one person."""

import math
import secrets
from fractions import Fraction
from hashlib import sha256
from typing import Any

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows, words
from campaigns.segments.conditions.base import Condition, Needs, Query
from crm.rules import operators
from crm.rules.errors import RuleError
from crm.rules.sql import Sql, sql

BUCKETS = 2**32


class RandomConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "random", "percent": [0, 10], "salt": "spring"}`: from 0 %, included, to 10 %, left out."""

    kind: str
    percent: list[int | float]
    salt: str = ""


class Random(Condition):
    """A share of all people. Everybody has one place from 0 to 100 for each salt, which never changes.

    The place is PostgreSQL's extended hash of the profile's number with a seed made of the salt, which stays the
    same from version to version because tables partitioned by it depend on that.
    """

    kind, label, icon, position = "random", gettext_lazy("Random share"), "casino", 10
    template = "admin/campaigns/segment/conditions/random.html"
    Config = RandomConfig

    def check(self):
        percent = self.config.percent
        if len(percent) != 2:
            raise RuleError(_("Give two numbers: from and to."), "percent")
        for index, value in enumerate(percent):
            operators.check_json_scalar(value, f"percent[{index}]")
            if not 0 <= value <= 100:
                raise RuleError(_("Give a number from 0 to 100."), f"percent[{index}]")
        if percent[0] >= percent[1]:
            raise RuleError(_("The second number has to be larger than the first."), "percent[1]")
        operators.check_json_scalar(self.config.salt, "salt")

    def needs(self) -> Needs:
        return Needs()

    def predicate(self, query: Query) -> Sql:
        low, high = (math.ceil(Fraction(str(value)) * BUCKETS / 100) for value in self.config.percent)
        return sql("{} >= {}::bigint AND {} < {}::bigint", self._bucket(), low, self._bucket(), high)

    def _bucket(self) -> Sql:
        seed = int.from_bytes(sha256(self.config.salt.encode()).digest()[:8], "big", signed=True)
        return sql("(hashint8extended(p.id, {}::bigint) & {}::bigint)", seed, BUCKETS - 1)

    def describe(self) -> str:
        low, high = self.config.percent
        return _("is in the random share from %(low)s to %(high)s %%") % {
            "low": words.number(low),
            "high": words.number(high),
        }

    def fact(self, query: Query) -> Sql:
        return sql("to_jsonb(100.0 * {} / {}::bigint)", self._bucket(), BUCKETS)

    def tell(self, fact: Any) -> str:
        return _("Their place is %s %%") % words.number(math.floor(fact * 100) / 100)

    @classmethod
    def blank(cls, suggest):
        return {"kind": cls.kind, "percent": [0, 10], "salt": secrets.token_hex(4)}

    @classmethod
    def read(cls, posted):
        return rows.read_random(posted)

    @classmethod
    def row(cls, data, suggest):
        return rows.random(data)
