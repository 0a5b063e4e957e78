"""The people: a list to find them in, and one page for each."""

import re
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import TextFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from crm import audit, masking, normalise, profiles
from crm.admin import profile_page
from crm.admin.base import BigTableAdmin
from crm.admin.export_rows import ProfileTable
from crm.admin.exports import Exports
from crm.admin.import_links import ImportLink
from crm.admin.person_rights import PersonRights
from crm.admin.profile_page import initials
from crm.models import Identifier, Profile
from crm.normalise import Rejection

MIN_SEARCH = 3  # characters; fewer can't use the trigram indexes
EDITABLE = (
    *("first_name", "last_name", "email", "phone", "external_id", "language", "timezone"),
    *("country", "city", "birthday", "lifecycle_stage"),
)
LIST_PAGE = "admin:campaigns_list_people"
_SOURCE = "admin"


class CountryFilter(TextFilter):
    title = _("country")
    parameter_name = "country"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Take a code or a country's name."""
        if not self.value():
            return queryset
        try:
            return queryset.filter(country=normalise.country(self.value()))
        except Rejection:
            return queryset.none()


class LanguageFilter(TextFilter):
    title = _("language")
    parameter_name = "language"

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        """Take a tag or a language's name; pt finds pt-BR too."""
        if not self.value():
            return queryset
        try:
            tag = normalise.language(self.value())
        except Rejection:
            return queryset.none()
        return queryset.filter(Q(language=tag) | Q(language__startswith=f"{tag}-"))


class ProfileForm(forms.ModelForm):
    """What a person may correct by hand; saved by the same service as what CRMs send."""

    class Meta:
        model = Profile
        fields = EDITABLE

    def clean(self) -> dict[str, Any]:
        """Bring the values into normal form and save, since only saving tells whether a name is free."""
        data = super().clean()
        try:
            changed = {
                name: data[name].isoformat() if name == "birthday" and data[name] else data[name] or None
                for name in self.changed_data
                if name in data
            }
            patch = profiles.validate(changed)
        except Rejection as rejection:
            self._refuse(rejection.field, rejection.detail)
            return data
        self.outcome = None
        if not self.errors:
            kind, value = self._key(patch)
            if not value:
                self._refuse("", _("Give an email, a phone or a customer number, to know this person by."))
                return data
            # Whoever enters a person by hand vouches that they are here again, should they have been erased.
            rows = [profiles.Row(kind, value, patch)]
            [self.outcome] = profiles.upsert(rows, _SOURCE, returning=True).outcomes
            if self.outcome.state == profiles.REJECTED:
                self._refuse(self.outcome.field, self.outcome.detail)
        return data

    def _key(self, patch: profiles.ProfilePatch) -> tuple[str, str]:
        if self.instance.pk:
            return profiles.ID, str(self.instance.pk)
        for kind in profiles.NAMES:
            if value := getattr(patch, kind) or None:
                return kind, value
        return profiles.ID, ""

    def _refuse(self, field: str, detail: str) -> None:
        self.add_error(field if field in self.fields else None, detail)


@admin.register(Profile)
class ProfileAdmin(PersonRights, ImportLink, Exports, BigTableAdmin):
    table = ProfileTable
    export_permission = "crm.export_profile"
    imported = "people"
    list_display = ["person", "country", "language", "lifecycle_stage", "last_seen", "created_at"]
    list_display_links = ["person"]
    list_filter = [CountryFilter, LanguageFilter]
    search_fields = ["email", "first_name", "last_name", "external_id"]
    search_help_text = _("Name or email (3 letters or more), or a whole customer number, phone or id.")
    list_empty = _(
        "People come from a CRM connection, from your website by the SDK, or from the API; you "
        "can also add one by hand."
    )
    ordering = ["-pk"]
    sortable_by = ["person", "country"]
    searches_outlines = True
    actions = ["export_chosen", "put_on_list"]
    form = ProfileForm
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    fieldsets = [
        (None, {"fields": [("first_name", "last_name"), ("email", "phone"), "external_id"]}),
        (_("Where and when"), {"fields": [("country", "city"), ("language", "timezone")]}),
        (_("About"), {"fields": [("birthday", "lifecycle_stage")]}),
    ]

    @display(description=_("Person"), header=True, ordering="email")
    def person(self, profile: Profile) -> list[str]:
        """Name, email below, initials in front."""
        name = profile.display_name
        below = profile.email if profile.email != name else ""
        return [name, masking.contact("email", below), initials(name)]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet, search_term: str
    ) -> tuple[QuerySet, bool]:
        """Every word in a name or the email, or the term as a whole one of the identifiers; all by indexes."""
        term = search_term.replace("\x00", "").strip()
        if not term:
            return queryset, False
        if masking.hidden():  # who may not see a name may not find out by it either
            number = int(term) if re.fullmatch(r"[0-9]{1,18}", term) else 0
            return queryset.filter(pk=number), False
        audit.record(request, "profile.searched", kind=_kind(term))
        kinds = (Identifier.EXTERNAL_ID, Identifier.PHONE, Identifier.ANONYMOUS_ID, Identifier.EMAIL)
        named = Identifier.objects.filter(kind__in=kinds, value__in={term, term.lower()})
        ids = set(named.values_list("profile_id", flat=True))
        if re.fullmatch(r"[0-9]{1,18}", term):
            ids.add(int(term))
        found = Q(pk__in=ids)
        words = [word for word in term.split() if len(word) >= MIN_SEARCH]
        if words:
            every = Q()
            for word in words:
                every &= (
                    Q(email__icontains=word) | Q(first_name__icontains=word) | Q(last_name__icontains=word)
                )
            found |= every
        return queryset.filter(found), False

    @admin.action(description=_("Add to a list or take off"), permissions=["list"])
    def put_on_list(self, request: HttpRequest, queryset: QuerySet) -> HttpResponse:
        """To the page that another part brings, with the chosen people, or the filter if all were chosen."""
        query = self.chosen(request, queryset)
        return HttpResponseRedirect(f"{profile_page.address(LIST_PAGE)}?{query.urlencode()}")

    def has_list_permission(self, request: HttpRequest) -> bool:
        """Who may change segments, if there are any."""
        return bool(profile_page.address(LIST_PAGE)) and request.user.has_perm("campaigns.change_segment")

    def has_delete_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        """Nobody: erasing a person is more than deleting a row."""
        return False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The person's page; with ?edit=1 the form."""
        if request.method == "GET" and "edit" not in request.GET:
            return self._page(request, object_id)
        return super().change_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Profile, form: ProfileForm, change: bool) -> None:
        """The form saved it already; take over what came of it."""
        obj.pk = form.outcome.profile_id
        obj.refresh_from_db()

    def response_change(self, request: HttpRequest, obj: Profile) -> HttpResponse:
        """Back to the person's page."""
        super().response_change(request, obj)
        return HttpResponseRedirect(reverse("admin:crm_profile_change", args=[obj.pk]))

    def _page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        profile = self.get_object(request, object_id)
        if profile is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_permission(request, profile):
            raise PermissionDenied
        audit.record(request, "profile.viewed", profile)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            **profile_page.context(request, profile, self.has_change_permission(request, profile)),
        }
        return TemplateResponse(request, "admin/crm/profile/page.html", context)


def _kind(term: str) -> str:
    """What kind of thing was searched for; what it was is nobody's business later."""
    if "@" in term:
        return "email"
    return "number" if sum(character.isdigit() for character in term) > len(term) / 2 else "name"
