"""Flows as files: fetching them as YAML, and taking such a file after a look at what it would change."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from campaigns.admin.flows import pages
from campaigns.as_code import exporting, importing, stored
from campaigns.as_code.documents import read
from campaigns.as_code.problems import BundleError
from campaigns.as_code.text import MOST_BYTES
from campaigns.models import Flow
from crm import audit, masking

MOST_PROBLEMS = 100
VERBS = {"created": "add", "changed": "change"}


class BundleForm(forms.Form):
    """A file, or its text."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".yaml,.yml"}),
    )
    text = forms.CharField(
        label=gettext_lazy("Or its text"),
        required=False,
        strip=False,
        max_length=MOST_BYTES,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 16, "dir": "ltr", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        """One text, wherever it is from."""
        data = super().clean() or {}
        file = data.get("file")
        if file is not None:
            if file.size > MOST_BYTES:
                self.add_error("file", _("The file is larger than %d MB.") % (MOST_BYTES // 2**20))
                return data
            try:
                data["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError:
                self.add_error("file", _("This is no text in UTF-8."))
        elif not (data.get("text") or "").strip() and not self.errors:
            self.add_error("text", _("Fill this in."))
        # Browsers send line breaks as two characters; in a block of text both would count.
        data["text"] = (data.get("text") or "").replace("\r\n", "\n")
        return data


def urls(model_admin: Any) -> list[URLPattern]:
    """The addresses of both pages."""
    protected = model_admin.admin_site.admin_view
    return [
        path("export/", protected(export), name="campaigns_flow_export"),
        path("import/", protected(take(model_admin)), name="campaigns_flow_import"),
    ]


@admin.action(description=gettext_lazy("Export as a file"), permissions=["view"])
def export_chosen(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse:
    """The flows that were ticked in the list, as a file."""
    chosen = queryset.order_by("slug").values_list("slug", flat=True)
    address = reverse("admin:campaigns_flow_export")
    return HttpResponseRedirect(f"{address}?{urlencode([('flow', slug) for slug in chosen])}")


def export(request: HttpRequest) -> HttpResponse:
    """The flows named by `flow` (all without it) and what they need, as a file.

    Who may not see messages, segments and the like gets the flows without them.
    """
    pages.require(request, "view")
    slugs = request.GET.getlist("flow")
    wanted = {slug for slug in slugs if "\0" not in slug} or set(Flow.objects.values_list("slug", flat=True))
    try:
        sections = exporting.collect({"flows": wanted})
    except LookupError as error:
        return HttpResponse(_("There is no flow “%s”.") % error, status=404, content_type="text/plain")
    visible = {name: parts for name, parts in sections.items() if _may(request, name, "view")}
    if not masking.sees_contacts(request.user) and masking.asks(list(visible.values())):
        raise PermissionDenied(_("It compares with contact data, which you may not see."))
    audit.record(request, "flow.exported", None, flows=sorted(wanted)[:100])
    name = f"{slugs[0]}.yaml" if len(wanted) == 1 and slugs else "flows.yaml"
    return HttpResponse(
        exporting.dump(visible),
        content_type="application/yaml; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def take(model_admin: Any) -> Any:
    """The page that takes a file: first it tells what would change, then it makes it so."""

    def view(request: HttpRequest) -> HttpResponse:
        if not (_may(request, "flows", "add") and _may(request, "flows", "change")):
            raise PermissionDenied
        form = BundleForm(request.POST or None, request.FILES or None)
        values: dict[str, Any] = {}
        if request.method == "POST" and form.is_valid():
            text = form.cleaned_data["text"]
            try:
                values = _look(request, text)
                if "sure" in request.POST and values["possible"]:
                    return _taken(request, text)
            except BundleError as error:
                values = {"problems": error.problems[:MOST_PROBLEMS]}
            values["source"] = text
        context = {
            **model_admin.admin_site.each_context(request),
            "opts": model_admin.model._meta,
            "title": _("Import flows"),
            "form": form,
            **values,
        }
        return TemplateResponse(request, f"{pages.TEMPLATES}/pages/import.html", context)

    return view


def _look(request: HttpRequest, text: str) -> dict[str, Any]:
    """What a text would change and what is wrong with it."""
    bundle = read(text)
    found = importing.check(bundle)
    changes = importing.plan(bundle)
    forbidden = [
        change
        for change in changes
        if change.state in VERBS and not _may(request, change.section, VERBS[change.state])
    ]
    for change in changes:
        # What stood there before may be more than this person may see.
        if change.state == "changed" and not _shown(request, change):
            change.diff = []
    return {
        "problems": [each for each in found if each.blocking][:MOST_PROBLEMS],
        "unfinished": [each for each in found if not each.blocking][:MOST_PROBLEMS],
        "changes": changes,
        "forbidden": forbidden,
        "possible": not forbidden
        and not any(each.blocking for each in found)
        and any(change.state in VERBS for change in changes),
    }


def _taken(request: HttpRequest, text: str) -> HttpResponse:
    applied = importing.apply(read(text), request)
    number = sum(change.state in VERBS for change in applied.changes)
    told = ngettext("%d thing was made or changed.", "%d things were made or changed.", number) % number
    messages.success(request, told)
    return HttpResponseRedirect(reverse("admin:campaigns_flow_changelist"))


def _may(request: HttpRequest, section: str, verb: str) -> bool:
    options = stored.MODELS[section]._meta
    held = request.user.has_perm(f"{options.app_label}.{verb}_{options.model_name}")
    change = verb == "view" and request.user.has_perm(f"{options.app_label}.change_{options.model_name}")
    return held or change


def _shown(request: HttpRequest, change: importing.Change) -> bool:
    if not _may(request, change.section, "view"):
        return False
    before = stored.section(change.section, [change.slug])
    return masking.sees_contacts(request.user) or not masking.asks(list(before.values()))
