"""Making a new draft out of a flow."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.admin.flows import pages
from campaigns.flows import copying
from campaigns.models import Flow


def duplicate(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Ask; on POST make a flow with this one's draft, which nobody is in, and open it."""
    if not model_admin.has_add_permission(request):
        raise PermissionDenied
    if request.method != "POST":
        values = pages.context(
            request,
            flow,
            title=_("Duplicate the flow?"),
            lines=[
                _("The copy is a draft of its own with the same steps. Nobody is in it, and nothing is live.")
            ],
            button=_("Duplicate"),
            danger=False,
            action=pages.url("duplicate", flow),
            name="duplicate",
        )
        return pages.fragment(request, "lifecycle", values)
    copy = copying.duplicate(flow, _("Copy of %s") % flow.name)
    model_admin.log_addition(request, copy, _("Copied from “%s”.") % flow.name)
    return HttpResponse(headers={"HX-Redirect": reverse("admin:campaigns_flow_builder", args=[copy.pk])})
