"""The SDK and the demo shop by themselves."""

from django.urls import include, path

urlpatterns = [
    path("", include("config.sdk")),
    path("demo/shop/", include("config.demo.shop")),
]
