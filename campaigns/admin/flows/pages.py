"""What every page and fragment of the builder shares: who may see it, and how it is answered."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import quote

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string, select_template
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from campaigns.admin.flows import tree
from campaigns.flows.editing import StaleDraftError
from campaigns.flows.publish import StateError, has_unpublished_changes
from campaigns.models import Flow
from crm.models import Profile
from delivery.admin import people

TEMPLATES = "admin/campaigns/flow"
View = Callable[..., HttpResponse]


def url(name: str, flow: Flow, **parts: str) -> str:
    """The address of a part of the builder of `flow`."""
    return reverse(f"admin:campaigns_flow_{name}", kwargs={"pk": flow.pk, **parts})


def optional_url(name: str, *args: object) -> str:
    """An admin address, or "" when no such page is installed."""
    try:
        return reverse(f"admin:{name}", args=args)
    except NoReverseMatch:
        return ""


class Rights:
    """What somebody may do with flows."""

    def __init__(self, request: HttpRequest):
        self.view = request.user.has_perm("campaigns.view_flow")
        self.change = request.user.has_perm("campaigns.change_flow")
        self.publish = request.user.has_perm("campaigns.publish_flow")
        self.view = self.view or self.change


def guarded(model_admin, view: View, need: str) -> View:
    """Let `view(request, flow, model_admin, …)` be asked by those who have the right called `need` only.

    A fragment asked for after the session ended sends the whole page to the login, not the login into the page.
    """
    site = model_admin.admin_site

    def checked(request: HttpRequest, pk: int, **parts: str) -> HttpResponse:
        request.current_app = site.name
        flow = get_object_or_404(Flow.objects.select_related("live_version"), pk=pk)
        require(request, need)
        try:
            return view(request, flow, model_admin, **parts)
        except StaleDraftError:
            return stale(request, flow)

    protected = site.admin_view(checked)

    @wraps(view)
    def outer(request: HttpRequest, pk: int, **parts: str) -> HttpResponse:
        if request.headers.get("HX-Request") and not site.has_permission(request):
            login = reverse("admin:login", current_app=site.name)
            back = reverse("admin:campaigns_flow_builder", args=[pk])
            return HttpResponse(status=401, headers={"HX-Redirect": f"{login}?next={quote(back)}"})
        return protected(request, pk=pk, **parts)

    return outer


def require(request: HttpRequest, need: str) -> None:
    """Raise PermissionDenied unless the person has the right called `need`."""
    if not getattr(Rights(request), need):
        raise PermissionDenied


def context(request: HttpRequest, flow: Flow, **more: Any) -> dict[str, Any]:
    """What the fragments' templates know."""
    return {"flow": flow, "rights": Rights(request), **more}


def toolbar(request: HttpRequest, flow: Flow, drawn: tree.Tree) -> dict[str, Any]:
    """What the tree's and the toolbar's templates know on top."""
    undoable = set(flow.revisions.values_list("undone", flat=True))
    return context(
        request,
        flow,
        tree=drawn,
        changed=has_unpublished_changes(flow),
        can_undo=False in undoable,
        can_redo=True in undoable,
        report_url=optional_url("reports_flow", flow.pk),
        finish_url=optional_url("campaigns_flow_finish", flow.pk),
        duplicate_url=optional_url("campaigns_flow_duplicate", flow.pk),
        links=[
            (words, icon, address)
            for words, icon, name in links()
            if (address := optional_url(name, flow.pk))
        ],
    )


def links() -> list[tuple[str, str, str]]:
    """Pages about a flow, for the toolbar's menu: what they are called, an icon and the name of their address."""
    return [
        (_("Report"), "monitoring", "reports_flow"),
        (_("Try it on the past"), "history", "campaigns_flow_backtest"),
        (_("Try it with one person"), "person_play", "campaigns_flow_walkthrough"),
        (_("People inside"), "groups", "campaigns_flow_inside"),
        (_("Why somebody is in or not"), "help", "campaigns_flow_why"),
        (_("Enrol people by hand"), "person_add", "campaigns_flow_enroll"),
        (_("Versions"), "inventory_2", "campaigns_flow_versions"),
    ]


