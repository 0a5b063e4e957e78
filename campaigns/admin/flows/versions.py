"""What was live before: who published it when, who is still inside, what it changed, and taking it up again."""

from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _

from campaigns.admin.flows import around, pages
from campaigns.flows import comparing, editing
from campaigns.flows.comparing import Changes
from campaigns.flows.definition import DefinitionError
from campaigns.models import Flow, FlowVersion

TAB = "campaigns_flow_versions"
MOST = 50  # shown


def versions(request: HttpRequest, flow: Flow, model_admin: Any) -> HttpResponse:
    """The latest versions, the newest first, each with what it changed."""
    active = Count("enrollments", filter=Q(enrollments__state="active"))
    found = list(
        flow.versions.select_related("published_by").annotate(inside=active).order_by("-number")[: MOST + 1]
    )
    earlier = {version.number: version for version in found}
    rows = []
    for version in found[:MOST]:
        before = earlier.get(version.number - 1)
        changed = _compared(before, version) if before else None
        rows.append((version, changed, version.pk == flow.live_version_id))
    draft = None
    if flow.live_version and flow.live_version.definition != flow.draft:
        draft = comparing.compare(comparing.read(flow.live_version.definition), comparing.read(flow.draft))
    return around.page(request, flow, model_admin, "versions", TAB, versions=rows, draft_changes=draft)


def restore(request: HttpRequest, flow: Flow, model_admin: Any, number: int) -> HttpResponse:
    """Say what taking up an old version would change in the draft; on POST, make it the draft."""
    version = get_object_or_404(FlowVersion, flow=flow, number=number)
    if request.method == "POST":
        try:
            editing.save(flow.pk, pages.revision(request), lambda draft: version.definition, request.user)
        except DefinitionError as error:
            messages.error(request, str(error))
        else:
            model_admin.log_change(request, flow, _("Took up version %d as the draft.") % number)
            messages.success(
                request, _("The draft is version %d again. Nothing is live until you publish.") % number
            )
            return redirect("admin:campaigns_flow_builder", flow.pk)
    changes = comparing.compare(comparing.read(flow.draft), comparing.read(version.definition))
    return around.page(request, flow, model_admin, "restore", TAB, version=version, changes=changes)


def _compared(before: FlowVersion, after: FlowVersion) -> Changes:
    return comparing.compare(comparing.read(before.definition), comparing.read(after.definition))
