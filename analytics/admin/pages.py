"""Where the reports live in the admin."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.admin import ModelAdmin

from analytics.admin import home, people, reporting, timeline
from analytics.models import Engagement


@admin.register(Engagement)
class ReportsAdmin(ModelAdmin):
    """Mounts pages that belong to no table of their own; the table itself is not shown."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Not in the menu."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """The reports and the timeline, and nothing else."""
        pages = [
            ("reports/", reporting.index, "", "reports"),
            ("reports/<slug:slug>/", reporting.show, "", "report"),
            ("reports/<slug:slug>/people/", people.show, "", "report_people"),
            ("messages/", reporting.messages, "delivery.view_message", "reports_messages"),
            ("messages/<int:pk>/", reporting.message, "delivery.view_message", "reports_message"),
            ("flows/", reporting.flows, "campaigns.view_flow", "reports_flows"),
            ("flows/<int:pk>/", reporting.flow, "campaigns.view_flow", "reports_flow"),
            ("timeline/<int:pk>/", timeline.fragment, "crm.view_profile", "profile_timeline"),
            ("timeline/<int:pk>/journey/", timeline.journey, "crm.view_profile", "profile_journey"),
            ("timeline/<int:pk>/segments/", timeline.segments, "crm.view_profile", "profile_segments"),
        ]
        return [
            path("home/", self.admin_site.admin_view(home.live), name="home_live"),
            path(
                "reports/<slug:slug>/people/list/",
                self.admin_site.admin_view(people.save),
                name="report_people_list",
            ),
            *(
                path(route, self.admin_site.admin_view(guarded(view, permission)), name=name)
                for route, view, permission, name in pages
            ),
        ]


def guarded(view: Callable[..., HttpResponse], permission: str) -> Callable[..., HttpResponse]:
    """Let through who has `permission`, if one is needed here, and only to look."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if permission and not request.user.has_perm(permission):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        return view(request, *args, **kwargs)

    return inner
