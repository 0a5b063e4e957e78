"""A view that answers "ok", on the product's settings: behind all its middleware, and alone if BARE is set."""

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.wsgi import application as product


def bare(request: HttpRequest) -> HttpResponse:
    """The least that a view can do."""
    return HttpResponse("ok")


urlpatterns = [path("bare/", bare), path("healthz", bare)]
settings.ROOT_URLCONF = __name__
application = product
if os.environ.get("BARE"):
    settings.MIDDLEWARE = []
    product.load_middleware()
