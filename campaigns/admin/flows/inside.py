"""What a panel shows on demand: who is at a step now."""

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from campaigns.admin.flows import pages
from campaigns.flows import editing, steps
from campaigns.models import Enrollment, Flow

PER_PAGE = 25


def people(request: HttpRequest, flow: Flow, model_admin, key: str) -> HttpResponse:
    """The people at the step `key`, those who move next first."""
    runs = (
        flow.enrollments.filter(state=Enrollment.State.ACTIVE, step=key)
        .select_related("profile", "version")
        .order_by("due_at", "pk")
    )
    page = Paginator(runs, PER_PAGE).get_page(request.GET.get("page"))
    may_see = request.user.has_perm("crm.view_profile")
    rows = [
        (run, pages.optional_url("crm_profile_change", run.profile_id) if may_see else "")
        for run in page.object_list
    ]
    values = pages.context(
        request, flow, key=key, label=_label(flow, key), page=page, rows=rows, now=timezone.now()
    )
    return pages.fragment(request, "people", values)


def _label(flow: Flow, key: str) -> str:
    try:
        kind = steps.registry.get(editing.find(flow.draft, key)["kind"])
    except KeyError:
        return ""
    return str(kind.label) if kind else ""
