"""Browsers' push subscriptions, and the tokens of apps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import app_devices, identity, limits, normalise, proof, subscriptions
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


class _Agreement(msgspec.Struct, kw_only=True):
    profile: identity.Reference
    language: str | None = None
    timezone: str | None = None
    topics: list[str] | None = None
    wording: str | None = None
    agreed_seconds_ago: Annotated[float, msgspec.Meta(ge=0, le=MAX_AGE)] | None = None


class _Subscribe(_Agreement):
    subscription: subscriptions.PushSubscription


class _Register(_Agreement):
    device: app_devices.AppDevice


class _Unsubscribe(msgspec.Struct):
    endpoint: str


class _Forget(msgspec.Struct):
    token: str


class PushKeysSchema(serializers.Serializer):
    p256dh = serializers.CharField()
    auth = serializers.CharField()


class PushSubscriptionSchema(serializers.Serializer):
    """What `PushSubscription.toJSON()` gives in a browser."""

    endpoint = serializers.URLField()
    keys = PushKeysSchema()


class AppDeviceSchema(serializers.Serializer):
    kind = serializers.ChoiceField(choices=("fcm", "apns"), help_text=gettext_lazy("Who carries to it."))
    token = serializers.CharField(
        help_text=gettext_lazy("FCM's registration token, or Apple's device token in hexadecimal.")
    )
    app = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=200,
        help_text=gettext_lazy("Package name or bundle id, where you have several apps."),
    )
    platform = serializers.ChoiceField(choices=app_devices.PLATFORMS, required=False, allow_blank=True)
    replaces = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text=gettext_lazy("The token before, when the service gave the app another one."),
    )


class AgreementSchema(serializers.Serializer):
    profile = schemas.Reference()
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


class SubscribeSchema(AgreementSchema):
    subscription = PushSubscriptionSchema()


class RegisterSchema(AgreementSchema):
    device = AppDeviceSchema()


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
        with _judged(request, wanted, vapid.public_key()) as (who, details, source):
            device, created = subscriptions.subscribe(
                who.reference,
                wanted.subscription,
                details,
                source,
                pushhosts.allowed,
                proven=who.proven,
            )
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
            subscriptions.unsubscribe(endpoint, _source(request))
        return HttpResponse(status=204)


class DevicesView(BrowserAccess, ApiView):
    scopes = {"POST": {WRITE, BROWSER}, "DELETE": {WRITE, BROWSER}}

    @extend_schema(
        operation_id="devices_create",
        tags=["push"],
        summary="Register an app for mobile push",
        description="Records the person's consent for mobile push and, for each of `topics`, for the topic. Send it "
        "when the app starts and whenever the service gives it another token.",
        request=RegisterSchema,
        responses={
            201: OpenApiResponse(DeviceSchema, description="A new device."),
            200: OpenApiResponse(DeviceSchema, description="Known before; brought up to date."),
            **schemas.errors(*schemas.WRITE_ERRORS, 409),
        },
        examples=[
            OpenApiExample(
                "An Android phone",
                request_only=True,
                value={
                    "profile": {"anonymous_id": "b0c7"},
                    "device": {
                        "kind": "fcm",
                        "token": "cRk9wAbCdEf:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx",
                        "app": "com.example.shop",
                        "platform": "android",
                    },
                    "language": "en-GB",
                    "timezone": "Europe/London",
                },
            ),
            *(
                OpenApiExample(
                    title, value={"id": 8, "state": "active"}, response_only=True, status_codes=[status]
                )
                for title, status in (("A device known before", "200"), ("A new device", "201"))
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Keep the token with the consent."""
        limits.check("subscriptions", request.auth, limits.address(request))
        wanted = self.parsed(request, _Register)
        if wanted.device.kind == app_devices.SANDBOX:
            detail = _("Must be one of: %s.") % "fcm, apns"
            raise ApiError(400, "invalid_subscription", detail, field="device.kind")
        with _judged(request, wanted) as (who, details, source):
            device, created = app_devices.register(
                who.reference, wanted.device, details, source, proven=who.proven
            )
        return encoded({"id": device.pk, "state": device.state}, status=201 if created else 200)

    @extend_schema(
        operation_id="devices_delete",
        tags=["push"],
        summary="Take an app off mobile push",
        # OpenAPI 3.0 has no bodies for DELETE.
        description='The body is `{"token": "…"}`. A token nobody registered is fine: then there is nothing to do. It '
        "is a secret of the app, so knowing it is enough.",
        request=None,
        responses={
            204: OpenApiResponse(description="It gets no more pushes."),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
    )
    def delete(self, request: Request) -> HttpResponse:
        """Forget the token."""
        token = self.parsed(request, _Forget).token
        if "\x00" not in token:
            app_devices.forget(token, _source(request))
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


def _source(request: Request) -> str:
    return "sdk" if BROWSER in request.auth.scopes else "api"


@contextmanager
def _judged(
    request: Request, wanted: _Agreement, application_key: str = ""
) -> Iterator[tuple[proof.Judged, subscriptions.Details, str]]:
    """Who is meant, what else is known of their device, and who says so.

    Raises:
        ApiError: also for what goes wrong with these in the body of `with`.
    """
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
            application_key=application_key,
            wording=normalise.text(wanted.wording, "wording", subscriptions.MAX_WORDING) or "",
            timezone=wanted.timezone or "",
            topics=_topics(wanted.topics or []),
            agreed_seconds_ago=wanted.agreed_seconds_ago or 0,
        )
        yield who, details, _source(request)
    except normalise.Rejection as rejection:
        raise rejected(rejection) from rejection
    except subscriptions.SubscriptionError as error:
        raise ApiError(400, "invalid_subscription", error.detail, field=error.field) from error
    except identity.ErasedPerson as error:
        raise ApiError(409, "erased", _("This person was erased."), field="profile") from error
    except identity.UnknownProfile as error:
        raise ApiError(400, "unknown_profile", _("There is no such profile."), field="profile.id") from error
