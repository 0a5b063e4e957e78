"""Segments in the admin: the list, and what a segment's pages hang on."""

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import display

from campaigns.admin.segments.building import BuildingMixin
from campaigns.models import Segment
from campaigns.segments import usage

STATES = {Segment.State.NEW: "info", Segment.State.READY: "success", Segment.State.FAILED: "danger"}


@admin.register(Segment)
class SegmentAdmin(BuildingMixin, ModelAdmin):
    """The list; each mixin brings its pages by `get_urls`."""

    list_display = ["title", "people", "shown_state", "evaluated_at", "used_by"]
    list_filter = ["state"]
    search_fields = ["name", "slug", "description"]
    list_empty = gettext_lazy(
        "A segment is a question, such as who bought in the last 30 days; flows and broadcasts go"
        " to whoever answers it."
    )
    ordering = ["name"]
    list_per_page = 50

    # --- List ------------------------------------------------------------------------------------------
    def get_changelist_instance(self, request):
        changelist = super().get_changelist_instance(request)
        uses = usage.uses()
        for segment in changelist.result_list:
            segment.uses = uses.get(segment.slug, [])
        return changelist

    def get_actions(self, request):
        """No deleting by the dozen: each segment tells for itself why it can't go."""
        return {
            name: found for name, found in super().get_actions(request).items() if name != "delete_selected"
        }

    @display(description=gettext_lazy("segment"), ordering="name", header=True)
    def title(self, segment):
        return [segment.name, segment.description or segment.slug]

    @display(description=gettext_lazy("people"), ordering="size")
    def people(self, segment):
        return intcomma(segment.size) if segment.evaluated_at else "–"

    @display(description=gettext_lazy("state"), ordering="state", label=STATES)
    def shown_state(self, segment):
        return segment.state, segment.get_state_display()

    @display(description=gettext_lazy("used by"))
    def used_by(self, segment):
        links = format_html_join(
            ", ", '<a class="text-primary-600" href="{}">{}</a>', [(u.url, u.text) for u in segment.uses]
        )
        return links or _("nothing yet")

    # --- Deleting --------------------------------------------------------------------------------------
    def get_deleted_objects(self, objs, request):
        """What uses a segment keeps it from being deleted; its memberships just go."""
        uses = usage.uses()
        protected = [
            _("“%(segment)s” is used by %(use)s") % {"segment": segment, "use": use.text}
            for segment in objs
            for use in uses.get(segment.slug, [])
        ]
        names = [str(segment) for segment in objs]
        return names, {self.opts.verbose_name_plural: len(names)}, set(), protected
