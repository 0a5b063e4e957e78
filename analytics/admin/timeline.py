"""One person's story, and where they are now: parts of their page."""

from itertools import groupby
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _

from analytics.reports import journey as journeys
from analytics.reports.timeline import ALL, EXPLAINED, GROUPS, Entry, timeline
from crm import geography
from crm.models import Profile

# Event name -> colour of its icon; other things we did are grey, what the person did is blue.
TONES = {
    "message_converted": "good",
    "flow_completed": "good",
    "push_subscribed": "good",
    "back_in_stock": "good",
    "price_dropped": "good",
    "message_suppressed": "warning",
    "message_deferred": "warning",
    "message_failed": "bad",
    "push_unsubscribed": "warning",
    "not_entered": "warning",
    "error": "bad",
}


def fragment(request: HttpRequest, pk: int) -> HttpResponse:
    """A page of the story; `before` continues where another one ended, `day` is the last day it showed, `only` is
    the part of it to show. Days and times are the person's own."""
    profile = get_object_or_404(Profile, pk=pk)
    before, only = request.GET.get("before", ""), request.GET.get("only", ALL)
    zone = zone_of(profile)
    with timezone.override(zone):
        try:
            page = timeline(profile.pk, before or None, only=only)
        except (ValueError, OverflowError, KeyError):
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
            "groups": [(name, group.label, group.icon) for name, group in GROUPS.items()],
            "only": only,
            "explained": EXPLAINED,
            "zone": zone,
            "own_zone": zone != geography.account_zone(),
        }
        return render(request, "admin/analytics/timeline.html", context)


def journey(request: HttpRequest, pk: int) -> HttpResponse:
    """The flows the person is in with what comes next, and the messages that wait for them."""
    profile = get_object_or_404(Profile, pk=pk)
    with timezone.override(zone_of(profile)):
        context = {
            "found": journeys.journey(profile.pk),
            "flows": request.user.has_perm("campaigns.view_flow"),
            "deliveries": request.user.has_perm("delivery.view_delivery"),
        }
        return render(request, "admin/analytics/journey.html", context)


def segments(request: HttpRequest, pk: int) -> HttpResponse:
    """The segments the person is in."""
    profile = get_object_or_404(Profile, pk=pk)
    context = {
        "memberships": journeys.segments(profile.pk),
        "links": request.user.has_perm("campaigns.view_segment"),
    }
    return render(request, "admin/analytics/segments.html", context)


def zone_of(profile: Profile) -> ZoneInfo:
    """The time zone in which their days are told."""
    return geography.zone_for(vars(profile))


def _tone(entry: Entry) -> str:
    return TONES.get(entry.name, "person" if entry.by == "person" else "")
