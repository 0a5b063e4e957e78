"""Keys of the REST API: made here, shown once, revoked."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from crm import api_keys, masking
from crm.admin.base import ReadOnly, leave_dialog
from crm.models import ApiKey

SNIPPETS = (
    (
        "Python",
        """import hashlib, hmac, os

def proof(kind, value):
    secret = os.environ["NUDGE_IDENTITY_SECRET"].encode()
    return hmac.new(secret, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()

proof("external_id", "C-1001")""",
    ),
    (
        "Node",
        """const {createHmac} = require('node:crypto');

const proof = (kind, value) =>
  createHmac('sha256', process.env.NUDGE_IDENTITY_SECRET).update(`${kind}:${value}`).digest('hex');

proof('external_id', 'C-1001');""",
    ),
    (
        "PHP",
        """function proof(string $kind, string $value): string {
    return hash_hmac('sha256', "$kind:$value", getenv('NUDGE_IDENTITY_SECRET'));
}

proof('external_id', 'C-1001');""",
    ),
)


class NewKeyForm(forms.Form):
    """A key to make; `create` makes it."""

    name = forms.CharField(
        label=_("Name"),
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("What it is for, such as the shop's server."),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Permissions"), choices=ApiKey.Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )
    allowed_origins = forms.CharField(
        label=_("Websites"),
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_(
            "For a public key: the sites that may use it, one per line, such as https://shop.example.com."
        ),
    )
    created: tuple[ApiKey, str] | None = None

    def __init__(self, data: Any = None):
        super().__init__(data)
        if masking.hidden():  # a key must not read what its maker may not see
            whole = ApiKey.Scope.READ
            self.fields["scopes"].choices = [each for each in ApiKey.Scope.choices if each[0] != whole]

    def clean(self) -> dict[str, Any]:
        """Make the key, since only that tells whether all of it fits together."""
        data = super().clean()
        public = ApiKey.Scope.BROWSER in data.get("scopes", ())
        if public and not data.get("allowed_origins", "").split():
            self.add_error("allowed_origins", _("Name the sites that use this key; it works on no other."))
        if not self.errors:
            try:
                with transaction.atomic():
                    self.created = api_keys.create(
                        data["name"], data["scopes"], data["allowed_origins"].split()
                    )
            except ValueError as error:
                self.add_error(None, str(error))
            except IntegrityError:
                self.add_error("name", _("There is a key of this name already."))
        return data


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly, ModelAdmin):
    list_display = ["name", "begins", "may", "state", "created_at", "last_used_at"]
    list_empty = _(
        "A website needs a public key for the SDK; your servers need one to send events and "
        "profiles and to read reports."
    )
    ordering = ["revoked_at", "name"]
    sortable_by = ["name", "created_at", "last_used_at"]
    actions = None
    actions_row = ["revoke"]
    actions_detail = ["open_proofs", "revoke"]
    fields = [
        *("name", "begins", "may", "allowed_origins", "requires_proof"),
        *("created_at", "last_used_at", "revoked_at"),
    ]
    readonly_fields = fields

    def has_revoke_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whoever may change keys."""
        return request.user.has_perm("crm.change_apikey")

    def has_open_proofs_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whoever may change keys, for those that websites use."""
        key = self.get_object(request, object_id) if object_id else None
        return bool(key and ApiKey.Scope.BROWSER in key.scopes and not key.revoked_at) and (
            self.has_revoke_permission(request)
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission."""
        return request.user.has_perm("crm.add_apikey")

    @display(description=_("begins with"))
    def begins(self, key: ApiKey) -> str:
        """Enough to recognise it by."""
        return f"{key.prefix}…"

    @display(description=_("permissions"))
    def may(self, key: ApiKey) -> str:
        """Its scopes."""
        return ", ".join(key.scopes)

    @display(description=_("state"), label={"active": "success", "revoked": "danger"})
    def state(self, key: ApiKey) -> tuple[str, Any]:
        """A chip."""
        return ("revoked", _("revoked")) if key.revoked_at else ("active", _("in force"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a key and show it in the answer itself: its text is kept nowhere, the session included."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewKeyForm(request.POST or None)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Add API key"),
            "opts": self.opts,
            "form": form,
            "back": reverse("admin:crm_apikey_changelist"),
        }
        if request.method == "POST" and form.is_valid():
            key, text = form.created
            self.log_addition(request, key, [{"added": {}}])
            context |= {
                "key": key,
                "text": text,
                "for_websites": ApiKey.Scope.BROWSER in key.scopes,
                "public_url": settings.NUDGE_PUBLIC_URL,
                "title": _("Copy the key now"),
            }
        response = TemplateResponse(request, "admin/crm/apikey/add.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def get_urls(self) -> list[URLPattern]:
        """The page for proofs, before the pattern that takes every path for a number."""
        view = self.admin_site.admin_view(self.proofs)
        return [path("<int:object_id>/proofs/", view, name="crm_apikey_proofs"), *super().get_urls()]

    @action(
        description=_("Proof of identity"),
        icon="verified_user",
        url_path="open-proofs",
        permissions=["open_proofs"],
    )
    def open_proofs(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Go to its page."""
        return redirect("admin:crm_apikey_proofs", object_id)

    def proofs(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Make the identity secret, shown in the answer alone, and say whether names need a proof."""
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404
        if not self.has_open_proofs_permission(request, object_id):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("Proof of identity"),
            "opts": self.opts,
            "key": key,
            "snippets": SNIPPETS,
            "back": reverse("admin:crm_apikey_change", args=[key.pk]),
        }
        if "renew" in request.POST and key.identity_secret.get("secret") and "sure" not in request.POST:
            messages.error(request, _("Say first that the proofs made so far may end; nothing was changed."))
            return redirect("admin:crm_apikey_proofs", key.pk)
        if request.method == "POST" and "renew" in request.POST:
            context["secret"] = api_keys.renew_identity_secret(key)
            self.log_change(request, key, [{"changed": {"fields": ["identity_secret"]}}])
        elif request.method == "POST":
            try:
                api_keys.require_proof(key, "required" in request.POST)
            except ValueError as error:
                messages.error(request, str(error))
            else:
                self.log_change(request, key, [{"changed": {"fields": ["requires_proof"]}}])
                messages.success(request, _("Saved."))
            return redirect("admin:crm_apikey_proofs", key.pk)
        response = TemplateResponse(request, "admin/crm/apikey/proofs.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @action(
        description=_("Revoke"),
        icon="block",
        variant=ActionVariant.DANGER,
        url_path="revoke",
        permissions=["revoke"],
        dialog={
            "title": _("Revoke this key?"),
            "description": _("Whatever uses it stops working at once. This can't be undone."),
            "form_class": BaseDialogForm,
            "form_submit_text": _("Revoke"),
        },
    )
    def revoke(self, request: HttpRequest, form: BaseDialogForm, object_id: int) -> HttpResponse:
        """Put the key out of force."""
        key = self.get_object(request, object_id)
        if key and api_keys.revoke(key.name):
            self.log_change(request, key, [{"changed": {"fields": ["revoked_at"]}}])
            messages.success(request, _("Revoked %s.") % key.name)
        return leave_dialog(request, reverse("admin:crm_apikey_changelist"))
