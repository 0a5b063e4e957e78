"""/api/v1/: events, profiles and the API's description."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from crm.api.event_list import ProfileEventsView
from crm.api.events import EventsView
from crm.api.profiles import BulkView, ProfilesView, ProfileView

urlpatterns = [
    path("events/", EventsView.as_view(), name="api_events"),
    path("profiles/", ProfilesView.as_view(), name="api_profiles"),
    path("profiles/bulk/", BulkView.as_view(), name="api_profiles_bulk"),
    path("profiles/<int:pk>/", ProfileView.as_view(), name="api_profile"),
    path("profiles/<int:pk>/events/", ProfileEventsView.as_view(), name="api_profile_events"),
    path("schema/", SpectacularAPIView.as_view(), name="api_schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api_schema"), name="api_docs"),
]
