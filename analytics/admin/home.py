"""The admin's home: what happened lately, what runs, what needs somebody."""

import hashlib
import re
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from analytics.admin import home_asked, home_audience, home_lift, home_messages, home_running
from analytics.admin.home_asked import Asked
from analytics.admin.home_cards import cards, shown_currency
from analytics.admin.home_chart import chart
from analytics.admin.home_kept import kept
from analytics.admin.home_steps import first_steps
from analytics.experiments import holdouts
from analytics.reports import overview
from analytics.reports.filters import Filters
from analytics.reports.freshness import Freshness, freshness
from analytics.reports.today import WEEK
from analytics.written import count, percent
from delivery.admin.rules import stop_state

# A form's token is another one each time.
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="[^"]*"')

admin.site.index_template = "admin/analytics/home.html"
admin.site.index_title = gettext_lazy("Home")


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the home's context what this person may see."""
    asked = home_asked.read(request)
    body, upto = _live(request, asked)
    return context | {
        "title": _("Home"),
        "steps": first_steps(request),
        "live": body,
        "tag": _tag(body),
        "upto": upto,
        "clock": _clock(upto),
        "zone": settings.TIME_ZONE,
        "live_address": reverse("admin:home_live"),
    }


def live(request: HttpRequest) -> HttpResponse:
    """The part of the home that follows what happens; 304 where nothing has since the last answer.

    The header `Nudge-Upto` says up to which moment figures are, with every answer.
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    body, upto = _live(request, home_asked.read(request))
    tag = _tag(body)
    same = request.headers.get("If-None-Match", "").removeprefix("W/") == tag
    answer = HttpResponse(status=304) if same else HttpResponse(body)
    answer["ETag"] = tag
    answer["Nudge-Upto"] = upto.isoformat()
    return answer


def _live(request: HttpRequest, asked: Asked) -> tuple[str, datetime]:
    """The live part, and up to which moment its figures are."""
    now = timezone.now()
    fresh = freshness(now)
    found, upto = None, fresh.upto
    if request.user.has_perm("delivery.view_message"):
        found, upto = _figures(asked, now, upto)
    context = {"asked": asked, **_parts(request, asked, found), **_words(asked, fresh)}
    return render_to_string("admin/analytics/home/live.html", context, request), upto


def _parts(request: HttpRequest, asked: Asked, found: overview.Home | None) -> dict[str, Any]:
    """Each part of the page that this person may see; None in place of the others."""
    may = request.user.has_perm
    lifts = kept("lift", holdouts.latest) if may("campaigns.view_experiment") else None
    parts: dict[str, Any] = {
        "alerts": home_running.alerts() if may("crm.view_alert") else None,
        "syncs": home_running.syncs() if may("crm.view_connection") else None,
        "broadcasts": home_running.broadcasts() if may("campaigns.view_broadcast") else None,
        "flows": home_running.flows(asked.days, found and found.flows, lifts)
        if may("campaigns.view_flow")
        else None,
        "lift": home_lift.lift(lifts, request) if lifts is not None else None,
        **stop_state(request),
    }
    if found is None:
        return parts
    currency = shown_currency(found.now, found.before)
    return parts | {
        "cards": cards(found),
        "chart": chart(found, asked, currency),
        "messages": home_messages.messages(found, asked, currency),
        "audience": home_audience.audience(found) if may("crm.view_profile") else None,
    }


def _figures(asked: Asked, now: datetime, upto: datetime) -> tuple[overview.Home, datetime]:
    """The figures, and up to which moment they are: if they were kept, that is a while ago."""
    filters = Filters(machines=asked.machines)
    return kept(
        f"figures.{asked.days}.{asked.machines}", lambda: (overview.home(asked.days, now, filters), upto)
    )


def _words(asked: Asked, fresh: Freshness) -> dict[str, str]:
    """What the period is compared with, and how far figures are."""
    if asked.days:
        compared = _("%s, today included, against as many days before.") % asked.label
    else:
        before = timezone.localdate() - timedelta(days=WEEK)
        compared = _("Today until now, against %(day)s until this time, as it stood then.") % {
            "day": formats.date_format(before, "l, " + formats.get_format("MONTH_DAY_FORMAT"))
        }
    behind = _("Figures are %s seconds behind.") % count(round(fresh.lag)) if fresh.behind else ""
    anew = ""
    if fresh.rebuilding is not None:
        anew = _("Figures are being counted anew: %s. Until then the ones before are shown.") % percent(
            fresh.rebuilding, 0
        )
    return {"compared": compared, "behind": behind, "anew": anew}


def _clock(at: datetime) -> str:
    return formats.time_format(timezone.localtime(at), "H:i:s")


def _tag(body: str) -> str:
    return '"' + hashlib.blake2b(TOKEN.sub("", body).encode(), digest_size=12).hexdigest() + '"'
