"""Pictures in emails, and what the block editor asks for."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget

from delivery.content import ContentError, brand
from delivery.email import images, layouts
from delivery.email.compiling import converted
from delivery.models import EmailImage

SHOWN = 60


class ImageForm(forms.ModelForm):
    """A new picture; its file can't be exchanged later, as mail programs keep what they have fetched."""

    upload = forms.FileField(label=gettext_lazy("File"), widget=UnfoldAdminFileFieldWidget)

    class Meta:
        model = EmailImage
        fields = ["name", "alt"]
        widgets = {"name": UnfoldAdminTextInputWidget, "alt": UnfoldAdminTextInputWidget}

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields.pop("upload", None)
        elif "name" in self.fields:
            self.fields["name"].required = False

    def clean(self) -> dict[str, Any]:
        """Decode it, and keep it for `save`."""
        cleaned = super().clean() or self.cleaned_data
        upload = cleaned.get("upload")
        if upload is not None and not self.errors:
            try:
                stored = images.store(
                    upload.read(images.MAX_UPLOAD + 1), cleaned.get("name") or upload.name, cleaned["alt"]
                )
            except images.BadImage as problem:
                self.add_error("upload", str(problem))
            else:
                self.instance = stored
                cleaned["name"] = stored.name
        return cleaned


@admin.register(EmailImage)
class EmailImageAdmin(ModelAdmin):
    form = ImageForm
    list_display = ["picture", "name", "alt", "measures", "created_at"]
    list_display_links = ["picture", "name"]
    search_fields = ["name", "alt"]
    readonly_fields = ["address"]
    show_full_result_count = False
    list_per_page = 50

    def get_fields(self, request: HttpRequest, obj: EmailImage | None = None) -> list[str]:
        """The file at first, its address later."""
        return ["name", "alt", "address"] if obj else ["upload", "alt", "name"]

    @display(description=gettext_lazy("picture"))
    def picture(self, image: EmailImage) -> str:
        """A small version."""
        return format_html(
            '<img src="{}" alt="{}" class="email-thumbnail" loading="lazy" height="48">', image.url, image.alt
        )

    @display(description=gettext_lazy("size"))
    def measures(self, image: EmailImage) -> str:
        """Pixels and bytes."""
        return f"{image.width} × {image.height}, {image.size // 1000} kB"

    @display(description=gettext_lazy("address"))
    def address(self, image: EmailImage) -> str:
        """Its public address."""
        return image.url

    def delete_model(self, request: HttpRequest, obj: EmailImage) -> None:
        """With its file."""
        images.remove(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet) -> None:
        """With their files."""
        for image in queryset:
            images.remove(image)

    def get_urls(self) -> list[URLPattern]:
        """What the editor's script asks for."""
        pick = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.pick))
        convert = self.admin_site.admin_view(require_POST(self.mjml))
        return [
            path("pick/", pick, name="delivery_emailimage_pick"),
            path("mjml/", convert, name="delivery_emailimage_mjml"),
            *super().get_urls(),
        ]

    def pick(self, request: HttpRequest) -> HttpResponse:
        """The latest pictures as JSON; a POST takes another one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            if not self.has_add_permission(request):
                raise PermissionDenied
            upload = request.FILES.get("file")
            if upload is None:
                return JsonResponse({"error": _("Choose a PNG, JPEG or GIF.")}, status=400)
            try:
                image = images.store(
                    upload.read(images.MAX_UPLOAD + 1), upload.name or "", request.POST.get("alt", "")
                )
            except images.BadImage as problem:
                return JsonResponse({"error": str(problem)}, status=400)
            self.log_addition(request, image, [{"added": {}}])
            return JsonResponse(_told(image), status=201)
        return JsonResponse({"images": [_told(image) for image in EmailImage.objects.all()[:SHOWN]]})

    def mjml(self, request: HttpRequest) -> HttpResponse:
        """The blocks as MJML, to go on by hand."""
        if not request.user.has_perm("delivery.change_message") and not request.user.has_perm(
            "delivery.add_message"
        ):
            raise PermissionDenied
        try:
            blocks = json.loads(request.POST.get("blocks", ""))
            email = converted(
                {"subject": "-", "blocks": blocks, "preheader": request.POST.get("preheader", "")}
            )
            return JsonResponse({"mjml": layouts.as_mjml(email, brand.current())})
        except (ValueError, ContentError) as problem:
            return JsonResponse({"error": str(problem)}, status=400)


def _told(image: EmailImage) -> dict[str, Any]:
    return {
        "url": image.url,
        "alt": image.alt,
        "name": image.name,
        "width": image.width,
        "height": image.height,
    }
