"""Who is in a segment, and which segments a person is in."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from campaigns.api import common, examples, shapes
from campaigns.api.common import SegmentApi
from campaigns.models import SegmentMembership
from campaigns.segments import telling
from crm.api import filters, paging, schemas
from crm.api.profile_json import READS, as_json, complete, hides
from crm.api.profiles import MERGED, PROFILE_ID, existing
from crm.api.views import encoded
from crm.models import Profile

_MEMBER = {**examples.ADA, "entered_at": "2026-01-31T12:00:00Z"}


class MemberFilters(filters.Filters):
    """Since when."""

    entered_since = filters.InstantFilter(
        field_name="entered_at", lookup_expr="gte", help_text=gettext_lazy("RFC 3339, inclusive.")
    )
    expand = django_filters.ChoiceFilter(
        choices=[("profile", "profile")],
        method="expanded",
        help_text=gettext_lazy("`profile`: with all of each profile."),
    )

    def expanded(
        self, query: QuerySet[SegmentMembership], name: str, value: str
    ) -> QuerySet[SegmentMembership]:
        """The same rows."""
        return query


class MembersListing:
    """Mixin for the view of /segments/{slug}/members/: what it gives out."""

    @extend_schema(
        operation_id="segments_members",
        tags=["segments"],
        summary="Who is in it",
        description="Sorted by the number of the profile, or with `entered_since` by when they came in. To follow who "
        "comes in, ask from a minute before your last request; who drops out is told by the event `segment_left`. "
        "People who come and go between two pages may be missed, nobody comes twice. Keys that see no contact data get "
        "outlines, and not the members of segments whose rules compare with it (403).",
        parameters=[*filters.parameters(MemberFilters), *paging.PARAMETERS, examples.SLUG],
        responses={
            200: OpenApiResponse(shapes.MemberPage, description="One page."),
            **schemas.errors(404),
        },
        examples=[examples.answer("The last page", {"members": [_MEMBER], "next_cursor": None})],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """One page, in a fixed number of queries."""
        segment = common.segment(slug)
        common.refuse_to_tell(segment.rule, "")
        members = SegmentMembership.objects.filter(segment=segment)
        members = filters.filtered(request, members, MemberFilters)
        since = request.GET.get("entered_since", "").strip()
        rows, after = paging.rows(
            request, members, ("entered_at", "profile_id") if since else ("profile_id",)
        )
        ids = [row.profile_id for row in rows]
        expand = request.GET.get("expand", "").strip() == "profile"
        people = (complete() if expand else Profile.objects.all()).in_bulk(ids)
        whole = {}
        if expand:
            found = as_json([people[pk] for pk in ids if pk in people], hides(request))
            whole = {profile["id"]: {"profile": profile} for profile in found}
        answer: list[dict[str, Any]] = [
            {
                **common.person_json(people[row.profile_id]),
                "entered_at": row.entered_at,
                **whole.get(row.profile_id, {}),
            }
            for row in rows
            if row.profile_id in people  # erased or merged a moment ago
        ]
        return encoded({"members": answer, "next_cursor": after})


class ProfileSegmentsView(SegmentApi):
    scopes = {"GET": READS}

    @extend_schema(
        operation_id="profiles_segments",
        tags=["segments"],
        summary="The segments and lists that a person is in",
        description="For keys that see no contact data without those whose rules compare with it.",
        parameters=[PROFILE_ID, *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(shapes.ProfileSegments, description="One page."),
            **schemas.errors(404),
        },
        examples=[
            examples.answer(
                "One segment",
                {
                    "segments": [
                        {
                            "slug": "polish-buyers",
                            "name": "Polish buyers",
                            "kind": "rule",
                            "entered_at": "2026-01-31T12:00:00Z",
                        }
                    ],
                    "next_cursor": None,
                },
            ),
            MERGED,
        ],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """One page of them."""
        query = SegmentMembership.objects.filter(profile=existing(pk)).select_related("segment")
        query = query.exclude(segment__slug__in=telling.hidden_slugs())
        return encoded(paging.page(request, query, "segments", _segment, ("segment_id",)))


def _segment(row: SegmentMembership) -> dict[str, Any]:
    return {
        "slug": row.segment.slug,
        "name": row.segment.name,
        "kind": row.segment.kind,
        "entered_at": row.entered_at,
    }
