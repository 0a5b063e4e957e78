from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from analytics import views
from analytics.saved import leaving

# Exempt from CSRF: no cookie is looked at; the signed token or the secret endpoint is the proof.
urlpatterns = [
    path("push/", csrf_exempt(views.PushReport.as_view()), name="push_report"),
    path("landed/", csrf_exempt(views.Landed.as_view()), name="landed"),
    path("reports/<str:token>/leave/", csrf_exempt(leaving.leave), name="report_leave"),
    path("push/changed/", csrf_exempt(views.PushChanged.as_view()), name="push_changed"),
]
