"""In-app messages for the visitor of a page."""

import msgspec
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import identity, limits, normalise, proof
from crm.api import schemas
from crm.api.auth import BROWSER, READ
from crm.api.cors import BrowserAccess
from crm.api.errors import ApiError, rejected
from crm.api.views import ApiView, encoded
from delivery import inbox


class _Visitor(msgspec.Struct):
    profile: identity.Reference


class VisitorSchema(schemas.Reference):
    """Names of one person, of which an empty one counts as none."""

    email = serializers.CharField(required=False, allow_null=True, allow_blank=True)


class InboxRequestSchema(serializers.Serializer):
    profile = VisitorSchema()


class InAppMessageSchema(serializers.Serializer):
    token = serializers.CharField(
        help_text=gettext_lazy("To report what became of it: POST /t/push/ with this token.")
    )
    state = serializers.ChoiceField(["waiting", "shown", "clicked"])
    expires_at = serializers.DateTimeField()
    locale = serializers.CharField(allow_blank=True)
    title = serializers.CharField()
    text = serializers.CharField(allow_blank=True)
    button = serializers.CharField(allow_blank=True)
    url = serializers.CharField(allow_blank=True)
    image = serializers.CharField(allow_blank=True)
    style = serializers.ChoiceField(["banner", "modal", "inbox"])
    close = serializers.CharField(help_text=gettext_lazy("What closing is called in the message's language."))


class InboxSchema(serializers.Serializer):
    messages = InAppMessageSchema(many=True)


class InboxView(BrowserAccess, ApiView):
    scopes = {"POST": {READ, BROWSER}}
    repeatable = False  # it only reads

    @extend_schema(
        operation_id="inbox",
        tags=["in-app"],
        summary="Fetch a visitor's in-app messages",
        description="The newest come first, at most 20. With a browser's key, a person's messages are given only to a "
        "browser that has proven to be theirs (`profile.proof`), and those of somebody unnamed to the browser with "
        "that `anonymous_id`; a mere claim gets an empty list, just as somebody without messages does.",
        request=InboxRequestSchema,
        responses={
            200: OpenApiResponse(InboxSchema, description="The messages."),
            **schemas.errors(*schemas.WRITE_ERRORS),
        },
        examples=[
            OpenApiExample(
                "A visitor who has logged in",
                request_only=True,
                value={
                    "profile": {
                        "anonymous_id": "8b0c7f3e-0d5c-4a53-9f0e-6d1f4f3b8a11",
                        "external_id": "C-1001",
                        "proof": "4d0e…",
                    }
                },
            ),
            OpenApiExample(
                "A banner waits",
                response_only=True,
                status_codes=["200"],
                value={
                    "messages": [
                        {
                            "token": "3D7.Zk1vY2hDd0V4YW1wbGVTaWduYXR1cmU",
                            "state": "waiting",
                            "expires_at": "2026-02-07T12:00:00Z",
                            "locale": "",
                            "title": "Your cart waits",
                            "text": "Two beans and a kettle.",
                            "button": "Look",
                            "url": "/cart",
                            "image": "",
                            "style": "banner",
                            "close": "Close",
                        }
                    ]
                },
            ),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Answer with what waits."""
        limits.check("inbox", request.auth, limits.address(request))
        given = self.parsed(request, _Visitor).profile
        if BROWSER in request.auth.scopes and given.id is not None:
            detail = _("A browser key can't name profiles by id.")
            raise ApiError(400, "not_allowed", detail, field="profile.id")
        try:
            # A click tells whom a message was sent to, not who reads it now: it opens no inbox.
            reference = msgspec.structs.replace(identity.normal(given), click=None)
            who = proof.judge(request.auth, reference)
        except normalise.Rejection as rejection:
            raise rejected(rejection) from rejection
        person = inbox.owner(who)
        return encoded(
            {"messages": [] if person is None else inbox.messages(person, timezone.now())}, status=200
        )
