"""Segments in the admin: the list, and what a segment's pages hang on."""

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.shortcuts import redirect
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from campaigns.admin.segments.building import BuildingMixin
from campaigns.admin.segments.compare import CompareMixin
from campaigns.admin.segments.exports import ExportsMixin
from campaigns.admin.segments.gallery import GalleryMixin
from campaigns.admin.segments.lists import ListsMixin
from campaigns.admin.segments.members import MembersMixin
from campaigns.admin.segments.pages import PagesMixin
from campaigns.admin.segments.words import freshness, state_words
from campaigns.models import Segment
from campaigns.segments import editing, history, usage


class UsedFilter(admin.SimpleListFilter):
    """Those that something uses, and those that nothing does."""

    title, parameter_name = gettext_lazy("used"), "used"

    def lookups(self, request, model_admin):
        return [("yes", _("in use")), ("no", _("not in use"))]

    def queryset(self, request, queryset):
        if self.value() not in ("yes", "no"):
            return queryset
        used = list(uses_of(request))
        return queryset.filter(slug__in=used) if self.value() == "yes" else queryset.exclude(slug__in=used)


def uses_of(request):
    """What uses each segment, looked up once for a request."""
    if not hasattr(request, "segment_uses"):
        request.segment_uses = usage.uses()
    return request.segment_uses


@admin.register(Segment)
class SegmentAdmin(
    GalleryMixin,
    CompareMixin,
    ListsMixin,
    MembersMixin,
    ExportsMixin,
    PagesMixin,
    BuildingMixin,
    ModelAdmin,
):
    """The list; each mixin brings its pages by `get_urls`."""

    list_display = ["title", "shown_kind", "people", "week", "shown_state", "used_by"]
    list_filter = ["kind", "state", UsedFilter]
    search_fields = ["name", "slug", "description"]
    list_empty = gettext_lazy(
        "A segment is a question, such as who bought in the last 30 days; flows and broadcasts go"
        " to whoever answers it."
    )
    list_before_template = "admin/campaigns/segment/list_before.html"
    ordering = ["name"]
    list_per_page = 50

    # --- List ------------------------------------------------------------------------------------------
    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        uses = uses_of(request)
        changes = history.changes([segment.pk for segment in changelist.result_list])
        for segment in changelist.result_list:
            segment.uses = uses.get(segment.slug, [])
            segment.week = changes[segment.pk]
        return changelist

    def get_actions(self, request):
        """No deleting by the dozen: each segment tells for itself why it can't go."""
        return {
            name: found for name, found in super().get_actions(request).items() if name != "delete_selected"
        }

    @display(description=gettext_lazy("segment"), ordering="name", header=True)
    def title(self, segment):
        return [segment.name, segment.description or segment.slug]

    @display(description=gettext_lazy("kind"), ordering="kind")
    def shown_kind(self, segment):
        return segment.get_kind_display()

    @display(description=gettext_lazy("people"), ordering="size")
    def people(self, segment):
        return intcomma(segment.size) if segment.evaluated_at or segment.size else "–"

    @display(description=gettext_lazy("in 7 days"))
    def week(self, segment):
        if not segment.week.entered and not segment.week.departed:
            return "–"
        return format_html(
            '<span class="whitespace-nowrap"><bdi>+{}</bdi> / <bdi>−{}</bdi></span>',
            intcomma(segment.week.entered),
            intcomma(segment.week.departed),
        )

    @display(description=gettext_lazy("state"), ordering="state")
    def shown_state(self, segment):
        state = state_words(segment)
        return format_html(
            '<span class="nudge-chip{}">{}</span> <span class="text-base-500">{}</span>',
            f" is-{state.look}" if state.look else "",
            state.text,
            freshness(segment),
        )

    @display(description=gettext_lazy("used by"))
    def used_by(self, segment):
        links = format_html_join(
            ", ", '<a class="text-link" href="{}">{}</a>', [(use.url, use.text) for use in segment.uses[:3]]
        )
        if len(segment.uses) > 3:
            links = format_html("{} {}", links, _("and %d more") % (len(segment.uses) - 3))
        return links or _("nothing yet")

    # --- One -------------------------------------------------------------------------------------------
    def change_view(self, request, object_id, form_url="", extra_context=None):
        """A rule opens in the builder; a list has none and opens with its overview."""
        segment = self.get_object(request, object_id)
        if segment is not None and segment.kind == Segment.Kind.LIST:
            return redirect("admin:campaigns_segment_overview", segment.pk)
        return super().change_view(request, object_id, form_url, extra_context)

    # --- Deleting --------------------------------------------------------------------------------------
    def get_deleted_objects(self, objs, request):
        """What uses a segment keeps it from being deleted, with a link to each; its memberships just go."""
        uses = usage.uses()
        protected = [
            format_html(
                _("“{segment}” is used by {use}"),
                segment=segment,
                use=format_html('<a class="text-link" href="{}">{}</a>', use.url, use.text),
            )
            for segment in objs
            for use in uses.get(segment.slug, [])
        ]
        names = [str(segment) for segment in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), protected

    def delete_model(self, request, obj):
        """As everybody else deletes one."""
        editing.delete(obj)

    def delete_view(self, request, object_id, extra_context=None):
        """What is used stays: who asks is shown by what."""
        segment = self.get_object(request, object_id)
        if segment is not None and self.has_delete_permission(request, segment):
            uses = usage.uses().get(segment.slug, [])
            if uses:
                return self.page_of(request, "in_use", segment, uses=uses)
        try:
            return super().delete_view(request, object_id, extra_context)
        except editing.InUse as error:  # since the question was put
            return self.page_of(request, "in_use", segment, uses=error.uses)
