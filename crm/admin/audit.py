"""Who looked at and changed what, to read; and what CRMs were asked to erase."""

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display

from crm.admin.base import BigTableAdmin, DayRangeFilter, ReadOnly, pretty
from crm.models import AuditEntry, CrmErasure
from crm.sync import erasures

ACTIONS = {
    "profile.viewed": _("looked at a person"),
    "profile.searched": _("searched for people"),
    "profile.exported": _("exported all about a person"),
    "profile.erased": _("erased a person"),
    "profile.returned": _("let an erased person begin anew"),
    "profile.merged": _("merged two people"),
    "profile.unmerged": _("undid a merge"),
    "list.exported": _("exported a list"),
    "report.people_viewed": _("looked at the people behind a number"),
    "report.exported": _("exported a report"),
    "report.mailed": _("had a report mailed"),
    "list.uploaded": _("uploaded a file of people for a list"),
    "list.filled": _("filled a list"),
    "list.people_added": _("put people on a list"),
    "list.people_removed": _("took people off a list"),
    "list.rejects_exported": _("exported people that a list did not take"),
    "members.exported": _("exported members of a segment"),
    "members.export_fetched": _("fetched a file of members"),
    "segment.deleted": _("deleted a segment"),
    "events.uploaded": _("uploaded a file of events"),
    "events.imported": _("imported a file of events"),
    "events.import_cancelled": _("cancelled an import of events"),
    "events.rejects_exported": _("exported events that were not taken"),
    "consents.imported": _("imported a list of consents"),
    "suppressions.imported": _("imported a list of suppressed addresses"),
    "places.imported": _("imported places"),
    "preferences.opened": _("opened a person's preference page"),
    "user.logged_in": _("logged in"),
    "user.logged_out": _("logged out"),
    "user.login_failed": _("failed to log in"),
    "user.roles_changed": _("changed somebody's roles or permissions"),
    "role.permissions_changed": _("changed a role's permissions"),
    "key.created": _("created an API key"),
    "key.revoked": _("revoked an API key"),
    "admin.added": _("added"),
    "admin.changed": _("changed"),
    "admin.deleted": _("deleted"),
}


def _kind(object_type: str) -> str:
    """What a reader calls it: `crm.profile` is a profile."""
    try:
        return str(apps.get_model(object_type)._meta.verbose_name)
    except (LookupError, ValueError):
        return object_type


class ActorFilter(TextFilter):
    title = _("who")
    parameter_name = "who"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """A user's or key's name, whole."""
        name = (self.value() or "").replace("\x00", "").strip()
        return queryset.filter(actor=name) if name else queryset


class ObjectFilter(TextFilter):
    title = _("thing, such as crm.profile 42")
    parameter_name = "thing"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """A kind of thing, or one with its number."""
        kind, _space, number = (self.value() or "").replace("\x00", "").strip().partition(" ")
        if not kind:
            return queryset
        found = queryset.filter(object_type=kind.lower())
        return found.filter(object_id=number.strip()) if number else found


class ActionFilter(admin.SimpleListFilter):
    title = _("did")
    parameter_name = "did"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """All kinds of deeds."""
        return list(ACTIONS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Of this kind."""
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, BigTableAdmin):
    list_display = ["at", "who", "did", "thing", "address"]
    list_filter = [ActorFilter, ActionFilter, ObjectFilter, ("at", DayRangeFilter)]
    list_empty = _("Who looks at people, exports, erases or changes anything is written here.")
    ordering = ["-pk"]
    sortable_by = []
    actions = None
    fields = ["at", "who", "did", "thing", "address", "details"]
    readonly_fields = fields

    @display(description=_("who"))
    def who(self, entry: AuditEntry) -> str:
        """The name, and what it is the name of unless a user."""
        if entry.actor_type == AuditEntry.Actor.USER:
            return entry.actor
        return f"{entry.actor} ({entry.get_actor_type_display()})" if entry.actor else "–"

    @display(description=_("did"))
    def did(self, entry: AuditEntry) -> Any:
        """In words."""
        return ACTIONS.get(entry.action, entry.action)

    @display(description=_("what"))
    def thing(self, entry: AuditEntry) -> Any:
        """A link to the thing, if it has a page."""
        if not entry.object_type:
            return "–"
        text = entry.object_repr or f"{_kind(entry.object_type)} {entry.object_id}".strip()
        try:
            url = reverse(f"admin:{entry.object_type.replace('.', '_')}_change", args=[entry.object_id])
        except NoReverseMatch:
            return text
        return format_html('<a href="{}"><bdi>{}</bdi></a>', url, text)

    @display(description=_("detail"))
    def details(self, entry: AuditEntry) -> str:
        """As JSON."""
        return pretty(entry.detail)


@admin.register(CrmErasure)
class CrmErasureAdmin(ReadOnly, BigTableAdmin):
    list_display = ["record", "connection", "status", "attempts", "detail", "requested_at", "settled_at"]
    list_display_links = None
    list_filter = ["state", "connection"]
    list_select_related = ["connection"]
    list_empty = _(
        "When a person is erased, their records in CRMs can be erased, too. What came of it stands here."
    )
    ordering = ["-pk"]
    sortable_by = []
    actions = ["again"]

    @display(description=_("record"))
    def record(self, row: CrmErasure) -> str:
        """The object and the record's id in the CRM."""
        return f"{row.object} {row.record_id}"

    @display(
        description=_("state"),
        label={
            CrmErasure.State.WAITING: "info",
            CrmErasure.State.DONE: "success",
            CrmErasure.State.FAILED: "danger",
        },
    )
    def status(self, row: CrmErasure) -> tuple[str, Any]:
        """A chip."""
        return row.state, row.get_state_display()

    def has_again_permission(self, request: HttpRequest) -> bool:
        """Whoever may erase people."""
        return request.user.has_perm("crm.erase_profile")

    @admin.action(description=_("Ask the CRM again"), permissions=["again"])
    def again(self, request: HttpRequest, queryset: QuerySet) -> None:
        """What the CRM refused is sent once more."""
        count = erasures.again(list(queryset))
        messages.success(request, _("%d records will be asked for again.") % count)
