"""The builder of a rule, with its live count: edit, preview, explain and save."""

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from campaigns.admin.segments import confirming, panel
from campaigns.models import Segment
from campaigns.segments import (
    builder,
    compiler,
    editing,
    evaluate,
    grammar,
    starting,
    telling,
    usage,
    versions,
)
from campaigns.segments.conditions import kinds
from campaigns.segments.grammar import Rule
from campaigns.segments.suggestions import Suggestions
from crm import masking
from crm.admin.base import part_of_form
from crm.admin.profiles import MIN_SEARCH
from crm.models import Identifier, Profile
from crm.rules.errors import RuleError

TEMPLATES = "admin/campaigns/segment"
OFFERED_PEOPLE = 8


class SegmentForm(forms.ModelForm):
    """What a segment is called."""

    class Meta:
        model = Segment
        fields = ["name", "slug", "description"]
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
            "slug": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "dir": "ltr"}),
            "description": UnfoldAdminTextareaWidget(attrs={"rows": 1}),
        }
        help_texts = {"slug": gettext_lazy("Rules and the API know the segment by this name.")}

    def clean_slug(self):
        slug = self.cleaned_data["slug"]
        try:
            editing.check_slug(Segment(pk=self.instance.pk, slug=slug))
        except RuleError as error:
            raise forms.ValidationError(error.message) from error
        return slug


