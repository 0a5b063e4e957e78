"""Why somebody is, was or is not in a flow: asked on the flow with a person, or on a person with a flow."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse

from campaigns.admin.flows import around, pages
from campaigns.flows import why as explaining
from campaigns.flows.steps.message import channel_label
from campaigns.models import Enrollment, Flow
from crm import audit
from crm.models import Profile

TAB = "campaigns_flow_why"
MOST = 200  # flows listed for a person


def why(request: HttpRequest, flow: Flow, model_admin: Any) -> HttpResponse:
    """The answer for the person named by the GET parameter `person`."""
    who = request.GET.get("person", "").strip()[:200]
    may_see = request.user.has_perm("crm.view_profile")
    person = pages.named_person(who) if who and may_see else None
    answer = None
    if person is not None:
        audit.record(request, "flow.why_asked", person, flow=flow.slug)
        answer = explaining.explain(person.pk, flow.pk)
        for sent in (sent for run in answer.runs for happened in run.story for sent in happened.sent):
            sent.channel = channel_label(sent.channel)
    return around.page(
        request,
        flow,
        model_admin,
        "why",
        TAB,
        who=who,
        person=person,
        answer=answer,
        may_see=may_see,
    )


def of_person(model_admin: Any):
    """The page that lists flows for one person, each with where they are in it and a link to why."""

    def view(request: HttpRequest, profile_id: int) -> HttpResponse:
        rights = pages.Rights(request)
        if not (rights.view and request.user.has_perm("crm.view_profile")):
            raise PermissionDenied
        person = get_object_or_404(Profile, pk=profile_id)
        latest: dict[int, Enrollment] = {}
        for run in (
            Enrollment.objects.filter(profile=person)
            .defer("context", "step_state")
            .order_by("entered_at", "pk")
        ):
            latest[run.flow_id] = run
        flows = list(Flow.objects.exclude(state=Flow.State.DRAFT).order_by("name")[:MOST])
        rows = sorted(
            ((flow, latest.get(flow.pk)) for flow in flows),
            key=lambda row: (row[1] is None, row[1] is not None and row[1].state != "active"),
        )
        context = {
            **model_admin.admin_site.each_context(request),
            "opts": model_admin.model._meta,
            "title": person.display_name,
            "person": person,
            "rows": rows,
        }
        return TemplateResponse(request, f"{pages.TEMPLATES}/pages/why_person.html", context)

    return model_admin.admin_site.admin_view(view)
