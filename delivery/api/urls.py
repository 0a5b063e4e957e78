"""/api/v1/: what browsers need to receive pushes and in-app messages."""

from django.urls import path

from delivery.api.inbox import InboxView
from delivery.api.push import PushConfigView, SubscriptionsView

urlpatterns = [
    path("inbox/", InboxView.as_view(), name="api_inbox"),
    path("subscriptions/", SubscriptionsView.as_view(), name="api_subscriptions"),
    path("push/config/", PushConfigView.as_view(), name="api_push_config"),
]
