"""Browsers' push subscriptions."""

from typing import Annotated

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import identity, limits, normalise, proof, subscriptions
from crm.api import schemas
from crm.api.auth import BROWSER, READ, WRITE
from crm.api.cors import BrowserAccess
from crm.api.errors import ApiError, rejected
from crm.api.views import ApiView, encoded
from delivery import pushhosts, vapid

_P256DH = "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA_0QTpQtUbVlUls0VJXg7A8u-Ts1XbjhazAkj7I99e8QcYP7DkM"
MAX_TOPICS = 50
MAX_TOPIC = 100  # characters
MAX_AGE = 10 * 366 * 86_400  # seconds


class _Subscribe(msgspec.Struct):
    profile: identity.Reference
    subscription: subscriptions.PushSubscription
    language: str | None = None
    timezone: str | None = None
    topics: list[str] | None = None
    wording: str | None = None
    agreed_seconds_ago: Annotated[float, msgspec.Meta(ge=0, le=MAX_AGE)] | None = None


class _Unsubscribe(msgspec.Struct):
    endpoint: str


class PushKeysSchema(serializers.Serializer):
    p256dh = serializers.CharField()
    auth = serializers.CharField()


class PushSubscriptionSchema(serializers.Serializer):
    """What `PushSubscription.toJSON()` gives in a browser."""

    endpoint = serializers.URLField()
    keys = PushKeysSchema()


class SubscribeSchema(serializers.Serializer):
    profile = schemas.Reference()
    subscription = PushSubscriptionSchema()
    language = serializers.CharField(
        required=False, allow_null=True, help_text=gettext_lazy("Kept unless the profile has one.")
    )
    timezone = serializers.CharField(
        required=False, allow_null=True, help_text=gettext_lazy("Kept unless the profile has one.")
    )
    topics = serializers.ListField(
        child=serializers.CharField(allow_blank=True), required=False, allow_null=True, max_length=MAX_TOPICS
    )
    wording = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=subscriptions.MAX_WORDING,
        help_text=gettext_lazy("What the person was asked, as proof of consent."),
    )
    agreed_seconds_ago = serializers.FloatField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_AGE,
        help_text=gettext_lazy("When the person said yes, if not just now: it does not outdo a later no."),
    )


class DeviceSchema(serializers.Serializer):
    id = serializers.IntegerField()
    state = serializers.CharField()


class PushConfigSchema(serializers.Serializer):
    public_key = serializers.CharField(
        help_text=gettext_lazy("For `applicationServerKey`: base64url of 65 bytes.")
    )


class SubscriptionsView(BrowserAccess, ApiView):
    scopes = {"POST": {WRITE, BROWSER}, "DELETE": {WRITE, BROWSER}}

    @extend_schema(
        operation_id="subscriptions_create",
        tags=["push"],
        summary="Subscribe a browser to web push",
        description="Records the person's consent for web push and, for each of `topics`, for the topic.",
        request=SubscribeSchema,
        responses={
            201: OpenApiResponse(DeviceSchema, description="A new browser."),
            200: OpenApiResponse(DeviceSchema, description="Known before; brought up to date."),
            **schemas.errors(*schemas.WRITE_ERRORS, 409),
        },
        examples=[
            OpenApiExample(
                "A visitor's browser",
                request_only=True,
                value={
                    "profile": {"anonymous_id": "b0c7"},
                    "subscription": {
                        "endpoint": "https://updates.push.services.mozilla.com/wpush/v2/gAAAA",
                        "keys": {
                            "p256dh": _P256DH,
                            "auth": "tBHItJI5svbpez7KI4CCXg",
                        },
                    },
                    "language": "en-GB",
                    "timezone": "Europe/London",
                    "topics": ["offers"],
                },
            ),
            *(
                OpenApiExample(
                    title, value={"id": 7, "state": "active"}, response_only=True, status_codes=[status]
                )
                for title, status in (("Known before", "200"), ("A new browser", "201"))
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Keep the subscription with the consent; language and time zone only fill gaps."""
        limits.check("subscriptions", request.auth, limits.address(request))
        wanted = self.parsed(request, _Subscribe)
        public = BROWSER in request.auth.scopes
        if public and wanted.profile.id is not None:
            detail = _("A browser key can't name profiles by id.")
            raise ApiError(400, "not_allowed", detail, field="profile.id")
        try:
            who = proof.judge(request.auth, identity.normal(wanted.profile))
            details = subscriptions.Details(
                origin=request.META.get("HTTP_ORIGIN", ""),
                user_agent=request.META.get("HTTP_USER_AGENT", ""),
                language=normalise.text(wanted.language, "language") or "",
                application_key=vapid.public_key(),
                wording=normalise.text(wanted.wording, "wording", subscriptions.MAX_WORDING) or "",
                timezone=wanted.timezone or "",
                topics=_topics(wanted.topics or []),
                agreed_seconds_ago=wanted.agreed_seconds_ago or 0,
            )
            device, created = subscriptions.subscribe(
                who.reference,
                wanted.subscription,
                details,
                "sdk" if public else "api",
                pushhosts.allowed,
                proven=who.proven,
            )
        except normalise.Rejection as rejection:
            raise rejected(rejection) from rejection
        except subscriptions.SubscriptionError as error:
            raise ApiError(400, "invalid_subscription", error.detail, field=error.field) from error
        except identity.ErasedPerson as error:
            raise ApiError(409, "erased", _("This person was erased."), field="profile") from error
        except identity.UnknownProfile as error:
            raise ApiError(
                400, "unknown_profile", _("There is no such profile."), field="profile.id"
            ) from error
        return encoded({"id": device.pk, "state": device.state}, status=201 if created else 200)

    @extend_schema(
        operation_id="subscriptions_delete",
        tags=["push"],
        summary="Take a browser off web push",
        # OpenAPI 3.0 has no bodies for DELETE.
        description='The body is `{"endpoint": "…"}`. An endpoint nobody subscribed is fine: then there is nothing '
        "to do. It is a secret of the browser, so knowing it is enough.",
        request=None,
        responses={
            204: OpenApiResponse(description="It gets no more pushes."),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
    )
    def delete(self, request: Request) -> HttpResponse:
        """Unsubscribe the endpoint."""
        endpoint = self.parsed(request, _Unsubscribe).endpoint
        if "\x00" not in endpoint:
            subscriptions.unsubscribe(endpoint, "sdk" if BROWSER in request.auth.scopes else "api")
        return HttpResponse(status=204)


class PushConfigView(BrowserAccess, ApiView):
    scopes = {"GET": {READ, WRITE, BROWSER}}

    @extend_schema(
        operation_id="push_config",
        tags=["push"],
        summary="What a page needs to subscribe",
        responses={
            200: OpenApiResponse(PushConfigSchema, description="Our VAPID key."),
            **schemas.errors(401, 403),
        },
        examples=[
            OpenApiExample(
                "A key",
                value={"public_key": _P256DH},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """The application server key."""
        return encoded({"public_key": vapid.public_key()})


def _topics(names: list[str]) -> list[str]:
    if len(names) > MAX_TOPICS:
        detail = _("At most %d topics can be given.") % MAX_TOPICS
        raise normalise.Rejection("too_long", "topics", detail)
    cleaned = [normalise.text(name, f"topics[{index}]", MAX_TOPIC) for index, name in enumerate(names)]
    return sorted({name for name in cleaned if name})
