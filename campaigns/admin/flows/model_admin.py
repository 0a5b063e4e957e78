"""The list of flows, and the way from it into the builder."""

from django import forms
from django.contrib import admin
from django.db.models import Count, Exists, IntegerField, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from campaigns.admin.flows import (
    backtest,
    builder,
    bundles,
    duplicating,
    enroll,
    inside,
    lifecycle,
    pages,
    people_inside,
    preview,
    recipes,
    tree,
    versions,
    walkthrough,
    why,
)
from campaigns.flows import copying, editing
from campaigns.flows.definition import DefinitionError, parse
from campaigns.models import Enrollment, Flow, FlowVersion
from campaigns.segments import usage

STATES = {
    Flow.State.DRAFT: "info",
    Flow.State.LIVE: "success",
    Flow.State.PAUSED: "warning",
    Flow.State.FINISHING: "info",
    Flow.State.STOPPED: "danger",
}


class NewFlowForm(forms.ModelForm):
    """Asks for nothing but a name; the short name is made from it."""

    class Meta:
        model = Flow
        fields = ["name"]
        widgets = {"name": UnfoldAdminTextInputWidget(attrs={"autofocus": True, "autocomplete": "off"})}
        help_texts = {"name": _("Such as “Welcome series” or “Abandoned cart”.")}

    def save(self, commit=True):
        self.instance.slug = copying.free_slug(self.instance.name)
        self.instance.draft = editing.empty()
        return super().save(commit)


def around_views() -> list[tuple]:
    """The pages around the builder: name, route, view and the right that it needs."""
    return [
        ("finish", "<int:pk>/builder/finish/", lifecycle.finish, "publish"),
        ("catching", "<int:pk>/builder/catching/", lifecycle.catching, "view"),
        ("ask_approval", "<int:pk>/builder/approval/ask/", lifecycle.ask_approval, "view"),
        ("answer_approval", "<int:pk>/builder/approval/answer/", lifecycle.answer_approval, "publish"),
        ("trouble", "<int:pk>/builder/trouble/", lifecycle.trouble, "view"),
        ("duplicate", "<int:pk>/builder/duplicate/", duplicating.duplicate, "view"),
        ("inside", "<int:pk>/inside/", people_inside.inside, "view"),
        ("end_run", "<int:pk>/inside/<int:run>/end/", people_inside.end_run, "view"),
        ("job", "<int:pk>/inside/change/<int:number>/", people_inside.job, "view"),
        ("why", "<int:pk>/why/", why.why, "view"),
        ("enroll", "<int:pk>/enroll/", enroll.enroll, "view"),
        ("versions", "<int:pk>/versions/", versions.versions, "view"),
        ("restore", "<int:pk>/versions/<int:number>/restore/", versions.restore, "change"),
    ]


