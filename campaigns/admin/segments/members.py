"""Who is in a segment: since when and why, with a search; of lists also putting people on and taking them off."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.models import ListJob, Segment
from campaigns.segments import list_names, lists, members, telling
from campaigns.segments.words import because
from crm import audit, masking
from crm.models import Profile

TEMPLATE = "admin/campaigns/list/members.html"
JOBS = 5  # shown
TYPED = 100  # people who are named by hand at once


class MembersMixin:
    """For SegmentAdmin."""

    def get_urls(self):
        """The members, and what changes those of a list."""
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/members/", wrap(self.members_view), name="campaigns_segment_members"),
            path("<int:pk>/members/add/", wrap(self.members_add_view), name="campaigns_list_put"),
            path("<int:pk>/members/remove/", wrap(self.members_remove_view), name="campaigns_list_remove"),
            *super().get_urls(),
        ]

    def members_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A page of them, by GET parameters q (a name or address) and after (where the page before ended)."""
        segment = self._segment(request, pk)
        return self._members_page(request, segment)

    def members_add_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Put people on a list, each named in a line of its own."""
        segment = self._segment(request, pk, change=True)
        typed = [line.strip() for line in request.POST.get("people", "").splitlines() if line.strip()]
        if len(typed) > TYPED:
            problem = _("Name at most %d people here; import a file for more.") % TYPED
            return self._members_page(request, segment, typed, {}, problem)
        found = list_names.find([name_of(line) for line in typed])
        unknown = {line: one.detail for line, one in zip(typed, found, strict=True) if one.profile_id is None}
        ids = [one.profile_id for one in found if one.profile_id is not None]
        if ids:
            changed = lists.add(segment, ids)
            audit.record(request, "list.people_added", segment, people=len(ids))
            words = (
                ngettext("%d person was added.", "%d people were added.", changed.entered) % changed.entered
            )
            messages.success(request, words)
        if unknown or not typed:
            return self._members_page(
                request, segment, list(unknown), unknown, "" if typed else _("Name somebody.")
            )
        return redirect("admin:campaigns_segment_members", segment.pk)

    def members_remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Take the ticked people off a list."""
        segment = self._segment(request, pk, change=True)
        ids = [int(one) for one in request.POST.getlist("people") if one.isdecimal() and len(one) < 19]
        changed = lists.remove(segment, ids)
        if changed.left:
            audit.record(request, "list.people_removed", segment, people=changed.left)
            words = (
                ngettext("%d person was taken off.", "%d people were taken off.", changed.left) % changed.left
            )
            messages.success(request, words)
        query = QueryDict(request.POST.get("shown", "")).urlencode()
        return redirect(f"{reverse('admin:campaigns_segment_members', args=[segment.pk])}?{query}")

    def _segment(self, request: HttpRequest, pk: int, change: bool = False) -> Segment:
        """A segment whose members may be seen; to change them it has to be a list."""
        segment = get_object_or_404(Segment, pk=pk)
        if not (self.has_view_permission(request, segment) and request.user.has_perm("crm.view_profile")):
            raise PermissionDenied
        if telling.tells(segment.rule):
            raise PermissionDenied  # that they are in it would tell their contact data
        if change:
            is_list = segment.kind == Segment.Kind.LIST
            if request.method != "POST" or not (is_list and self.has_change_permission(request, segment)):
                raise PermissionDenied
        return segment

    def _members_page(
        self,
        request: HttpRequest,
        segment: Segment,
        typed: list[str] | None = None,
        unknown: dict[str, str] | None = None,
        problem: str = "",
    ) -> HttpResponse:
        term = request.GET.get("q", "").replace("\x00", "").strip()
        matching = None
        if term:
            people = admin.site.get_model_admin(Profile)
            matching, _duplicates = people.get_search_results(request, Profile.objects.all(), term)
        after = request.GET.get("after", "")
        place = int(after) if after.isdecimal() and len(after) < 19 else None
        page = members.page(segment, place, matching=matching)
        is_list = segment.kind == Segment.Kind.LIST
        onwards = QueryDict(mutable=True)
        onwards.update({"q": term} if term else {})
        first = onwards.urlencode()
        if page.next is not None:
            onwards["after"] = str(page.next)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": segment.name,
            "segment": segment,
            "segment_tab": "members",
            "members": [(member, _why(member)) for member in page.rows],
            "term": term,
            "place": place,
            "first": first,
            "next": onwards.urlencode() if page.next is not None else "",
            "shown": request.GET.urlencode(),
            "is_list": is_list,
            "may_change": is_list and self.has_change_permission(request, segment),
            "may_delete": self.has_delete_permission(request, segment),
            "may_upload": not masking.hidden(),
            "may_export": self.may_export(request),
            "may_add": self.has_add_permission(request),
            "jobs": segment.list_jobs.order_by("-pk")[:JOBS] if is_list else [],
            "draft": ListJob.State.DRAFT,
            "typed": "\n".join(typed or ()),
            "unknown": unknown or {},
            "problem": problem,
        }
        return TemplateResponse(request, TEMPLATE, context)


def name_of(line: str) -> dict[str, Any]:
    """What a typed line names somebody by. Who may see no contact data may not find out by trying either."""
    number = line.removeprefix("#")
    if masking.hidden() or line.startswith("#"):
        return {list_names.ID: number}
    if "@" in line:
        return {"email": line}
    if line.startswith("+"):
        return {"phone": line}
    return {"external_id": line}


def _why(member: members.Member) -> str:
    if not member.cause:
        return ""
    return str(because(member.cause, member.event))
