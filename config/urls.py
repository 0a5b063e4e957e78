"""Which address leads where."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from config.health import healthz
from crm import hooks

handler400 = "crm.api.errors.bad_request"
handler404 = "crm.api.errors.not_found"
handler500 = "crm.api.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("healthz", healthz, name="healthz"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("hooks/crm/<slug:slug>/", hooks.receive, name="crm-hook"),
    path("callbacks/", include("delivery.callbacks")),
    path("api/v1/", include("crm.api.urls")),
    path("api/v1/", include("delivery.api.urls")),
    path("api/v1/", include("campaigns.api.urls")),
    path("api/v1/", include("analytics.api.urls")),
    path("t/", include("analytics.urls")),
    path("p/", include("delivery.preferences.urls")),
    path("media/email/", include("delivery.email.urls")),
    path("", include("delivery.links.urls")),
    path("", include("config.sdk")),
    path("demo/shop/", include("config.demo.shop")),
]
