"""The addresses of tracked links and pictures."""

from django.urls import path

from delivery.links import views

urlpatterns = [
    path("l/<str:token>", views.follow, name="link"),
    path("o/<str:token>.gif", views.picture, name="open-picture"),
]
