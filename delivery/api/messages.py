"""Messages that programs ask for, and what became of them."""

import hashlib
import uuid
from datetime import datetime
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import normalise, profiles
from crm.api import schemas
from crm.api.auth import READ, READ_MASKED, SEND
from crm.api.errors import ApiError, rejected
from crm.api.views import ApiView, decoded, encoded
from crm.normalise import Rejection
from delivery import transactional
from delivery.models import Attempt, Delivery, Message

SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"},
    OpenApiParameter.PATH,
    description="The message's short name.",
)
_STATUS = {
    "id": 7001,
    "message": "receipt",
    "channel": "email",
    "state": "sent",
    "reason": "",
    "queued_at": "2026-01-31T12:00:00Z",
    "due_at": "2026-01-31T12:00:00Z",
    "expires_at": "2026-02-01T12:00:00Z",
    "sent_at": "2026-01-31T12:00:01Z",
    "delivered_at": None,
    "attempts": [{"at": "2026-01-31T12:00:00.9Z", "outcome": "accepted", "status_code": 250, "cost": None}],
}
_QUEUED = {
    **{name: _STATUS[name] for name in ("id", "message", "channel")},
    "state": "queued",
    "repeated": False,
}
_ONE = {
    "profile": {"email": "ada@example.com", "first_name": "Ada"},
    "data": {"order": {"number": "A-1001", "total": "129.00"}},
    "idempotency_key": "receipt-A-1001",
}


class _Send(msgspec.Struct, forbid_unknown_fields=True):
    profile: dict[str, Any] | None = None
    address: str | None = None
    channel: str | None = None
    data: dict[str, Any] = {}
    idempotency_key: str | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None


class _Bulk(msgspec.Struct, forbid_unknown_fields=True):
    sends: list[msgspec.Raw]


class WhoSchema(schemas.ProfileFields):
    """Names the person by `id`, `external_id`, `email` or `phone`; the rest is stored with them."""

    id = serializers.IntegerField(required=False, allow_null=True, help_text=gettext_lazy("Our number."))


class SendSchema(serializers.Serializer):
    profile = WhoSchema(required=False, allow_null=True)
    address = serializers.CharField(
        required=False,
        allow_null=True,
        help_text=gettext_lazy("In place of `profile`: an email address or a phone number in E.164."),
    )
    channel = serializers.CharField(
        required=False,
        allow_null=True,
        help_text=gettext_lazy(
            "One that the message is written for. Left out: the first that reaches the person."
        ),
    )
    data = serializers.DictField(
        required=False, help_text=gettext_lazy("For the text, read there as `{{ data.… }}`; at most 64 KB.")
    )
    idempotency_key = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=transactional.MAX_KEY,
        help_text=gettext_lazy("The same key sends the message once, however often it is asked for."),
    )
    send_at = serializers.DateTimeField(required=False, allow_null=True)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text=gettext_lazy("Rather dropped than sent later.")
    )


class BulkSchema(serializers.Serializer):
    sends = serializers.ListField(child=SendSchema(), min_length=1, max_length=schemas.MAX_ROWS)


class QueuedSchema(serializers.Serializer):
    id = serializers.IntegerField(help_text=gettext_lazy("Ask `deliveries/{number}/` what became of it."))
    message = serializers.CharField()
    channel = serializers.CharField()
    state = serializers.ChoiceField(choices=Delivery.State.choices)
    repeated = serializers.BooleanField(
        help_text=gettext_lazy("It had been asked for before under this key; nothing new was queued.")
    )


class QueuedRowSchema(QueuedSchema):
    index = serializers.IntegerField()


class BulkAnswerSchema(serializers.Serializer):
    queued = QueuedRowSchema(many=True)
    rejected = schemas.RejectedRow(many=True)


class AttemptSchema(serializers.Serializer):
    at = serializers.DateTimeField()
    outcome = serializers.ChoiceField(choices=Attempt.Outcome.choices)
    status_code = serializers.IntegerField(allow_null=True)
    cost = serializers.CharField(allow_null=True)


class DeliverySchema(serializers.Serializer):
    id = serializers.IntegerField()
    message = serializers.CharField()
    channel = serializers.CharField()
    state = serializers.ChoiceField(choices=Delivery.State.choices)
    reason = serializers.CharField(allow_blank=True)
    queued_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    attempts = AttemptSchema(many=True)


