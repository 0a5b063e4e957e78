"""The SDK and the demo shop by themselves, and in place of Nudge's API a view that keeps what it is sent."""

import json

from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

SENT: list[dict] = []  # events as they arrived


@csrf_exempt
def keep(request: HttpRequest, rest: str) -> JsonResponse:
    """202 for whatever comes; its events go to `SENT`."""
    SENT.extend(json.loads(request.body or b"{}").get("events", []))
    return JsonResponse({"public_key": "", "accepted": 1, "messages": []}, status=202)


urlpatterns = [
    path("", include("config.sdk")),
    path("demo/shop/", include("config.demo.shop")),
    path("api/v1/<path:rest>", keep),
]
