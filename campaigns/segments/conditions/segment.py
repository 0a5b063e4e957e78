"""A condition on being in another segment."""

import msgspec
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns.segments import rows
from campaigns.segments.conditions.base import Condition, Needs
from crm.rules import inputs, operators
from crm.rules.errors import RuleError


class SegmentConfig(msgspec.Struct, forbid_unknown_fields=True):
    """`{"kind": "segment", "slug": "vip"}`"""

    kind: str
    slug: str


class InSegment(Condition):
    """Whoever another segment's rule holds for, now; that rule is compiled in its place."""

    kind, label, icon, position = "segment", gettext_lazy("Segment"), "filter_alt", 4
    template = "admin/campaigns/segment/conditions/segment.html"
    Config = SegmentConfig

    def check(self):
        if not self.config.slug:
            raise RuleError(_("Choose a segment."), "slug")
        operators.check_name(self.config.slug, "slug")

    def refers_to(self) -> str:
        return self.config.slug

    def needs(self) -> Needs:
        return Needs(segments=frozenset([self.config.slug]))

    def describe(self) -> str:
        return _("in the segment “%s”") % self.config.slug

    @classmethod
    def blank(cls, suggest):
        return {"kind": cls.kind, "slug": ""}

    @classmethod
    def read(cls, posted):
        return {"kind": cls.kind, "slug": inputs.first(posted, "slug")}

    @classmethod
    def row(cls, data, suggest):
        return {"segments": rows.offered(suggest.segments(), data.get("slug")), "slug": data.get("slug", "")}
