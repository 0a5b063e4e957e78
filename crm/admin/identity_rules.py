"""How names lead to people, on a page in plain words."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin

from crm import identity_rules
from crm.models import IdentityRules
from crm.models.identity import CRM_ID, EMAIL, EXTERNAL_ID, PHONE, default_order

Match, Visitors = IdentityRules.Match, IdentityRules.Visitors
KINDS: dict[str, tuple[Any, Any, str]] = {
    CRM_ID: (
        _("Record of a CRM"),
        _(
            "The number that a CRM gives a contact. It always finds the person whose record it is; only names above it "
            "can move a record to somebody else."
        ),
        "sync_alt",
    ),
    EXTERNAL_ID: (
        _("Customer number"),
        _("Your own number of a customer, in your shop or in your CRM. It belongs to one person for good."),
        "badge",
    ),
    EMAIL: (
        _("Email"),
        _("Mostly one person's, but families share addresses and companies give them to the next employee."),
        "mail",
    ),
    PHONE: (
        _("Phone"),
        _("Often shared at home or at work, and given to somebody else after some months."),
        "call",
    ),
}
MATCHES: dict[str, tuple[Any, Any]] = {
    Match.ANY: (_("Always"), _("Whoever gives it is taken to be that person.")),
    Match.PROVEN: (
        _("Only when proven"),
        _("Your server, a CRM or a signed proof has to say so; what only a browser says finds nobody."),
    ),
    Match.ALONE: (
        _("Only on its own"),
        _("It finds a person where no other name is given, and never joins what other names tell apart."),
    ),
    Match.NEVER: (_("Never"), _("It is kept, but finds nobody; several people may have the same.")),
}
VISITORS: dict[str, tuple[Any, Any]] = {
    Visitors.CLAIM: (
        _("When they give a name"),
        _(
            "What a visitor did before they logged in or left their email is added to that person. The usual way."
        ),
    ),
    Visitors.PROOF: (
        _("Only with a proof"),
        _("Your server, a signed proof or a click from a message has to say who the visitor is. Safest."),
    ),
}


class RulesForm(forms.Form):
    """A place in the order for each kind, and when each finds a person."""

    def __init__(self, *args: Any, rules: identity_rules.Rules, **kwargs: Any):
        super().__init__(*args, **kwargs)
        places = [(number, str(number)) for number in range(1, len(KINDS) + 1)]
        for kind, (label, _words, _icon) in KINDS.items():
            self.fields[f"place_{kind}"] = forms.TypedChoiceField(
                label=label, choices=places, coerce=int, initial=rules.rank(kind) + 1
            )
            if kind != CRM_ID:
                self.fields[kind] = forms.ChoiceField(
                    label=label,
                    choices=[(value, words[0]) for value, words in MATCHES.items()],
                    initial=rules.matches[kind],
                )
        self.fields["visitors"] = forms.ChoiceField(
            choices=[(value, words[0]) for value, words in VISITORS.items()],
            initial=Visitors.PROOF if rules.visitors_need_proof else Visitors.CLAIM,
        )

    def clean(self) -> dict[str, Any]:
        """One kind a place: which of two is surer must be told."""
        data = super().clean() or {}
        places = [data.get(f"place_{kind}") for kind in KINDS]
        if None not in places and len(set(places)) < len(places):
            raise forms.ValidationError(_("Two kinds of names have the same place; give each one its own."))
        return data

    def values(self) -> dict[str, Any]:
        """As `identity_rules.change` takes them."""
        data = self.cleaned_data
        order = sorted(default_order(), key=lambda kind: data[f"place_{kind}"])
        return {"order": order, **{name: data[name] for name in (EXTERNAL_ID, EMAIL, PHONE, "visitors")}}


@admin.register(IdentityRules)
class IdentityRulesAdmin(ModelAdmin):
    """One page; there is nothing to add or to delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: the rules are always there."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The rules, and the form that changes them."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        may_change = self.has_change_permission(request)
        rules = identity_rules.renew()
        if request.method == "POST":
            if not may_change:
                raise PermissionDenied
            form = RulesForm(request.POST, rules=rules)
            if form.is_valid():
                row = identity_rules.change(**form.values())
                self.log_change(request, row, [{"changed": {"fields": list(form.changed_data)}}])
                messages.success(
                    request, _("The rules are saved and hold from now on. Who is one person by now stays so.")
                )
                return HttpResponseRedirect(reverse("admin:crm_identityrules_changelist"))
        else:
            form = RulesForm(rules=rules)
        rows = [
            (kind, *KINDS[kind], form[f"place_{kind}"], form[kind] if kind in form.fields else None)
            for kind in rules.order
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Identity rules"),
            "opts": self.opts,
            "form": form,
            "rows": rows,
            "matches": MATCHES.values(),
            "visitors": [(value, *words) for value, words in VISITORS.items()],
            "chosen": form["visitors"].value(),
            "may_change": may_change,
        }
        return TemplateResponse(request, "admin/crm/identity/rules.html", context)

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """The same page."""
        return HttpResponseRedirect(reverse("admin:crm_identityrules_changelist"))
