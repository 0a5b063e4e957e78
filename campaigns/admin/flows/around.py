"""The pages around the builder: who is inside, why, enrolling by hand, versions. Each is one file; these are their
addresses and what they share."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from campaigns.admin.flows import pages
from campaigns.models import Flow


def page(
    request: HttpRequest, flow: Flow, model_admin: Any, name: str, tab: str, **values: Any
) -> HttpResponse:
    """One of these pages, with what all of them show.

    Args:
        tab: the name of the page's address, so that it is marked among the others.
    """
    context = {
        **model_admin.admin_site.each_context(request),
        **pages.context(request, flow),
        "opts": model_admin.model._meta,
        "original": flow,
        "title": flow.name,
        "tabs": pages.tabs(flow, tab),
        "may_enroll": request.user.has_perm("campaigns.enroll_flow"),
        **values,
    }
    return TemplateResponse(request, f"{pages.TEMPLATES}/pages/{name}.html", context)
