"""What a person may ask for: a copy of everything, and to be forgotten."""

from itertools import islice
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _

from crm import audit, masking, portability, privacy
from crm.api.privacy import download
from crm.models import Connection, Profile

COUNTED = 1_000  # rows of each kind; more are "more than"
EXPORT, ERASE = "crm.export_person", "crm.erase_profile"


class EraseForm(forms.Form):
    """The person's number, typed by hand, and whether the CRMs shall erase them too."""

    number = forms.CharField()
    crms = forms.BooleanField(required=False)

    def __init__(self, profile: Profile, data: Any = None):
        super().__init__(data)
        self.profile = profile

    def clean_number(self) -> str:
        """It must be this person's."""
        number = self.cleaned_data["number"].strip()
        if number != str(self.profile.pk):
            raise forms.ValidationError(_("This is not the number of this profile; nothing was erased."))
        return number


class PersonRights:
    """Mixin for the admin of profiles: its pages to export and to erase one person."""

    def get_urls(self) -> list[Any]:
        """The two pages."""
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/export-person/", view(self.export_person), name="crm_profile_export_person"),
            path("<int:pk>/erase/", view(self.erase_person), name="crm_profile_erase"),
            *super().get_urls(),
        ]

    def export_person(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Says what the archive will hold; by POST it comes."""
        profile = self._person(request, pk, EXPORT)
        if request.method == "POST":
            audit.record(request, "profile.exported", profile)
            return download(profile)
        context = self._context(request, profile, _("Export everything about one person"))
        return TemplateResponse(request, "admin/crm/privacy/export.html", context)

    def erase_person(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Says what will go; by POST, with the person's number typed, it goes."""
        profile = self._person(request, pk, ERASE)
        form = EraseForm(profile, request.POST if request.method == "POST" else None)
        if form.is_valid():
            crms = form.cleaned_data["crms"]
            audit.record(request, "profile.erased", profile, crms=crms)
            privacy.erase([profile.pk], "request", crms=crms)
            messages.success(request, _("Profile %d was erased.") % profile.pk)
            return redirect("admin:crm_profile_changelist")
        records = privacy.in_crms([profile.pk])
        names = dict(Connection.objects.values_list("pk", "name"))
        context = self._context(request, profile, _("Erase this person"))
        context |= {
            "form": form,
            "records": [(names[connection], name, record) for _pk, connection, name, record in records],
        }
        return TemplateResponse(request, "admin/crm/privacy/erase.html", context)

    def _person(self, request: HttpRequest, pk: int, permission: str) -> Profile:
        if not (self.has_view_permission(request) and request.user.has_perm(permission)):
            raise PermissionDenied
        if permission == EXPORT and masking.hidden():  # it is all contact data
            raise PermissionDenied
        profile = Profile.objects.filter(pk=pk).first() if pk < 2**63 else None
        if profile is None:
            raise Http404
        return profile

    def _context(self, request: HttpRequest, profile: Profile, title: str) -> dict[str, Any]:
        parts = [
            (part.about, sum(1 for _row in islice(part.rows(profile.pk), COUNTED + 1)))
            for part in portability.parts()
        ]
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": profile,
            "profile": profile,
            "title": title,
            "parts": [(about, min(count, COUNTED), count > COUNTED) for about, count in parts if count],
            "back": reverse("admin:crm_profile_change", args=[profile.pk]),
        }
