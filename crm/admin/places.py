"""Stores and other places on the map."""

import re
from typing import Any

import msgspec
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from crm import audit, geography, places, tables
from crm.models import PersonPlace, Place
from crm.normalise import Rejection

ROWS = 20_000  # of one file
SHOWN = 50  # refused rows
_NUMBER = r"(-?\d{1,3}(?:\.\d+)?)"
# "52.2, 21.0", "geo:52.2,21.0?z=15" (RFC 5870), ".../@52.2,21.0,17z" and "...?q=52.2,21.0" of map services.
_POINT = re.compile(rf"(?:^|geo:|[@=/]){_NUMBER}\s*[,;]?\s*{_NUMBER}(?!\d)")
_COLUMNS = {
    "slug": ("slug", "id", "code", "shortname"),
    "name": ("name", "title", "store"),
    "kind": ("kind", "type"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng", "long"),
    "radius": ("radius", "radiusm", "metres", "meters"),
    "cooldown_minutes": ("cooldownminutes", "cooldown"),
    "address": ("address",),
    "active": ("active", "open"),
}


def point(text: str) -> tuple[float, float] | None:
    """(latitude, longitude) of coordinates as people copy them: two numbers, a geo: address, a map's link."""
    found = _POINT.search(text.strip())
    if not found:
        return None
    latitude, longitude = float(found[1]), float(found[2])
    return (latitude, longitude) if geography.is_point(latitude, longitude) else None


class PlaceForm(forms.ModelForm):
    """With one field to paste coordinates into."""

    coordinates = forms.CharField(
        label=_("Coordinates"),
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "placeholder": "52.2497, 21.0122"}),
        help_text=_("Paste them from a map, as two numbers or as the map's link. Latitude comes first."),
    )

    class Meta:
        model = Place
        fields = (
            *("name", "slug", "kind", "address", "latitude", "longitude"),
            *("radius", "cooldown_minutes", "active", "attributes"),
        )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name in ("latitude", "longitude"):
            if name in self.fields:
                self.fields[name].required = False
        if self.instance.pk and "coordinates" in self.fields:
            self.fields["coordinates"].initial = f"{self.instance.latitude}, {self.instance.longitude}"

    def clean(self) -> dict[str, Any]:
        """Pasted coordinates count, unless only the two numbers were changed."""
        data = super().clean()
        text = (data.get("coordinates") or "").strip()
        if text and ("coordinates" in self.changed_data or not self.instance.pk):
            found = point(text)
            if found is None:
                self.add_error(
                    "coordinates", _("No coordinates were found in this; write them like 52.2497, 21.0122.")
                )
            else:
                data["latitude"], data["longitude"] = found
        elif None in (data.get("latitude"), data.get("longitude")) and not self.errors:
            self.add_error("coordinates", _("Where is it?"))
        return data


class Refused(msgspec.Struct):
    """A row of a file that was not taken."""

    number: int
    field: str
    detail: str


class FileForm(forms.Form):
    file = forms.FileField(
        label=_("File"),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv,.xlsx,.xlsm"}),
        help_text=_(
            "CSV or Excel, with the columns name, latitude and longitude, and if you like slug, kind, "
            "address, radius, cooldown_minutes and active."
        ),
    )


