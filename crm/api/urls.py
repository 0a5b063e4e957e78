"""/api/v1/: events, profiles and the API's description."""

from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from crm.api.beacon import BeaconView
from crm.api.computed import ComputedAttributesView, ComputedAttributeView
from crm.api.consents import ConsentsView, ProfileConsentsView
from crm.api.event_list import ProfileEventsView
from crm.api.events import EventsView
from crm.api.places import PlacesBulkView, PlacesView, PlaceView
from crm.api.privacy import ExportView
from crm.api.products import ProductsBulkView, ProductsView, ProductView
from crm.api.profiles import BulkView, ProfilesView, ProfileView
from crm.api.suppressions import SuppressionsView
from crm.api.topics import TopicsView, TopicView

urlpatterns = [
    path("computed-attributes/", ComputedAttributesView.as_view(), name="api_computed_attributes"),
    path("computed-attributes/<slug:slug>/", ComputedAttributeView.as_view(), name="api_computed_attribute"),
    path("places/", PlacesView.as_view(), name="api_places"),
    path("places/bulk/", PlacesBulkView.as_view(), name="api_places_bulk"),
    path("places/<str:slug>/", PlaceView.as_view(), name="api_place"),
    path("products/", ProductsView.as_view(), name="api_products"),
    path("products/bulk/", ProductsBulkView.as_view(), name="api_products_bulk"),
    path("products/<path:sku>/", ProductView.as_view(), name="api_product"),
    path("events/", EventsView.as_view(), name="api_events"),
    path("events/beacon/", BeaconView.as_view(), name="api_events_beacon"),
    path("profiles/", ProfilesView.as_view(), name="api_profiles"),
    path("profiles/bulk/", BulkView.as_view(), name="api_profiles_bulk"),
    path("profiles/<int:pk>/", ProfileView.as_view(), name="api_profile"),
    path("profiles/<int:pk>/export/", ExportView.as_view(), name="api_profile_export"),
    path("profiles/<int:pk>/events/", ProfileEventsView.as_view(), name="api_profile_events"),
    path("profiles/<int:pk>/consents/", ProfileConsentsView.as_view(), name="api_profile_consents"),
    path("consents/", ConsentsView.as_view(), name="api_consents"),
    path("topics/", TopicsView.as_view(), name="api_topics"),
    path("topics/<slug:slug>/", TopicView.as_view(), name="api_topic"),
    path("suppressions/", SuppressionsView.as_view(), name="api_suppressions"),
    path("schema/", SpectacularAPIView.as_view(), name="api_schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api_schema"), name="api_docs"),
]
