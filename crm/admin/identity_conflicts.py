"""People who may be one person: side by side, for somebody to decide."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.decorators import action, display

from crm import audit, conflicts, masking, merge_preview, merging
from crm.admin import senders
from crm.admin.base import BigTableAdmin, ReadOnly
from crm.admin.identity_merging import compared, join, may_merge, named
from crm.models import IdentityConflict, Profile

State = IdentityConflict.State


class OpenFilter(admin.SimpleListFilter):
    """Those that wait for a decision; the default."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """What to choose from besides the open ones."""
        return [(State.JOINED, State.JOINED.label), (State.APART, State.APART.label), ("all", _("all"))]

    def choices(self, changelist: Any) -> Any:
        """The open ones in place of "All"."""
        shown = list(super().choices(changelist))
        shown[0]["display"] = State.OPEN.label
        return shown

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """The chosen ones."""
        if self.value() == "all":
            return queryset
        return queryset.filter(state=self.value() or State.OPEN)


@admin.register(IdentityConflict)
class IdentityConflictAdmin(ReadOnly, BigTableAdmin):
    """Pairs that somebody named in one breath; each is asked about once."""

    list_display = ["who", "why", "told_by", "seen", "last_seen", "shown_state"]
    list_display_links = ["who"]
    list_filter = [OpenFilter]
    list_empty = _(
        "Nobody is waiting to be decided about. When a customer number of one person comes with the email of another, "
        "they are not joined but listed here."
    )
    ordering = ["-last_seen", "-pk"]
    sortable_by = ["seen", "last_seen"]
    actions = ["join_chosen", "keep_apart_chosen"]

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        """Decided pairs, and open ones of which both people are still there."""
        first, second = (Profile.objects.filter(pk=OuterRef(name)) for name in ("first_id", "second_id"))
        pairs = super().get_queryset(request)
        return pairs.filter(Exists(first) & Exists(second)) | pairs.exclude(state=State.OPEN)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With both people's names, read at once for the page."""
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        ids = {number for row in rows for number in (row.first_id, row.second_id)}
        people = {person.pk: person.display_name for person in Profile.objects.filter(pk__in=ids)}
        names = senders.connections()
        for row in rows:
            row.sender = senders.sender(row.source, names)
            row.people = [
                people.get(number, _("Profile %d") % number) for number in (row.first_id, row.second_id)
            ]
        changelist.result_list = rows
        return changelist

    def has_merge_permission(self, request: HttpRequest) -> bool:
        """Who may join people."""
        return may_merge(request)

    @display(description=_("people"), header=True)
    def who(self, row: IdentityConflict) -> list[Any]:
        """Both names."""
        first, second = getattr(row, "people", (row.first_id, row.second_id))
        return [first, second]

    @display(description=_("both named by"))
    def why(self, row: IdentityConflict) -> str:
        """The names that collided."""
        return ", ".join(str(masking.contact(kind, value)) for kind, value in row.names[:3])

    @display(description=_("told by"), label={True: "success", False: "warning"})
    def told_by(self, row: IdentityConflict) -> tuple[bool, Any]:
        """Who said so, and whether to be believed."""
        return row.proven, getattr(row, "sender", row.source) or "–"

    @display(description=_("state"), label={"open": "warning", "joined": "success", "apart": "info"})
    def shown_state(self, row: IdentityConflict) -> tuple[str, Any]:
        """A chip."""
        return row.state, row.get_state_display()

    @action(description=_("Join (the older profile stays)"), permissions=["merge"])
    def join_chosen(self, request: HttpRequest, queryset: QuerySet) -> None:
        """Join each pair; of several that hang together the oldest profile stays."""
        pairs = list(queryset.filter(state=State.OPEN).values_list("first_id", "second_id"))
        merged = merging.joined_with_oldest(pairs)
        merging.merge(merged, "admin", by=request.user.get_username())
        for loser, winner in merged:
            audit.record(request, "profile.merged", ("crm.profile", winner), loser=loser)
        words = ngettext("%d profile was joined.", "%d profiles were joined.", len(merged)) % len(merged)
        messages.success(request, words)

    @action(description=_("Keep apart"), permissions=["merge"])
    def keep_apart_chosen(self, request: HttpRequest, queryset: QuerySet) -> None:
        """Remember that they are different people."""
        pairs = list(queryset.filter(state=State.OPEN).values_list("first_id", "second_id"))
        kept = conflicts.keep_apart(pairs, request.user.get_username())
        for first, second in pairs:
            audit.record(request, "profile.kept_apart", ("crm.profile", first), other=second)
        messages.success(request, ngettext("%d pair is kept apart.", "%d pairs are kept apart.", kept) % kept)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The two side by side, and what to do about them."""
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if request.method == "POST":
            return self._decide(request, row)
        swapped = request.GET.get("keep") == str(row.second_id)
        loser, winner = (row.first_id, row.second_id) if swapped else (row.second_id, row.first_id)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": _("Are these one person?"),
            "opts": self.opts,
            "row": row,
            "told_by": senders.sender(row.source, senders.connections()) or "–",
            "why": [named(kind, value) for kind, value in row.names],
            "back": reverse("admin:crm_identityconflict_changelist"),
            "may_merge": may_merge(request),
            "open": row.state == State.OPEN,
            "keep": winner,
            "swap": f"?keep={loser}",
        }
        try:
            context |= compared(merge_preview.preview(loser, winner))
        except Profile.DoesNotExist:
            context["gone"] = True
        return TemplateResponse(request, "admin/crm/identity/conflict.html", context)

    def _decide(self, request: HttpRequest, row: IdentityConflict) -> HttpResponse:
        if not may_merge(request):
            raise PermissionDenied
        back = HttpResponseRedirect(reverse("admin:crm_identityconflict_changelist"))
        if request.POST.get("decision") == "apart":
            conflicts.keep_apart([(row.first_id, row.second_id)], request.user.get_username())
            audit.record(request, "profile.kept_apart", ("crm.profile", row.first_id), other=row.second_id)
            messages.success(request, _("They are two people, and you are not asked about them again."))
            return back
        winner = row.second_id if request.POST.get("keep") == str(row.second_id) else row.first_id
        loser = row.first_id if winner == row.second_id else row.second_id
        if join(request, loser, winner):
            messages.success(request, _("Joined. The last merge can be undone on the person's page."))
        else:
            messages.warning(request, _("One of them is no longer there."))
        return back