class BuildingMixin:
    """The builder's views, for SegmentAdmin. Who may only look sees it without its buttons."""

    def get_urls(self):
        pages = [
            path("builder/edit/", part_of_form(self, self.edit_view), name="campaigns_segment_edit"),
            path("builder/preview/", part_of_form(self, self.preview_view), name="campaigns_segment_preview"),
            path("builder/explain/", part_of_form(self, self.explain_view), name="campaigns_segment_explain"),
            path("builder/people/", part_of_form(self, self.people_view), name="campaigns_segment_people"),
        ]
        return pages + super().get_urls()

    def add_view(self, request, form_url="", extra_context=None):
        return self.builder_view(request, None)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        segment = self.get_object(request, object_id)
        if segment is None:
            raise Http404
        return self.builder_view(request, segment)

    def builder_view(self, request: HttpRequest, segment: Segment | None) -> HttpResponse:
        """The whole page; a POST saves it."""
        may_see = self.has_view_permission(request, segment) if segment else self.has_add_permission(request)
        may_change = self.has_change_permission(request, segment) if segment else may_see
        if not may_see or (request.method == "POST" and not may_change):
            raise PermissionDenied
        if segment is not None and request.method != "POST" and telling.tells(segment.rule):
            # What it compares with may be somebody's address; the overview tells it in outline.
            return redirect("admin:campaigns_segment_overview", segment.pk)
        start = starting.point(request.GET) if segment is None else starting.Start(rule=segment.rule)
        initial = None if segment else {name: getattr(start, name) for name in SegmentForm.Meta.fields}
        form = SegmentForm(
            request.POST if request.method == "POST" else None, instance=segment, initial=initial
        )
        question = None
        if request.method == "POST":
            tree = builder.read(request.POST)
            rule = self._checked(tree, segment.slug if segment else None)
            if form.is_valid() and rule is not None:
                confirmed = request.POST.get("confirmed", "")
                question = confirming.question(segment, builder.to_rule(tree)[0], confirmed)
                if question is None:
                    return self._save(request, form, tree, new=segment is None)
        else:
            tree = builder.from_rule(start.rule)
        context = {
            **self.admin_site.each_context(request),
            **self._tree_context(tree, may_change),
            "title": segment.name if segment else _("New segment"),
            "opts": self.opts,
            "segment": segment,
            "segment_tab": "rule",
            "question": question,
            "form": form,
            "uses": usage.uses().get(segment.slug, []) if segment else [],
            "has_problems": form.errors or any(node.problems for node in tree.walk()),
            "may_delete": segment is not None and self.has_delete_permission(request, segment),
            "may_ask": request.user.has_perm("crm.view_profile"),
            "hidden": masking.hidden(),
        }
        return TemplateResponse(request, f"{TEMPLATES}/page.html", context)

    def edit_view(self, request: HttpRequest) -> HttpResponse:
        """Change the posted tree as one button asks, and draw it anew. Nothing is stored."""
        tree = builder.read(request.POST)
        operation = request.POST.get("op", "")
        done = builder.apply(tree, operation, request.POST.get("target", ""), Suggestions())
        response = TemplateResponse(request, f"{TEMPLATES}/tree.html", self._tree_context(tree, True))
        events: dict[str, Any] = {"segment:changed": True}
        if operation:
            say = _place(tree, done.moved) if done.moved else ""
            events["segment:focus"] = {
                "id": done.focus,
                "added": bool(done.added),
                "op": operation,
                "say": say,
            }
        response["HX-Trigger-After-Settle"] = json.dumps(events)
        return response

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """How many people the posted rule holds for now, ten of them, and the rule as a sentence.

        Asked first for an estimate; with `exact`, for the size as it is and for what saving would change.
        """
        tree = builder.read(request.POST)
        data, paths = builder.to_rule(tree)
        _refuse_to_tell(data)
        exact = "exact" in request.POST
        try:
            rule = grammar.parse(data)
            found = evaluate.preview(rule, with_counts=True, quick=not exact)
            context = panel.found(rule, found, paths) | {"exact": exact}
            segment = self._edited(request)
            if segment and builder.to_rule(builder.from_rule(segment.rule))[0] != data:
                context |= {"changed": True, "effect": versions.effect(segment, data) if exact else None}
        except RuleError as error:
            builder.mark(paths, error.problems)
            context = panel.unfinished(tree)
        context["may_see_people"] = request.user.has_perm("crm.view_profile")
        return TemplateResponse(request, f"{TEMPLATES}/panel.html", context)

    def _edited(self, request: HttpRequest) -> Segment | None:
        """The stored segment that the posted form is about, if it is one that was counted."""
        number = request.POST.get("segment", "")
        if not number.isdecimal() or len(number) > 18:
            return None
        found = Segment.objects.filter(pk=int(number), evaluated_at__isnull=False).first()
        return None if found is None or telling.tells(found.rule) else found  # who differs tells who is in

    def people_view(self, request: HttpRequest) -> HttpResponse:
        """People to ask about, as the list of profiles finds them."""
        if not request.user.has_perm("crm.view_profile"):
            raise PermissionDenied
        term = request.POST.get("who", "").strip()
        people: list[Profile] = []
        if len(term.removeprefix("#")) >= (1 if masking.hidden() else MIN_SEARCH):
            profiles = self.admin_site.get_model_admin(Profile)
            query, _several = profiles.get_search_results(
                request, Profile.objects.order_by("-pk"), term.removeprefix("#")
            )
            people = list(query[:OFFERED_PEOPLE])
        return TemplateResponse(request, f"{TEMPLATES}/people.html", {"people": people, "who": term})

    def explain_view(self, request: HttpRequest) -> HttpResponse:
        """Whether one person is in, and why: each condition with the fact that decided it."""
        if not request.user.has_perm("crm.view_profile"):
            raise PermissionDenied
        data, _paths = builder.to_rule(builder.read(request.POST))
        _refuse_to_tell(data)
        who = (request.POST.get("person") or request.POST.get("who", "")).replace("\x00", "").strip()
        context: dict[str, Any] = {"who": who}
        try:
            rule = grammar.parse(data)
            if person := _person(who):
                context |= {"person": person, "answer": evaluate.explain(rule, person.pk)}
        except RuleError:
            context["unfinished"] = True
        except evaluate.TooSlow:
            context["slow"] = True
        return TemplateResponse(request, f"{TEMPLATES}/explain.html", context)

    def _checked(self, tree: builder.Node, slug: str | None) -> Rule | None:
        """The rule of the tree; None after its nodes were told what is wrong with them."""
        data, paths = builder.to_rule(tree)
        _refuse_to_tell(data)
        try:
            rule = grammar.parse(data)
            compiler.references(rule, own=slug)
        except RuleError as error:
            builder.mark(paths, error.problems)
            return None
        return rule

    @transaction.atomic
    def _save(self, request: HttpRequest, form: SegmentForm, tree: builder.Node, new: bool) -> HttpResponse:
        segment = editing.save(form.save(commit=False), builder.to_rule(tree)[0], request.user.get_username())
        if new:
            self.log_addition(request, segment, [{"added": {}}])
        else:
            self.log_change(request, segment, [{"changed": {"fields": [*form.changed_data, "rule"]}}])
        messages.success(
            request, _("“%s” is saved. Its members are being brought up to date.") % segment.name
        )
        return redirect("admin:campaigns_segment_change", segment.pk)

    def _tree_context(self, tree: builder.Node, may_change: bool) -> dict[str, Any]:
        return {
            "tree": builder.shown(tree, Suggestions()),
            "kinds": list(kinds().values()),
            "may_change": may_change,
            "edit_url": reverse("admin:campaigns_segment_edit"),
        }


def _place(tree: builder.Node, node_id: str) -> str:
    """Where a node stands now, for who can't see it move."""
    number, siblings, level = builder.place_of(tree, node_id)
    text = _("Now %(number)d of %(siblings)d") % {"number": number, "siblings": siblings}
    return f"{text}, {_('level %d') % level}" if level > 1 else text


def _refuse_to_tell(rule: Any) -> None:
    """Who may see no contact data may not find it out by asking either."""
    if telling.tells(rule):
        raise PermissionDenied


def _person(who: str) -> Profile | None:
    """The profile with this number, email, phone or customer number."""
    if not who:
        return None
    number = who.removeprefix("#") if masking.hidden() else who[1:] if who.startswith("#") else ""
    if number.isdecimal() and len(number) < 19:
        return Profile.objects.filter(pk=int(number)).first()
    if masking.hidden():
        return None
    known = Identifier.objects.filter(value__in=[who, who.lower()]).select_related("profile").first()
    return known.profile if known else Profile.objects.filter(email__iexact=who).first()
