"""/p/: the pages behind the links in messages."""

from django.urls import path

from delivery.preferences import views

app_name = "preferences"

urlpatterns = [
    path("logo/<slug:version>", views.logo, name="logo"),
    path("<str:token>/", views.preferences, name="page"),
    path("<str:token>/unsubscribe/", views.unsubscribe, name="unsubscribe"),
    path("<str:token>/confirm/", views.confirm, name="confirm"),
]
