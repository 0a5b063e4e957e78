"""The pages of one segment beside its rule: the overview, counting by hand, names of lists, and versions."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext as _
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from campaigns.admin.segments import charts
from campaigns.admin.segments.words import freshness, state_words
from campaigns.models import Segment, SegmentVersion
from campaigns.segments import editing, history, plans, refresh, telling, usage, versions
from campaigns.segments.words import because
from crm.models import Profile
from crm.rules.errors import RuleError

TEMPLATES = "admin/campaigns/segment/pages"
SPANS = (2, 30, 90, 365)  # days of the chart


class NamesForm(forms.ModelForm):
    """What a list is called; a rule's segment is named in the builder."""

    class Meta:
        model = Segment
        fields = ["name", "description"]
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "dir": "auto"}),
            "description": UnfoldAdminTextareaWidget(attrs={"rows": 2, "dir": "auto"}),
        }


class PagesMixin:
    """For SegmentAdmin."""

    def get_urls(self):
        pages = [
            ("overview", "overview/", self.overview_view),
            ("count", "count/", self.count_view),
            ("cancel", "cancel/", self.cancel_view),
            ("names", "names/", self.names_view),
            ("versions", "versions/", self.versions_view),
            ("restore", "versions/<int:number>/restore/", self.restore_view),
        ]
        return [
            path(f"<int:pk>/{route}", self.of_segment(view), name=f"campaigns_segment_{name}")
            for name, route, view in pages
        ] + super().get_urls()

    def of_segment(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """A view about one segment, for whoever may see it."""

        def checked(request: HttpRequest, pk: int, **parts: Any) -> HttpResponse:
            segment = get_object_or_404(Segment, pk=pk)
            if not self.has_view_permission(request, segment):
                raise PermissionDenied
            return view(request, segment, **parts)

        return self.admin_site.admin_view(checked)

    def page_of(
        self, request: HttpRequest, name: str, segment: Segment | None, **values: Any
    ) -> HttpResponse:
        """One of these pages, with what all of them show."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": segment.name if segment else "",
            "segment": segment,
            "may_change": self.has_change_permission(request, segment),
            **values,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{name}.html", context)

    def _may_change(self, request: HttpRequest, segment: Segment) -> None:
        if not self.has_change_permission(request, segment):
            raise PermissionDenied

    # --- Overview --------------------------------------------------------------------------------------
    def overview_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Size, freshness, why people came and went, what uses it."""
        span = _span(request)
        hidden = telling.tells(segment.rule)  # that somebody came in would tell their contact data
        moves = [] if hidden else history.latest(segment)
        people = request.user.has_perm("crm.view_profile")
        names = Profile.objects.in_bulk([move.profile_id for move in moves]) if people else {}
        problem = ""
        try:
            told = telling.told(segment.rule) if segment.kind == "rule" else ""
        except RuleError as error:
            told, problem = "", str(error)
        return self.page_of(
            request,
            "overview",
            segment,
            segment_tab="overview",
            told=told,
            problem=problem,
            chart=charts.sizes(history.curve(segment, span), hourly=span <= history.HOURLY),
            span=span,
            spans=[(days, charts.span_words(days)) for days in SPANS],
            week=history.changes([segment.pk])[segment.pk],
            moves=[(move, names.get(move.profile_id), because(move.cause, move.event)) for move in moves],
            hidden=hidden,
            state=state_words(segment),
            fresh=freshness(segment),
            plan=plans.read(segment.plan) if segment.kind == "rule" else None,
            uses=usage.uses().get(segment.slug, []),
            may_delete=self.has_delete_permission(request, segment),
        )

    def count_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Count at once."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._may_change(request, segment)
        if segment.kind == Segment.Kind.RULE:
            refresh.ask(segment)
            messages.success(request, _("“%s” is counted next.") % segment.name)
        return redirect("admin:campaigns_segment_overview", segment.pk)

    def cancel_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Stop a count that takes too long."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._may_change(request, segment)
        if refresh.cancel(segment):
            messages.success(
                request, _("Counting “%s” was stopped. Its members stay as they were.") % segment.name
            )
        else:
            messages.info(request, _("“%s” is not being counted any more.") % segment.name)
        return redirect("admin:campaigns_segment_overview", segment.pk)

    def names_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Name and description of a list."""
        if segment.kind != Segment.Kind.LIST:
            raise Http404
        self._may_change(request, segment)
        form = NamesForm(request.POST or None, instance=segment)
        if request.method == "POST" and form.is_valid():
            editing.save(form.save(commit=False), None, request.user.get_username())
            self.log_change(request, segment, [{"changed": {"fields": form.changed_data}}])
            return redirect("admin:campaigns_segment_overview", segment.pk)
        return self.page_of(request, "names", segment, form=form)

    # --- Versions --------------------------------------------------------------------------------------
    def versions_view(self, request: HttpRequest, segment: Segment) -> HttpResponse:
        """Who changed what, when."""
        if segment.kind != Segment.Kind.RULE:
            raise Http404
        return self.page_of(
            request, "versions", segment, segment_tab="versions", versions=versions.history(segment)
        )

    def restore_view(self, request: HttpRequest, segment: Segment, number: int) -> HttpResponse:
        """Say what an older rule would change; on POST, ask by it again."""
        self._may_change(request, segment)
        version = get_object_or_404(
            SegmentVersion.objects.select_related("segment"), segment=segment, number=number
        )
        if telling.tells([segment.rule, version.rule]):
            raise PermissionDenied
        problem = ""
        if request.method == "POST":
            try:
                restored = versions.restore(version, request.user.get_username())
            except RuleError as error:
                problem = str(error)
            else:
                self.log_change(request, restored, [{"changed": {"fields": ["rule"]}}])
                messages.success(
                    request,
                    _("“%(segment)s” asks again what it asked in version %(number)d.")
                    % {"segment": segment.name, "number": number},
                )
                return redirect("admin:campaigns_segment_versions", segment.pk)
        effect, told = None, ""
        try:
            told = telling.told(version.rule)
            effect = versions.effect(segment, version.rule)
        except RuleError as error:
            problem = str(error)
        return self.page_of(
            request,
            "restore",
            segment,
            version=version,
            told=told,
            effect=effect,
            problem=problem,
            uses=usage.live_uses(segment.slug),
        )


def _span(request: HttpRequest) -> int:
    asked = request.GET.get("days", "")
    return int(asked) if asked.isdecimal() and len(asked) < 5 and int(asked) in SPANS else 30