@admin.register(Place)
class PlaceAdmin(ModelAdmin):
    form = PlaceForm
    list_display = ["title", "kind", "address", "shown_radius", "here", "shown_active"]
    list_filter = ["kind", "active"]
    list_filter_submit = True
    search_fields = ["name", "slug", "address"]
    ordering = ["name", "pk"]
    prepopulated_fields = {"slug": ["name"]}
    list_empty = _(
        "No places yet. Add your stores: who comes near one with the app gives the event entered_place, "
        "which flows can start from."
    )
    fieldsets = [
        (None, {"fields": [("name", "slug"), ("kind", "active"), "address"]}),
        (_("Where"), {"fields": ["coordinates", ("latitude", "longitude"), "on_map"]}),
        (_("Who is there"), {"fields": [("radius", "cooldown_minutes")]}),
        (_("Attributes"), {"fields": ["attributes"], "classes": ["collapse"]}),
    ]
    readonly_fields = ["on_map"]
    change_list_template = "admin/crm/export/change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Place]:
        """With how many people are there."""
        there = PersonPlace.objects.filter(place=OuterRef("pk"), inside=True).order_by().values("place")
        number = Subquery(there.annotate(number=Count("*")).values("number"))
        return super().get_queryset(request).annotate(inside=Coalesce(number, 0))

    @display(description=_("place"), ordering="name", header=True)
    def title(self, place: Place) -> list[Any]:
        """Its name, and its short name below."""
        return [format_html("<bdi>{}</bdi>", place.name), place.slug, place.name[:1].upper()]

    @display(description=_("radius"), ordering="radius")
    def shown_radius(self, place: Place) -> str:
        """In metres or kilometres."""
        if place.radius < 1000:
            return gettext("%s m") % f"{place.radius:.0f}"
        return gettext("%s km") % f"{place.radius / 1000:.1f}"

    @display(description=_("people there"), ordering="inside")
    def here(self, place: Place) -> int:
        """How many were last seen within it."""
        return place.inside

    @display(description=_("active"), ordering="active", boolean=True)
    def shown_active(self, place: Place) -> bool:
        """Whether people can enter it."""
        return place.active

    @display(description=_("on the map"))
    def on_map(self, place: Place) -> str:
        """A link by which to check it, and what the position says."""
        if not place.pk:
            return "—"
        at = f"{place.latitude:.6f},{place.longitude:.6f}"
        spot = at.split(",")
        link = "https://www.openstreetmap.org/?mlat={0}&mlon={1}#map=17/{0}/{1}".format(*spot)
        zone = geography.zone_at(place.latitude, place.longitude) or gettext("at sea")
        return format_html(
            '<a class="text-link" href="{}" target="_blank" rel="noopener noreferrer"><bdi>{}</bdi></a> · {}',
            link,
            at,
            zone,
        )

    def save_model(self, request: HttpRequest, obj: Place, form: PlaceForm, change: bool) -> None:
        """Remember who changed it."""
        obj.latitude, obj.longitude = form.cleaned_data["latitude"], form.cleaned_data["longitude"]
        obj.source = "admin"
        super().save_model(request, obj, form, change)

    def get_urls(self) -> list[Any]:
        """With the page that takes a file."""
        page = self.admin_site.admin_view(self.import_view)
        return [path("import/", page, name="crm_place_import"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the link to it, for who may add places."""
        url = reverse("admin:crm_place_import") if self.has_add_permission(request) else ""
        return super().changelist_view(request, {**(extra_context or {}), "import_url": url})

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Take places of a file, row by row; a place with the same short name is changed."""
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        form = FileForm(request.POST or None, request.FILES or None)
        counts: dict[str, int] = {}
        refused: list[Refused] = []
        if request.method == "POST" and form.is_valid():
            try:
                counts, refused = take_file(form.cleaned_data["file"])
            except tables.TableError as error:
                form.add_error("file", str(error))
            else:
                audit.record(request, "places.imported", None, **counts, rejected=len(refused))
                if not refused:
                    messages.success(request, told(counts))
                    return redirect("admin:crm_place_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Import places"),
            "opts": self.opts,
            "form": form,
            "told": told(counts) if counts else "",
            "refused": refused[:SHOWN],
            "hidden": max(0, len(refused) - SHOWN),
        }
        return TemplateResponse(request, "admin/crm/place/import.html", context)


def told(counts: dict[str, int]) -> str:
    """What became of a file, in words."""
    return gettext("%(created)d new, %(updated)d changed, %(unchanged)d as before.") % counts


def take_file(file: Any) -> tuple[dict[str, int], list[Refused]]:
    """Store the places of a file; returns what became of them, and the rows that could not be taken.

    Raises:
        TableError: it is no table, has more than ROWS rows, or lacks a column.
    """
    columns, rows = tables.read(file, file.name)
    targets = _targets(columns)
    missing = {"name", "latitude", "longitude"} - set(targets.values())
    if missing and "slug" not in targets.values():
        raise tables.TableError(gettext("These columns are missing: %s.") % ", ".join(sorted(missing)))
    numbers: list[int] = []
    patches: list[places.Patch] = []
    refused: list[Refused] = []
    for row in rows:
        if len(numbers) >= ROWS:
            raise tables.TableError(gettext("The file has more than %d rows; split it.") % ROWS)
        try:
            if row.problem:
                raise Rejection("unreadable", "", row.problem)
            patches.append(places.patch(_values(row.values, targets)))
            numbers.append(row.number)
        except Rejection as rejection:
            refused.append(Refused(row.number, rejection.field, rejection.detail))
    counts = {"created": 0, "updated": 0, "unchanged": 0}
    for number, outcome in zip(numbers, places.upsert(patches, "file"), strict=True):
        if outcome.rejection:
            refused.append(Refused(number, outcome.rejection.field, outcome.rejection.detail))
        else:
            counts[outcome.state] += 1
    return counts, sorted(refused, key=lambda row: row.number)


def _targets(columns: list[str]) -> dict[str, str]:
    """Column -> field."""
    found: dict[str, str] = {}
    for column in columns:
        folded = re.sub(r"[^a-z0-9]", "", column.lower())
        field = next((name for name, spellings in _COLUMNS.items() if folded in spellings), None)
        if field and field not in found.values():
            found[column] = field
    return found


def _values(values: dict[str, Any], targets: dict[str, str]) -> dict[str, Any]:
    given = {field: values[column] for column, field in targets.items() if values.get(column) is not None}
    if isinstance(active := given.get("active"), str | int):
        given["active"] = str(active).strip().lower() in ("true", "yes", "1", "y")
    for name in ("slug", "name", "kind", "address"):
        if name in given:
            given[name] = str(given[name])
    return given
