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
from campaigns.segments import evaluate, overlap, plans
from crm import masking
from crm.api import schemas
from crm.api.errors import ApiError
from crm.api.profile_json import READS
from crm.api.views import encoded
from crm.rules.errors import join

_PREVIEW = {
    "size": 1204,
    "estimated": False,
    "low": 1204,
    "high": 1204,
    "total": 250_000,
    "sample": [examples.ADA],
    "sentence": examples.SENTENCE,
    "counts": {"rule.all[0]": 61_000, "rule.all[1]": 4800},
    "funnel": [{"path": "rule.all[0]", "kept": 61_000}, {"path": "rule.all[1]", "kept": 1204}],
    "as_of": "2026-01-31T12:00:00Z",
    "plan": {"slow": False, "text": "Counting everybody takes less than a second.", "reasons": []},
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


_OVERLAP = {
    "people": 1500,
    "segments": [{"slug": "polish-buyers", "size": 1204}, {"slug": "vip", "size": 596}],
    "cells": [
        {"inside": ["polish-buyers"], "outside": ["vip"], "people": 904, "share": 0.602667},
        {"inside": ["polish-buyers", "vip"], "outside": [], "people": 300, "share": 0.2},
        {"inside": ["vip"], "outside": ["polish-buyers"], "people": 296, "share": 0.197333},
    ],
    "pairs": [
        {
            "first": "polish-buyers",
            "second": "vip",
            "both": 300,
            "jaccard": 0.2,
            "of_first": 0.249169,
            "of_second": 0.503356,
        }
    ],
}


class _Preview(msgspec.Struct, forbid_unknown_fields=True):
    rule: Any
    counts: bool = False


class _Overlap(msgspec.Struct, forbid_unknown_fields=True):
    segments: list[str]


class _Explain(msgspec.Struct, forbid_unknown_fields=True):
    profile: common.Whom


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
        return encoded(
            {
                "size": found.size,
                "estimated": found.estimated,
                "low": found.low,
                "high": found.high,
                "total": found.total,
                "sample": found.sample,
                "sentence": found.sentence,
                "counts": {join("rule", path): size for path, size in found.counts.items()},
                "funnel": [{"path": join("rule", step.path), "kept": step.kept} for step in found.funnel],
                "as_of": found.as_of,
                "plan": _plan(plans.plan(rule)),
            }
        )


class OverlapView(SegmentApi):
    scopes = {"POST": READS}
    repeatable = False  # it changes nothing

    @extend_schema(
        operation_id="segments_overlap",
        tags=["segments"],
        summary="Who is in several segments at once",
        description="For two to four segments or lists: how many people are in exactly which of them, and how alike "
        "each two are. Counted from the members as they are kept. Keys that see no contact data may not ask about "
        "segments whose rules compare with it (403).",
        request=shapes.OverlapInput,
        responses={
            200: OpenApiResponse(shapes.Overlap, description="The counts."),
            503: examples.TOO_SLOW,
            **schemas.errors(404, 413, 415),
        },
        examples=[
            examples.request("Two segments", {"segments": ["polish-buyers", "vip"]}),
            examples.answer("Two segments", _OVERLAP),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Count them."""
        slugs = list(dict.fromkeys(self.parsed(request, _Overlap).segments))
        if not 2 <= len(slugs) <= overlap.MOST:
            detail = _("Name two to %d segments.") % overlap.MOST
            raise ApiError(400, "invalid_batch", detail, field="segments")
        known = {
            row.slug: row for row in Segment.objects.filter(slug__in=[s for s in slugs if "\0" not in s])
        }
        for place, slug in enumerate(slugs):
            if slug not in known:
                raise ApiError(404, "not_found", _("There is no such segment."), field=f"segments[{place}]")
        for place, slug in enumerate(slugs):
            common.refuse_to_tell(known[slug].rule, f"segments[{place}]")
        common.limited(request)
        found = overlap.compare([known[slug] for slug in slugs])
        return encoded(
            {
                "people": found.people,
                "segments": [
                    {"slug": row.slug, "size": size}
                    for row, size in zip(found.segments, found.sizes, strict=True)
                ],
                "cells": [
                    {
                        "inside": [row.slug for row in cell.inside],
                        "outside": [row.slug for row in cell.outside],
                        "people": cell.people,
                        "share": round(cell.share, 6),
                    }
                    for cell in found.cells
                ],
                "pairs": [
                    {
                        "first": pair.first.slug,
                        "second": pair.second.slug,
                        "both": pair.both,
                        "jaccard": round(pair.jaccard, 6),
                        "of_first": round(pair.of_first, 6),
                        "of_second": round(pair.of_second, 6),
                    }
                    for pair in found.pairs
                ],
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
        member = SegmentMembership.objects.filter(segment=segment, profile_id=profile).first()
        node = (
            _listed(member is not None)
            if segment.kind == Segment.Kind.LIST
            else _node(evaluate.explain(common.parsed_rule(segment.rule, slug), profile))
        )
        return encoded(
            {
                "profile": profile,
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


def _plan(found: plans.Plan) -> dict[str, Any]:
    return {
        "slow": found.slow,
        "text": found.words,
        "reasons": [
            {"field": join("rule", reason.path), "detail": reason.text, "advice": reason.advice}
            for reason in found.reasons
        ],
    }
