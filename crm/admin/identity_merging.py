"""Joining two profiles and parting them again, with a preview of what moves."""

import re
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from crm import audit, masking, merge_preview, merging, unmerging
from crm.admin.base import BigTableAdmin, ReadOnly
from crm.models import Identifier, Profile, ProfileMerge

FOUND = 20  # people that a search shows
REASONS = {"identified": _("named together"), "crm": _("merged in the CRM"), "admin": _("by hand")}
KINDS = {
    Identifier.EXTERNAL_ID: _("customer number"),
    Identifier.EMAIL: _("email"),
    Identifier.PHONE: _("phone"),
    Identifier.ANONYMOUS_ID: _("browser"),
}
TABLES = {
    "crm_event": _("Events"),
    "crm_device": _("Devices"),
    "crm_consent": _("Consents"),
    "crm_consentchange": _("History of consents"),
    "crm_profilemerge": _("Earlier merges"),
    "crm_preference": _("Preferences"),
    "crm_productinterest": _("Products of interest"),
    "crm_personplace": _("Places"),
    "crm_lastlocation": _("Last place"),
    "delivery_delivery": _("Messages"),
    "campaigns_enrollment": _("Runs of flows"),
    "campaigns_decision": _("Decisions of flows"),
    "campaigns_segmentmembership": _("Segments"),
}


def may_merge(request: HttpRequest) -> bool:
    """Who may join and part people."""
    return request.user.has_perm("crm.merge_profile") and request.user.has_perm("crm.view_profile")


def named(kind: str, value: str) -> tuple[Any, str]:
    """An identifier as the reader may see it."""
    return KINDS.get(kind, kind), masking.contact(kind, value)


def join(request: HttpRequest, loser: int, winner: int) -> bool:
    """Merge the one into the other; whether both were there."""
    if Profile.objects.filter(pk__in=[loser, winner]).count() < 2 or loser == winner:
        return False
    merging.merge([(loser, winner)], "admin", by=request.user.get_username())
    audit.record(request, "profile.merged", ("crm.profile", winner), loser=loser)
    return True


def compared(found: merge_preview.Preview) -> dict[str, Any]:
    """What the side-by-side table of a preview shows."""
    held: dict[int, list[tuple[str, str, bool]]] = {found.loser.pk: [], found.winner.pk: []}
    for profile_id, kind, value, verified in found.names:
        sure = verified or kind == Identifier.ANONYMOUS_ID
        held[profile_id].append((*named(kind, value), sure))
    return {
        "loser": found.loser,
        "winner": found.winner,
        "loser_names": held[found.loser.pk],
        "winner_names": held[found.winner.pk],
        "facts": [(*merge_preview.shown(fact), fact.differs) for fact in found.facts],
        "answers": [(*merge_preview.shown(fact), fact.differs) for fact in found.answers],
        "lines": [
            (
                line.label,
                line.counts.get(found.loser.pk, 0),
                line.counts.get(found.winner.pk, 0),
                sum(line.counts.values()),
            )
            for line in found.lines
        ],
    }


