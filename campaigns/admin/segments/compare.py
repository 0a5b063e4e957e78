"""Two to four segments side by side: who is in several of them, and who in one alone."""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.translation import gettext as _

from campaigns.models import Segment
from campaigns.segments import list_work, lists, overlap, starting, telling
from campaigns.segments.limits import TooSlow
from crm.rules.errors import RuleError


class CompareMixin:
    """For SegmentAdmin."""

    def get_urls(self):
        view = self.admin_site.admin_view
        return [
            path("compare/", view(self.compare_view), name="campaigns_segment_compare"),
            path("compare/list/", view(self.compare_list_view), name="campaigns_segment_compare_list"),
            *super().get_urls(),
        ]

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """The overlap of the segments named by `segment` (repeated), by their members as they are stored."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        choices = list(Segment.objects.exclude(slug__in=telling.hidden_slugs()).order_by("name"))
        by_slug = {segment.slug: segment for segment in choices}
        wanted = list(dict.fromkeys(request.GET.getlist("segment")))
        chosen = [by_slug[slug] for slug in wanted if slug in by_slug][: overlap.MOST]
        found, slow = None, False
        if len(chosen) >= 2:
            try:
                found = overlap.compare(chosen)
            except TooSlow:
                slow = True
        return self.page_of(
            request,
            "compare",
            chosen[0] if chosen else None,
            segment_tab="compare",
            title=_("Compare segments"),
            choices=choices,
            places=[chosen[place] if place < len(chosen) else None for place in range(overlap.MOST)],
            found=found,
            cells=_cells(found) if found else [],
            slow=slow,
            may_add=self.has_add_permission(request),
        )

    def compare_list_view(self, request: HttpRequest) -> HttpResponse:
        """Make a list of who is in all of some segments and in none of others now."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_view_permission(request) and self.has_add_permission(request)):
            raise PermissionDenied
        start = starting.point(request.POST)
        if telling.tells(start.rule):
            raise PermissionDenied
        name = _("%(segment)s, as of today") % {"segment": start.name or _("Everybody")}
        try:
            made, job = list_work.snapshot(start.rule, name, by=request.user.get_username())
        except (lists.ListError, RuleError) as error:
            messages.error(request, str(error))
            return redirect("admin:campaigns_segment_compare")
        self.log_addition(request, made, [{"added": {}}])
        return redirect("admin:campaigns_list_job", job.pk)


def _cells(found: overlap.Overlap) -> list[tuple[overlap.Cell, list[bool], str]]:
    """Each cell with which of the segments it is in, and the address that begins a segment of exactly these people."""
    rows = []
    for cell in found.cells:
        query = QueryDict(mutable=True)
        query.setlist("all", [segment.slug for segment in cell.inside])
        query.setlist("none", [segment.slug for segment in cell.outside])
        url = f"{reverse('admin:campaigns_segment_add')}?{query.urlencode()}"
        rows.append((cell, [segment in cell.inside for segment in found.segments], url))
    return rows
