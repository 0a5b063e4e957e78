"""The page behind the link in a report's mail to a typed address. Looking changes nothing; one POST takes them off."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.views.decorators.http import require_http_methods

from analytics.models import ReportRecipient
from analytics.saved import tokens
from delivery.preferences.views import language_for, page


@require_http_methods(["GET", "HEAD", "POST"])
def leave(request: HttpRequest, token: str) -> HttpResponse:
    """Ask whether to leave, and leave (RFC 8058: mail programs post as well)."""
    try:
        number = tokens.read(token)
    except tokens.BadToken:
        number = 0
    found = ReportRecipient.objects.select_related("saved").filter(pk=number, user=None).first()
    with translation.override(found.language if found else language_for(request, None)):
        if found is None:
            # Of a report that was deleted nothing comes any more: that is what somebody who leaves wants.
            if number and request.method == "POST":
                return page(request, "report_left")
            return page(request, "unknown", status=404)
        if request.method != "POST":
            return page(request, "report_leave", report=found.saved.name, address=found.address)
        if found.left_at is None:
            ReportRecipient.objects.filter(pk=found.pk).update(left_at=timezone.now())
        return page(request, "report_left")