class SendView(ApiView):
    scopes = {"POST": {SEND}}

    @extend_schema(
        operation_id="messages_send",
        tags=["messages"],
        summary="Send a message to one person",
        description="It is queued, and goes out at once if nothing is against it: consent, suppressed addresses, quiet "
        "hours and limits count as for every message. Those of marketing do not where the message is marked as "
        "transactional and an administrator approved it. Ask for its state with `deliveries/{number}/`.",
        parameters=[SLUG],
        request=SendSchema,
        responses={
            202: OpenApiResponse(QueuedSchema, description="It is queued, or was before."),
            **schemas.errors(400, 401, 403, 404, 409, 413, 415, 422, 503),
        },
        examples=[
            OpenApiExample("A receipt", value=_ONE, request_only=True),
            OpenApiExample("Queued", value=_QUEUED, response_only=True, status_codes=["202"]),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Queue it."""
        raw = self.raw(request)
        message = _message(slug)
        wanted = _wanted(raw)
        if isinstance(wanted, Rejection):
            raise _refused(wanted)
        [answer] = _sent(message, [wanted], request)
        if isinstance(answer, Rejection):
            raise _refused(answer)
        return encoded(_queued(answer, message), 202)


class BulkSendView(ApiView):
    scopes = {"POST": {SEND}}

    @extend_schema(
        operation_id="messages_send_bulk",
        tags=["messages"],
        summary="Send a message to up to 1,000 people",
        description="Each with data of its own. Each is judged alone: `rejected` lists those that can't be taken.",
        parameters=[SLUG],
        request=BulkSchema,
        responses={
            200: OpenApiResponse(BulkAnswerSchema, description="Each was judged."),
            **schemas.errors(400, 401, 403, 404, 413, 415, 503),
        },
        examples=[
            OpenApiExample("Two receipts", value={"sends": [_ONE, {"address": "bo"}]}, request_only=True),
            OpenApiExample(
                "One of two",
                value={
                    "queued": [{"index": 0, **_QUEUED}],
                    "rejected": [
                        {
                            "index": 1,
                            "code": "invalid_value",
                            "detail": "This is no email address and no phone number.",
                            "field": "address",
                        }
                    ],
                },
                response_only=True,
                status_codes=["200"],
            ),
        ],
    )
    def post(self, request: Request, slug: str) -> HttpResponse:
        """Queue them."""
        raws = self.parsed(request, _Bulk).sends
        if not 1 <= len(raws) <= schemas.MAX_ROWS:
            detail = _("Send 1 to %d at a time.") % schemas.MAX_ROWS
            raise ApiError(400, "invalid_batch", detail, field="sends")
        message = _message(slug)
        rows = {place: _wanted(bytes(raw)) for place, raw in enumerate(raws)}
        good = {place: row for place, row in rows.items() if isinstance(row, transactional.Wanted)}
        answers: dict[int, Any] = dict(rows)
        answers |= dict(zip(good, _sent(message, list(good.values()), request), strict=True)) if good else {}
        queued = [
            {"index": place, **_queued(answer, message)}
            for place, answer in answers.items()
            if isinstance(answer, transactional.Sent)
        ]
        refused = [
            {"index": place, "code": answer.code, "detail": answer.detail, "field": answer.field}
            for place, answer in answers.items()
            if isinstance(answer, Rejection)
        ]
        return encoded({"queued": queued, "rejected": refused})


class DeliveryView(ApiView):
    scopes = {"GET": {READ, READ_MASKED, SEND}}

    @extend_schema(
        operation_id="deliveries_read",
        tags=["messages"],
        summary="What became of a message",
        description="A key that may only send sees what programs asked for.",
        parameters=[
            OpenApiParameter(
                "number", {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, OpenApiParameter.PATH
            )
        ],
        responses={
            200: OpenApiResponse(DeliverySchema, description="Its state, and the calls to the provider."),
            **schemas.errors(401, 403, 404),
        },
        examples=[OpenApiExample("Sent", value=_STATUS, response_only=True, status_codes=["200"])],
    )
    def get(self, request: Request, number: int) -> HttpResponse:
        """Tell."""
        found = Delivery.objects.filter(pk=number).select_related("message").defer("content", "context")
        if {READ, READ_MASKED}.isdisjoint(request.auth.scopes):
            found = found.filter(origin_type=Delivery.Origin.API)
        delivery = found.first() if number < 2**63 else None
        if delivery is None:
            raise ApiError(404, "not_found", _("There is no such delivery."))
        tries = delivery.tries.order_by("pk").values("started_at", "outcome", "status_code", "cost")
        return encoded(
            {
                "id": delivery.pk,
                "message": delivery.message.slug,
                "channel": delivery.channel,
                "state": delivery.state,
                "reason": delivery.reason,
                "queued_at": delivery.queued_at,
                "due_at": delivery.due_at,
                "expires_at": delivery.expires_at,
                "sent_at": delivery.sent_at,
                "delivered_at": delivery.delivered_at,
                "attempts": [
                    {
                        "at": each["started_at"],
                        "outcome": each["outcome"],
                        "status_code": each["status_code"],
                        "cost": None if each["cost"] is None else str(each["cost"]),
                    }
                    for each in tries
                ],
            }
        )


def _message(slug: str) -> Message:
    found = Message.objects.filter(slug=slug).first()
    if found is None:
        raise ApiError(404, "not_found", _("There is no such message."))
    return found


def _sent(
    message: Message, wanted: list[transactional.Wanted], request: Request
) -> list[transactional.Sent | Rejection]:
    return transactional.send(message, wanted, request.auth.pk)


def _wanted(raw: bytes) -> transactional.Wanted | Rejection:
    """One row as the service takes it, or why it can't be taken."""
    try:
        sent: _Send = decoded(raw, _Send)
        for field in ("data", "send_at", "expires_at"):
            _storable(field, getattr(sent, field))
        return transactional.Wanted(
            row=_who(sent),
            data=sent.data,
            key=uuid.uuid4().hex if sent.idempotency_key is None else sent.idempotency_key,
            fingerprint=_fingerprint(sent),
            channel=sent.channel or "",
            send_at=sent.send_at,
            expires_at=sent.expires_at,
        )
    except Rejection as rejection:
        return rejection
    except ApiError as error:
        return Rejection(error.detail.code, error.more.get("field", ""), str(error.detail))


def _storable(field: str, value: Any) -> None:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Rejection("invalid_value", field, _("Say the time zone, such as Z or +01:00."))
        if not 1970 < value.year < 9999:
            raise Rejection("invalid_value", field, _("This is no time that can be."))
    elif b"\\u0000" in msgspec.json.encode(value):
        raise Rejection("invalid_value", field, _("NUL is not allowed here."))


def _who(sent: _Send) -> profiles.Row:
    if (sent.profile is None) == (sent.address is None):
        raise Rejection("missing_key", "profile", _("Give either profile or address."))
    if sent.profile is not None:
        try:
            return profiles.row(sent.profile)
        except Rejection as rejection:
            field = f"profile.{rejection.field}" if rejection.field else "profile"
            raise Rejection(rejection.code, field, rejection.detail) from rejection
    given = (sent.address or "").strip()
    try:
        if "@" in given:
            email = normalise.email(given, "address")
            return profiles.row({"email": email})
        phone = normalise.phone(given, field="address")
        return profiles.row({"phone": phone})
    except Rejection as rejection:
        detail = _("This is no email address and no phone number.")
        raise Rejection("invalid_value", "address", detail) from rejection


def _fingerprint(sent: _Send) -> str:
    told = {name: getattr(sent, name) for name in sent.__struct_fields__ if name != "idempotency_key"}
    return hashlib.blake2b(msgspec.json.encode(told, order="deterministic"), digest_size=16).hexdigest()


def _queued(answer: transactional.Sent, message: Message) -> dict[str, Any]:
    delivery = answer.delivery
    return {
        "id": delivery.pk,
        "message": message.slug,
        "channel": delivery.channel,
        "state": delivery.state,
        "repeated": answer.repeated,
    }


def _refused(rejection: Rejection) -> ApiError:
    if rejection.code == "idempotency_mismatch":
        return ApiError(422, rejection.code, rejection.detail, field=rejection.field)
    if rejection.code == "nothing_written":
        return ApiError(409, rejection.code, rejection.detail)
    return rejected(rejection)
