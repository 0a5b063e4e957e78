"""What emails fetch from this server."""

from django.urls import path

from delivery.email import images

urlpatterns = [path("<str:name>", images.show, name="email-image")]
