"""/api/v1/: what browsers need to receive pushes and in-app messages, and messages that programs ask for."""

from django.urls import path

from delivery.api.inbox import InboxView
from delivery.api.messages import BulkSendView, DeliveryView, SendView
from delivery.api.push import DevicesView, PushConfigView, SubscriptionsView

urlpatterns = [
    path("messages/<slug:slug>/send/", SendView.as_view(), name="api_message_send"),
    path("messages/<slug:slug>/send/bulk/", BulkSendView.as_view(), name="api_message_send_bulk"),
    path("deliveries/<int:number>/", DeliveryView.as_view(), name="api_delivery"),
    path("inbox/", InboxView.as_view(), name="api_inbox"),
    path("subscriptions/", SubscriptionsView.as_view(), name="api_subscriptions"),
    path("devices/", DevicesView.as_view(), name="api_devices"),
    path("push/config/", PushConfigView.as_view(), name="api_push_config"),
]