@admin.register(Flow)
class FlowAdmin(ModelAdmin):
    """List, builder and life of flows. A click on a flow opens its builder."""

    form = NewFlowForm
    list_display = [
        "title",
        "state_chip",
        "trigger",
        "inside",
        "completed",
        "converted",
        "published_at",
        "trouble",
    ]
    list_filter = ["state"]
    search_fields = ["name", "slug"]
    list_select_related = ["live_version"]
    list_per_page = 50
    actions = [bundles.export_chosen]
    list_before_template = "admin/campaigns/flow/list_before.html"

    def get_queryset(self, request: HttpRequest):
        def runs(**which):
            counted = (
                Enrollment.objects.filter(flow=OuterRef("pk"), **which)
                .order_by()
                .values("flow")
                .annotate(n=Count("pk"))
                .values("n")
            )
            return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

        return (
            super()
            .get_queryset(request)
            .annotate(
                people_inside=runs(state="active"),
                people_completed=runs(state="completed", holdout=False),
                people_converted=runs(converted_at__isnull=False, holdout=False),
            )
        )

    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(
            request, {**(extra_context or {}), "no_flows": not Flow.objects.exists()}
        )

    @display(description=_("flow"), ordering="name", header=True)
    def title(self, flow):
        return [flow.name, flow.description or flow.slug]

    @display(description=_("state"), ordering="state", label=STATES)
    def state_chip(self, flow):
        return flow.state, flow.get_state_display()

    @display(description=_("starts"))
    def trigger(self, flow):
        try:
            definition = parse(flow.live_version.definition if flow.live_version else flow.draft)
        except DefinitionError:
            return "–"
        return tree.trigger_words(definition) or "–"

    @display(description=_("inside"), ordering="people_inside")
    def inside(self, flow):
        return flow.people_inside

    @display(description=_("completed"), ordering="people_completed")
    def completed(self, flow):
        return flow.people_completed

    @display(description=_("reached the goal"), ordering="people_converted")
    def converted(self, flow):
        definition = flow.live_version.definition if flow.live_version else flow.draft
        return flow.people_converted if (definition or {}).get("goal") else "–"

    @display(description=_("error"), ordering="error")
    def trouble(self, flow):
        return flow.error[:120] or "–"

    def get_urls(self):
        views = [
            ("builder", "<int:pk>/builder/", builder.page, "view"),
            ("tree", "<int:pk>/builder/tree/", builder.redraw, "view"),
            ("counts", "<int:pk>/builder/counts/", builder.counts, "view"),
            ("add_step", "<int:pk>/builder/add/", builder.add, "change"),
            ("trigger", "<int:pk>/builder/trigger/", builder.trigger, "view"),
            ("settings", "<int:pk>/builder/settings/", builder.settings, "view"),
            ("message", "<int:pk>/builder/message/", preview.message, "view"),
            ("undo", "<int:pk>/builder/undo/", builder.undo, "change"),
            ("redo", "<int:pk>/builder/redo/", builder.redo, "change"),
            ("paste", "<int:pk>/builder/paste/", builder.paste, "change"),
            ("clip_step", "<int:pk>/builder/step/<str:key>/clip/", builder.clip, "change"),
            ("step", "<int:pk>/builder/step/<str:key>/", builder.step, "view"),
            ("delete_step", "<int:pk>/builder/step/<str:key>/delete/", builder.delete, "change"),
            ("move_step", "<int:pk>/builder/step/<str:key>/move/", builder.move, "change"),
            ("people", "<int:pk>/builder/step/<str:key>/people/", inside.people, "view"),
            ("publish", "<int:pk>/builder/publish/", lifecycle.publish, "view"),
            ("pause", "<int:pk>/builder/pause/", lifecycle.pause, "publish"),
            ("resume", "<int:pk>/builder/resume/", lifecycle.resume, "publish"),
            ("backtest", "<int:pk>/backtest/", backtest.page, "view"),
            ("backtest_status", "<int:pk>/backtest/<int:number>/status/", backtest.status, "view"),
            ("backtest_cancel", "<int:pk>/backtest/<int:number>/cancel/", backtest.cancel, "view"),
            ("walkthrough", "<int:pk>/walkthrough/", walkthrough.page, "view"),
            ("walkthrough_send", "<int:pk>/walkthrough/send/", walkthrough.send, "view"),
            ("stop", "<int:pk>/builder/stop/", lifecycle.stop, "publish"),
            *around_views(),
        ]
        return [
            *(
                path(route, pages.guarded(self, view, need), name=f"campaigns_flow_{name}")
                for name, route, view, need in views
            ),
            path("person/<int:profile_id>/", why.of_person(self), name="campaigns_flow_why_person"),
            *bundles.urls(self),
            path("recipes/", recipes.gallery(self), name="campaigns_flow_recipes"),
            path("recipes/<slug:slug>/", recipes.recipe(self), name="campaigns_flow_recipe"),
            *super().get_urls(),
        ]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        flow = self.get_object(request, object_id)
        if flow is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(reverse("admin:campaigns_flow_builder", args=[flow.pk]))

    def response_add(self, request, obj, post_url_continue=None):
        return HttpResponseRedirect(reverse("admin:campaigns_flow_builder", args=[obj.pk]))

    def has_delete_permission(self, request, obj=None):
        """Only what never ran may go: everything else is history."""
        if obj is not None and (obj.state != Flow.State.DRAFT or has_run(obj)):
            return False
        return super().has_delete_permission(request, obj)

    def get_deleted_objects(self, objs, request):
        """A flow that segments and other flows ask about stays."""
        uses, (names, counts, missing, protected) = (
            usage.flow_uses(),
            super().get_deleted_objects(objs, request),
        )
        own = {reverse("admin:campaigns_flow_change", args=[flow.pk]) for flow in objs}
        asked = [
            format_html('<a class="text-link" href="{}">{}</a>', use.url, use.text)
            for flow in objs
            for use in uses.get(flow.slug, [])
            if use.url not in own
        ]
        return names, counts, missing, [*protected, *asked]

    def get_actions(self, request):
        # Deleting many at once would not look at each flow's history.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions


def has_run(flow: Flow) -> bool:
    """Whether the flow was ever published or anybody was in it."""
    return Flow.objects.filter(
        Exists(FlowVersion.objects.filter(flow=OuterRef("pk")))
        | Exists(Enrollment.objects.filter(flow=OuterRef("pk"))),
        pk=flow.pk,
    ).exists()
