"""/api/v1/: what browsers need to receive pushes."""

from django.urls import path

from delivery.api.push import PushConfigView, SubscriptionsView

urlpatterns = [
    path("subscriptions/", SubscriptionsView.as_view(), name="api_subscriptions"),
    path("push/config/", PushConfigView.as_view(), name="api_push_config"),
]
