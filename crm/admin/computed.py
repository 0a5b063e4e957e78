"""Computed attributes in the admin: the list, and the sentence that defines one with a preview for real people."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from crm import masking
from crm.admin.base import part_of_form
from crm.computed import backfill, definitions, form, fresh_at, gallery, preview, usage
from crm.computed.kinds import parse
from crm.models import ComputedAttribute
from crm.rules.errors import RuleError
from crm.rules.words import capital

TEMPLATES = "admin/crm/computed"
State = ComputedAttribute.State
STATES = {State.DRAFT: "info", State.BACKFILLING: "warning", State.LIVE: "success", State.FAILED: "danger"}


class NamesForm(forms.ModelForm):
    """What the attribute is called."""

    class Meta:
        model = ComputedAttribute
        fields = ["name", "slug"]
        widgets = {
            "name": UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "dir": "auto"}),
            "slug": UnfoldAdminTextInputWidget(
                attrs={"autocomplete": "off", "dir": "ltr", "spellcheck": "false"}
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.instance.pk:  # rules and messages know it by this name
            self.fields["slug"].disabled = True

    def clean_slug(self) -> str:
        try:
            return definitions.check_slug(self.cleaned_data["slug"])
        except RuleError as error:
            raise forms.ValidationError(error.message) from error

    def clean_name(self) -> str:
        try:
            return definitions.check_name(self.cleaned_data["name"])
        except RuleError as error:
            raise forms.ValidationError(error.message) from error


@admin.register(ComputedAttribute)
class ComputedAttributeAdmin(ModelAdmin):
    """List and form. Who may only look sees the form without its buttons."""

    list_display = ["title", "short_name", "shown_state", "used_by"]
    list_filter = ["state"]
    search_fields = ["name", "slug"]
    list_empty = gettext_lazy(
        "A computed attribute is a figure about each person, such as their orders in 90 days. Segments, flows and"
        " messages can use it; it keeps itself up to date."
    )
    ordering = ["name"]
    list_per_page = 50

    # --- List ------------------------------------------------------------------------------------------
    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        uses = usage.uses()
        for attribute in changelist.result_list:
            attribute.uses = uses.get(attribute.slug, [])
        return changelist

    def get_actions(self, request):
        """No deleting by the dozen: each attribute tells for itself why it can't go."""
        return {
            name: found for name, found in super().get_actions(request).items() if name != "delete_selected"
        }

    @display(description=gettext_lazy("attribute"), ordering="name", header=True)
    def title(self, attribute):
        return [attribute.name, sentence(attribute.config)]

    @display(description=gettext_lazy("short name"), ordering="slug")
    def short_name(self, attribute):
        return format_html('<code dir="ltr">computed.{}</code>', attribute.slug)

    @display(description=gettext_lazy("state"), ordering="state", label=STATES)
    def shown_state(self, attribute):
        text = attribute.get_state_display()
        if attribute.state == State.BACKFILLING:
            text = f"{text} · {attribute.progress:.0%}"
        return attribute.state, text

    @display(description=gettext_lazy("used by"))
    def used_by(self, attribute):
        links = format_html_join(
            ", ",
            '<a class="text-primary-600" href="{}">{}</a>',
            [(use.url, use.text) for use in attribute.uses],
        )
        return links or _("nothing yet")

    # --- Deleting --------------------------------------------------------------------------------------
    def get_deleted_objects(self, objs, request):
        """What uses an attribute keeps it from being deleted; its values are swept up."""
        uses = usage.uses()
        protected = [
            _("“%(attribute)s” is used by %(use)s") % {"attribute": attribute, "use": use.text}
            for attribute in objs
            for use in uses.get(attribute.slug, [])
        ]
        names = [str(attribute) for attribute in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), protected

    def delete_model(self, request, obj):
        """As everybody else deletes one."""
        definitions.delete(obj)

    # --- Pages -----------------------------------------------------------------------------------------
    def get_urls(self):
        pages = [
            path("define/edit/", part_of_form(self, self.edit_view), name="crm_computedattribute_edit"),
            path(
                "define/preview/", part_of_form(self, self.preview_view), name="crm_computedattribute_preview"
            ),
            path(
                "<path:object_id>/progress/",
                self.admin_site.admin_view(self.progress_view),
                name="crm_computedattribute_progress",
            ),
            path(
                "<path:object_id>/recompute/",
                self.admin_site.admin_view(self.recompute_view),
                name="crm_computedattribute_recompute",
            ),
        ]
        return pages + super().get_urls()

    def add_view(self, request, form_url="", extra_context=None):
        return self.page(request, None)

    def change_view(self, request, object_id, form_url="", extra_context=None):
        attribute = self.get_object(request, object_id)
        if attribute is None:
            raise Http404
        return self.page(request, attribute)

    def page(self, request: HttpRequest, attribute: ComputedAttribute | None) -> HttpResponse:
        """The whole page; a POST saves it."""
        may_see = (
            self.has_view_permission(request, attribute) if attribute else self.has_add_permission(request)
        )
        may_change = self.has_change_permission(request, attribute) if attribute else may_see
        if not may_see or (request.method == "POST" and not may_change):
            raise PermissionDenied
        problems: list = []
        begun = None if attribute else gallery.template(request.GET.get("template", ""))
        initial = {"name": begun.name, "slug": begun.slug} if begun else None
        names = NamesForm(
            request.POST if request.method == "POST" else None, instance=attribute, initial=initial
        )
        if request.method == "POST":
            # Where the definition may not be changed it is not posted.
            data = (
                form.read(_posted(request)) if "d.kind" in request.POST or not attribute else attribute.config
            )
            problems = self._save(request, names, form.config(data), attribute)
            if not problems and not names.errors:
                return redirect("admin:crm_computedattribute_change", names.instance.pk)
        elif attribute:
            data = dict(attribute.config)
        else:
            data = gallery.config(begun) if begun else form.blank()
        uses = usage.uses().get(attribute.slug, []) if attribute else []
        context = {
            **self.admin_site.each_context(request),
            **self._sentence_context(data, problems, may_change and not uses),
            "title": attribute.name if attribute else _("New computed attribute"),
            "opts": self.opts,
            "attribute": attribute,
            "names": names,
            "gallery": [] if attribute else gallery.TEMPLATES,
            "begun": begun,
            "uses": uses,
            "may_save": may_change,
            "may_delete": attribute is not None and self.has_delete_permission(request, attribute),
            "fresh_at": fresh_at() if attribute and attribute.served else None,
        }
        return TemplateResponse(request, f"{TEMPLATES}/page.html", context)

    def _save(
        self,
        request: HttpRequest,
        names: NamesForm,
        config: dict[str, Any],
        attribute: ComputedAttribute | None,
    ) -> list:
        """Store the definition and begin to compute it; what is wrong with it otherwise."""
        valid = names.is_valid()
        try:
            parse(config)
            if not valid:
                return []
            name, draft = names.cleaned_data["name"], "_draft" in request.POST
            if attribute is None:
                slug = names.cleaned_data["slug"]
                names.instance = definitions.create(name, slug, config, start=not draft)
                self.log_addition(request, names.instance, [{"added": {}}])
            else:
                definitions.change(attribute, name, config, start=not draft)
                self.log_change(request, attribute, [{"changed": {"fields": ["definition"]}}])
        except RuleError as error:
            return error.problems
        except definitions.SlugTaken as error:
            names.add_error("slug", str(error))
            return []
        except definitions.InUse as error:
            names.add_error(None, str(error))
            return []
        saved = _("“%s” is saved.") if draft else _("“%s” is saved and kept up to date from now on.")
        messages.success(request, saved % name)
        return []

    def edit_view(self, request: HttpRequest) -> HttpResponse:
        """Change the posted sentence as one button asks, and draw it anew. Nothing is stored."""
        data = form.read(_posted(request))
        form.apply(data, request.POST.get("op", ""))
        context = self._sentence_context(data, [], True)
        response = TemplateResponse(request, f"{TEMPLATES}/sentence.html", context)
        response["HX-Trigger-After-Settle"] = "computed:changed"
        return response

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """The definition in words, and what it gives for ten people who did this lately."""
        context: dict[str, Any] = {"may_see_people": request.user.has_perm("crm.view_profile")}
        config = form.config(form.read(_posted(request)))
        if masking.hidden() and masking.asks(config):
            raise PermissionDenied
        try:
            kind = parse(config)
            context["sentence"] = capital(kind.describe())
            context["type"] = kind.type
            if context["may_see_people"]:
                context["lines"] = preview.lines(kind)
        except RuleError as error:
            context["problem"] = error.message
        except preview.TooSlow:
            context["slow"] = True
        return TemplateResponse(request, f"{TEMPLATES}/preview.html", context)

    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How far the computing for everybody is; asks for itself again until it is done."""
        attribute = self.get_object(request, object_id)
        if attribute is None:
            raise Http404
        if not self.has_view_permission(request, attribute):
            raise PermissionDenied
        return HttpResponse(render_to_string(f"{TEMPLATES}/progress.html", {"attribute": attribute}, request))

    def recompute_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Compute the attribute for everybody once more."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        attribute = self.get_object(request, object_id)
        if attribute is None:
            raise Http404
        if not self.has_change_permission(request, attribute):
            raise PermissionDenied
        backfill.start(attribute)
        self.log_change(request, attribute, [{"changed": {"name": _("computed anew for everybody")}}])
        messages.success(request, _("“%s” is being computed for everybody anew.") % attribute.name)
        return redirect("admin:crm_computedattribute_change", attribute.pk)

    def _sentence_context(self, data: dict[str, Any], problems: list, may_change: bool) -> dict[str, Any]:
        return {
            "row": form.shown(data, problems),
            "may_change": may_change,
            "edit_url": reverse("admin:crm_computedattribute_edit"),
        }


def sentence(config: Any) -> str:
    """The definition in words; empty if it can no longer be read."""
    try:
        return capital(parse(config).describe())
    except RuleError:
        return ""


def _posted(request: HttpRequest) -> dict[str, list[str]]:
    """The sentence's inputs by their names without the prefix."""
    return {name.removeprefix("d."): texts for name, texts in request.POST.lists() if name.startswith("d.")}
