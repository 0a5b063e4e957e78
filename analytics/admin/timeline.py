"""One person's story, as a part of their page."""

from itertools import groupby

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _

from analytics.reports.timeline import Entry, timeline
from crm.models import Profile

# Event name -> colour of its icon; other things we did are grey, what the person did is blue.
TONES = {
    "message_converted": "good",
    "flow_completed": "good",
    "push_subscribed": "good",
    "message_suppressed": "warning",
    "message_failed": "bad",
    "push_unsubscribed": "warning",
    "not_entered": "warning",
    "error": "bad",
}


def fragment(request: HttpRequest, pk: int) -> HttpResponse:
    """A page of the story; `before` continues where another one ended, `day` is the last day it showed."""
    profile = get_object_or_404(Profile, pk=pk)
    before = request.GET.get("before", "")
    try:
        page = timeline(profile.pk, before or None)
    except (ValueError, OverflowError):
        return HttpResponse(
            _("There is no such page of the timeline."), status=400, content_type="text/plain"
        )
    days = [
        (day, [(entry, _tone(entry)) for entry in entries])
        for day, entries in groupby(page.entries, key=lambda entry: timezone.localdate(entry.at))
    ]
    context = {
        "profile": profile,
        "days": days,
        "before": page.before,
        "first": not before,
        "shown_day": request.GET.get("day", ""),
        "last_day": days[-1][0].isoformat() if days else "",
        "today": timezone.localdate(),
    }
    return render(request, "admin/analytics/timeline.html", context)


def _tone(entry: Entry) -> str:
    return TONES.get(entry.name, "person" if entry.by == "person" else "")