def named_person(who: str) -> Profile | None:
    """Somebody by our number after a #, as these pages link to people, or by a name of theirs."""
    number = who.strip().removeprefix("#")
    if number != who.strip() and number.isascii() and number.isdigit() and len(number) < 19:
        return Profile.objects.filter(pk=int(number)).first()
    return people.find(who)


def tabs(flow: Flow, here: str) -> list[tuple[str, str, str, bool]]:
    """The row of pages about a flow: what each is called, its icon and address, and whether it is `here`."""
    return [
        (words, icon, address, name == here)
        for words, icon, name in links()
        if (address := optional_url(name, flow.pk))
    ]


def step_template(kind: str) -> Any:
    """What a kind of step shows below its form."""
    return select_template([f"{TEMPLATES}/steps/{kind}.html", f"{TEMPLATES}/steps/none.html"])


def fragment(request: HttpRequest, name: str, values: dict[str, Any], status: int = 200) -> HttpResponse:
    """One of the builder's templates."""
    return HttpResponse(render_to_string(f"{TEMPLATES}/{name}.html", values, request), status=status)


def drawn(
    request: HttpRequest, flow: Flow, toast: str = "", focus: str = "", keep_panel: bool = False
) -> HttpResponse:
    """The tree anew, with the toolbar, in place of the old ones.

    Args:
        toast: what was done, told to everybody including screen readers.
        focus: id of the element that gets the keyboard.
    """
    detail = {"toast": toast, "focus": focus, "keep": keep_panel}
    return _redrawn(request, flow, "flow-done", detail)


def saved(request: HttpRequest, flow: Flow, news: str = "") -> HttpResponse:
    """The tree anew after a form saved itself, which stays open as it is, but for parts in `news`."""
    return _redrawn(request, flow, "flow-saved", {"revision": flow.revision}, news)


def _redrawn(
    request: HttpRequest, flow: Flow, event: str, detail: dict[str, Any], news: str = ""
) -> HttpResponse:
    flow = Flow.objects.select_related("live_version").get(pk=flow.pk)
    values = toolbar(request, flow, tree.build(flow))
    html = render_to_string(f"{TEMPLATES}/tree.html", values, request)
    html += render_to_string(f"{TEMPLATES}/toolbar.html", {**values, "oob": True}, request)
    response = HttpResponse(html + news)
    response["HX-Retarget"], response["HX-Reswap"] = "#flow-tree", "outerHTML"
    response["HX-Trigger-After-Settle"] = json.dumps({event: detail})
    return response


def unsaved(mistakes: list[str]) -> HttpResponse:
    """Say why a form could not save itself; nothing on the page changes."""
    response = HttpResponse(status=200)
    response["HX-Reswap"] = "none"
    response["HX-Trigger"] = json.dumps({"flow-unsaved": {"mistakes": mistakes}})
    return response


def said(message: str, **detail: Any) -> HttpResponse:
    """A sentence for the person about what was done; nothing on the page changes."""
    response = HttpResponse(status=200)
    response["HX-Reswap"] = "none"
    response["HX-Trigger"] = json.dumps({"flow-toast": {"text": message, **detail}})
    return response


def stale(request: HttpRequest, flow: Flow) -> HttpResponse:
    """Say that the draft is another one by now, and by whom; nothing was changed."""
    last = flow.revisions.select_related("made_by").order_by("-number").first()
    response = fragment(request, "stale", context(request, flow, last=last), status=409)
    response["HX-Retarget"], response["HX-Reswap"] = "#flow-notice", "innerHTML"
    return response


def revision(request: HttpRequest) -> int:
    """The revision of the draft that the page shows. Raises StaleDraftError if it names none."""
    try:
        return int(request.POST.get("revision", ""))
    except ValueError:
        raise StaleDraftError from None


def refuse(message: str) -> HttpResponse:
    """Why something was not done, as a toast; nothing on the page changes."""
    return said(message, bad=True)


def state_words(error: StateError) -> str:
    """Why a flow could not change its state."""
    return str(error) or _("The flow's state changed meanwhile. Reload the page.")