@admin.register(ProfileMerge)
class ProfileMergeAdmin(ReadOnly, BigTableAdmin):
    """What was joined, newest first; the last one of each person can be undone."""

    list_display = ["what", "person", "why", "merged_at", "undo_link"]
    list_select_related = ["winner"]
    list_display_links = None
    list_empty = _(
        "Nobody was joined yet. Visitors are joined with customers when they log in or leave their email."
    )
    ordering = ["-pk"]
    sortable_by = []
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """Without what moved, which may be long."""
        return unmerging.with_undoable(super().get_queryset(request))

    def get_urls(self) -> list[URLPattern]:
        """The pages that join and part."""
        view = self.admin_site.admin_view
        return [
            path("with/<int:pk>/", view(self.merge_view), name="crm_profile_merge"),
            path("<int:pk>/undo/", view(self.undo_view), name="crm_profile_unmerge"),
            *super().get_urls(),
        ]

    @display(description=_("merged profile"))
    def what(self, row: ProfileMerge) -> str:
        """The number it had."""
        return str(_("Profile %d") % row.loser_id)

    @display(description=_("into"))
    def person(self, row: ProfileMerge) -> str:
        """The one that stayed."""
        url = reverse("admin:crm_profile_change", args=[row.winner_id])
        return format_html('<a class="text-link" href="{}"><bdi>{}</bdi></a>', url, row.winner.display_name)

    @display(description=_("reason"))
    def why(self, row: ProfileMerge) -> Any:
        """In words."""
        return REASONS.get(row.reason, row.reason)

    @display(description="")
    def undo_link(self, row: ProfileMerge) -> str:
        """To the preview."""
        if not row.undoable:
            return ""
        url = reverse("admin:crm_profile_unmerge", args=[row.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, _("Undo…"))

    def merge_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Find the other one, look at both, and join them."""
        if not may_merge(request):
            raise PermissionDenied
        if pk >= 2**63:
            raise Http404
        profile = get_object_or_404(Profile, pk=pk)
        source = request.POST if request.method == "POST" else request.GET
        other = source.get("other", "")
        context = {
            **self.admin_site.each_context(request),
            "opts": Profile._meta,
            "profile": profile,
            "back": reverse("admin:crm_profile_change", args=[pk]),
        }
        if not re.fullmatch(r"[0-9]{1,18}", other) or int(other) == pk:
            return self._search(request, context)
        if not Profile.objects.filter(pk=int(other)).exists():
            raise Http404
        swapped = source.get("keep") == other
        winner, loser = (int(other), pk) if swapped else (pk, int(other))
        if request.method == "POST":
            if not join(request, loser, winner):
                raise Http404
            messages.success(request, _("Joined. The last merge can be undone from this page."))
            return HttpResponseRedirect(reverse("admin:crm_profile_change", args=[winner]))
        context |= compared(merge_preview.preview(loser, winner))
        swap = f"?other={other}" + ("" if swapped else f"&keep={other}")
        context |= {"title": _("Join two profiles"), "other": other, "keep": winner, "swap": swap}
        return TemplateResponse(request, "admin/crm/identity/merge.html", context)

    def _search(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        term = request.GET.get("q", "").strip()
        people: list[Profile] = []
        if term and masking.hidden():
            people = list(Profile.objects.filter(pk=int(term))) if re.fullmatch(r"[0-9]{1,18}", term) else []
        elif term:
            every = self.admin_site._registry[Profile]
            found, _duplicates = every.get_search_results(request, Profile.objects.all(), term)
            people = list(found.exclude(pk=context["profile"].pk).order_by("-pk")[:FOUND])
        context |= {
            "title": _("Join with…"),
            "term": term,
            "found": [person for person in people if person.pk != context["profile"].pk],
            "only_numbers": masking.hidden(),
        }
        return TemplateResponse(request, "admin/crm/identity/search.html", context)

    def undo_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Look at what comes back, and part the two."""
        if not may_merge(request):
            raise PermissionDenied
        if pk >= 2**63:
            raise Http404
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": Profile._meta,
            "title": _("Undo a merge"),
            "back": reverse("admin:crm_profilemerge_changelist"),
        }
        try:
            if request.method == "POST":
                done = unmerging.undo(pk, by=request)
                messages.success(
                    request,
                    _("Profile %d is back. The two are kept apart from now on.") % done.merge.loser_id,
                )
                return HttpResponseRedirect(reverse("admin:crm_profile_change", args=[done.merge.loser_id]))
            plan = unmerging.plan(pk)
        except unmerging.NotUndoable as problem:
            return TemplateResponse(
                request, "admin/crm/identity/undo.html", {**context, "problem": str(problem)}
            )
        winner = get_object_or_404(Profile, pk=plan.merge.winner_id)
        context |= {
            "merge": plan.merge,
            "winner": winner,
            "back": reverse("admin:crm_profile_change", args=[winner.pk]),
            "why": REASONS.get(plan.merge.reason, plan.merge.reason),
            "names": [named(*name) for name in plan.names],
            "lost": [named(*name) for name in plan.lost],
            "fields": [
                (
                    name.removeprefix("attributes."),
                    masking.data(value, name) if masking.hidden() else value,
                )
                for name, value in plan.fields.items()
            ],
            "rows": [
                (TABLES[table], count) for table, count in plan.rows.items() if table in TABLES and count
            ],
        }
        return TemplateResponse(request, "admin/crm/identity/undo.html", context)
