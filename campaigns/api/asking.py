"""Questions about rules and people: how many, and why one person is in or not."""

from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, shapes
from campaigns.api.common import SegmentApi
from campaigns.models import Segment, SegmentMembership
from campaigns.segments import evaluate
from crm import masking
from crm.api import schemas
from crm.api.profile_json import READS
from crm.api.views import encoded
from crm.identity import Reference
from crm.models import Profile
from crm.rules.errors import join

_PREVIEW = {
    "size": 1204,
    "estimated": False,
    "total": 250_000,
    "sample": [examples.ADA],
    "sentence": examples.SENTENCE,
    "counts": {"rule.all[0]": 61_000, "rule.all[1]": 4800},
}
_WHY = {
    "profile": 42,
    "holds": False,
    "member": False,
    "entered_at": None,
    "explanation": {
        "path": "rule",
        "text": "All of these must hold",
        "holds": False,
        "fact": "",
        "children": [
            {
                "path": "rule.all[0]",
                "text": "Country is Poland",
                "holds": True,
                "fact": "Poland",
                "children": [],
            },
            {
                "path": "rule.all[1]",
                "text": "Did “purchase” at least 1 time in the last 30 days",
                "holds": False,
                "fact": "no such event",
                "children": [],
            },
        ],
    },
}


class _Preview(msgspec.Struct, forbid_unknown_fields=True):
    rule: Any
    counts: bool = False


class _Explain(msgspec.Struct, forbid_unknown_fields=True):
    profile: Reference


class PreviewView(SegmentApi):
    scopes = {"POST": READS}
    repeatable = False  # it changes nothing

    @extend_schema(
        operation_id="segments_preview",
        tags=["segments"],
        summary="Try a rule",
        description="How many people it holds for at this moment, ten of them, and the rule in words. When counting "
        "takes longer than about two seconds, the size is estimated and says so. Nothing is stored. Keys that see no "
        "contact data get outlines, and may not compare with contact data (403).",
        request=shapes.PreviewInput,
        responses={
            200: OpenApiResponse(shapes.Preview, description="The answer of this moment."),
            400: examples.WRONG_RULE,
            503: examples.TOO_SLOW,
            **schemas.errors(413, 415),
        },
        examples=[
            examples.request("A rule", {"rule": examples.RULE, "counts": True}),
            examples.answer("Counted", _PREVIEW),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Evaluate it for everybody."""
        sent = self.parsed(request, _Preview)
        rule = common.parsed_rule(sent.rule)
        common.limited(request)
        found = evaluate.preview(rule, with_counts=sent.counts)
        people = Profile.objects.in_bulk([row["id"] for row in found.sample])
        return encoded(
            {
                "size": found.size,
                "estimated": found.estimated,
                "total": found.total,
                "sample": [common.person_json(people[key]) for key in people],
                "sentence": found.sentence,
                "counts": {join("rule", path): size for path, size in found.counts.items()},
            }
        )


class ExplainView(SegmentApi):
    scopes = {"POST": READS}
    repeatable = False  # it changes nothing

    @extend_schema(
        operation_id="segments_explain",
        tags=["segments"],
        summary="Why is a person in it, or not?",
        description="Each part of the rule, with whether it holds for this person at this moment and the fact that "
        "decided. `member` tells what is kept, which follows within seconds. Keys that see no contact data name the "
        "person by `id`, and may not ask about rules that compare with contact data (403).",
        parameters=[examples.SLUG],
        request=shapes.ExplainInput,
        responses={
            200: OpenApiResponse(shapes.Explanation, description="The rule as a tree, with its answers."),
            503: examples.TOO_SLOW,
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("By email", {"profile": {"email": "ada@example.com"}}),
            examples.answer("Not in it", _WHY),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Evaluate it for one person."""
        segment = common.segment(slug)
        profile = common.whose(self.parsed(request, _Explain).profile)
        common.limited(request)
        member = SegmentMembership.objects.filter(segment=segment, profile=profile).first()
        node = (
            _listed(member is not None)
            if segment.kind == Segment.Kind.LIST
            else _node(evaluate.explain(common.parsed_rule(segment.rule, slug), profile.pk))
        )
        return encoded(
            {
                "profile": profile.pk,
                "holds": node["holds"],
                "member": member is not None,
                "entered_at": member and member.entered_at,
                "explanation": node,
            }
        )


def _node(found: evaluate.Explanation) -> dict[str, Any]:
    return {
        "path": join("rule", found.path),
        "text": str(found.text),
        "holds": found.holds,
        "fact": masking.text(str(found.fact)) if masking.hidden() else str(found.fact),
        "children": [_node(child) for child in found.children],
    }


def _listed(holds: bool) -> dict[str, Any]:
    return {"path": "", "text": _("On the list"), "holds": holds, "fact": "", "children": []}
