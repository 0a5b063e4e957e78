"""The shapes of requests and answers, for the OpenAPI document. msgspec does the parsing."""

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema_field
from rest_framework import serializers

from crm import references

MAX_ROWS = 1000

_ERRORS = {
    400: (_("The request can't be read, or a value in it can't be taken."), "invalid_value"),
    401: (_("No key, or one that is unknown or revoked."), "not_authenticated"),
    403: (_("The key lacks the scope, or may not be used from this site."), "scope_missing"),
    404: (_("There is no such thing."), "not_found"),
    406: (_("Answers are JSON: accept application/json."), "not_acceptable"),
    409: (
        _("It collides with something else, such as a name that belongs to another profile."),
        "email_taken",
    ),
    413: (_("The body is larger than 5 MB."), "too_large"),
    415: (_("The body is not application/json."), "unsupported_media_type"),
    422: (_("This Idempotency-Key was used for another request."), "idempotency_mismatch"),
    429: (_("Too many requests; `Retry-After` says when to go on, in seconds."), "too_many_requests"),
    503: (_("Others change the same people just now; repeat it in a moment, see `Retry-After`."), "busy"),
}


class ErrorDetail(serializers.Serializer):
    """What is wrong. Programs look at `code`, people at `detail`."""

    code = serializers.CharField()
    detail = serializers.CharField()
    field = serializers.CharField(
        required=False, help_text=_("The part of the request, such as profile.email.")
    )


class Error(serializers.Serializer):
    """The body of every answer that is not a success."""

    error = ErrorDetail()


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """The error answers of an endpoint, for extend_schema(responses=…)."""
    return {
        status: OpenApiResponse(
            Error,
            description=str(_ERRORS[status][0]),
            examples=[
                OpenApiExample(
                    _ERRORS[status][1],
                    value={"error": {"code": _ERRORS[status][1], "detail": str(_ERRORS[status][0])}},
                )
            ],
        )
        for status in statuses
    }


WRITE_ERRORS = (400, 401, 403, 413, 415, 503)


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "integer"}]})
class NumberOrText(serializers.CharField):
    """A name that may be sent as a number, too, as customer and product numbers often are."""


@extend_schema_field({"oneOf": [{"type": "number"}, {"type": "string"}]})
class Decimal(serializers.FloatField):
    """A number that may be sent as text, too, to be exact."""


class Reference(serializers.Serializer):
    """Names of one person; several at once say that they are one person."""

    external_id = serializers.CharField(required=False, allow_null=True, help_text=_("Your customer number."))
    email = serializers.EmailField(required=False, allow_null=True)
    anonymous_id = serializers.CharField(
        required=False,
        allow_null=True,
        help_text=_("A visitor's id, made by the SDK. Joined to the person once they are known."),
    )
    id = serializers.IntegerField(
        required=False, allow_null=True, help_text=_("Our number of the profile. Not for browser keys.")
    )
    proof = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=references.MAX_TOKEN,
        help_text=_("Your server's signature of the surest of these names; for browser keys."),
    )
    click = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=references.MAX_TOKEN,
        help_text=_("The token of a message that led here; for browser keys."),
    )


class RejectedRow(serializers.Serializer):
    """One row that was not taken; those beside it were."""

    index = serializers.IntegerField(help_text=_("The row's place in the request, from 0."))
    code = serializers.CharField()
    detail = serializers.CharField()
    field = serializers.CharField(allow_blank=True)


class ProfileFields(serializers.Serializer):
    """Fields left out stay as they are; null clears one. Attributes are merged name by name."""

    external_id = NumberOrText(required=False, allow_null=True)
    email = serializers.EmailField(required=False, allow_null=True)
    phone = serializers.CharField(
        required=False, allow_null=True, help_text=_("E.164, such as +48601234567.")
    )
    first_name = serializers.CharField(required=False, allow_null=True)
    last_name = serializers.CharField(required=False, allow_null=True)
    language = serializers.CharField(required=False, allow_null=True, help_text=_("BCP 47, such as pt-BR."))
    timezone = serializers.CharField(
        required=False, allow_null=True, help_text=_("IANA, such as Europe/Warsaw.")
    )
    country = serializers.CharField(required=False, allow_null=True, help_text=_("ISO 3166, such as PL."))
    city = serializers.CharField(required=False, allow_null=True)
    latitude = Decimal(required=False, allow_null=True, help_text=_("-90 to 90."))
    longitude = Decimal(required=False, allow_null=True, help_text=_("-180 to 180."))
    birthday = serializers.DateField(required=False, allow_null=True)
    lifecycle_stage = serializers.CharField(required=False, allow_null=True)
    attributes = serializers.DictField(required=False, help_text=_("Your own fields: any JSON values."))


class Event(serializers.Serializer):
    """One thing that a person did."""

    id = serializers.UUIDField(
        required=False, allow_null=True, help_text=_("Sending the same id again stores nothing twice.")
    )
    name = serializers.CharField(max_length=100)
    profile = Reference()
    occurred_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text=_("RFC 3339; now, unless told.")
    )
    properties = serializers.DictField(required=False, help_text=_("Any JSON object of up to 16 KB."))
    patch = ProfileFields(
        required=False,
        help_text=_(
            "Fields of the profile that change with it, applied before the event starts anything. "
            "From browsers they only fill gaps."
        ),
    )


class Events(serializers.Serializer):
    events = serializers.ListField(child=Event(), min_length=1, max_length=MAX_ROWS)
    sent_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text=_("The sender's clock; it sets right the times of one that is wrong."),
    )


class EventsResult(serializers.Serializer):
    accepted = serializers.IntegerField(help_text=_("Stored now."))
    duplicates = serializers.IntegerField(help_text=_("Stored before."))
    rejected = RejectedRow(many=True)


class StoredEvent(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    profile = serializers.IntegerField(help_text=_("Our number of the profile."))
    occurred_at = serializers.DateTimeField()
    received_at = serializers.DateTimeField()
    properties = serializers.DictField()
    source = serializers.CharField(help_text=_("Who sent it, such as api, sdk, or a connection."))
    clock = serializers.CharField(
        allow_blank=True,
        help_text=_("Why the time is not the sender's: missing, ahead, corrected; empty where it is."),
    )


class EventPage(serializers.Serializer):
    events = StoredEvent(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text=_("Send it as `cursor`; null on the last page.")
    )


class ConsentState(serializers.Serializer):
    kind = serializers.ChoiceField(choices=["channel", "topic"])
    key = serializers.CharField()
    state = serializers.CharField(help_text=_("subscribed, pending (a no until confirmed) or unsubscribed"))
    changed_at = serializers.DateTimeField()


class ProfileIdentifier(serializers.Serializer):
    kind = serializers.CharField(
        help_text=_("external_id, email, phone, anonymous_id or <connection>:<object>")
    )
    value = serializers.CharField()


class ProfileInput(ProfileFields):
    """One profile, found by external_id, else email, else phone, unless `id` is given."""

    id = serializers.IntegerField(required=False, allow_null=True)


class ToldBy(serializers.Serializer):
    source = serializers.CharField(help_text=_("api, sdk, admin or <connection>:<object>"))
    at = serializers.DateTimeField()


class ProfileOutput(ProfileFields):
    id = serializers.IntegerField()
    external_id = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    birthday = serializers.DateField(allow_null=True)
    attributes = serializers.DictField()
    computed = serializers.DictField(
        help_text=_(
            "Computed attributes by name: numbers, texts, truth values or times; null where there is none."
        )
    )
    sources = serializers.DictField(
        child=ToldBy(), help_text=_("Who told each field last; attributes are called attributes.<name>.")
    )
    first_seen = serializers.DateTimeField(allow_null=True)
    last_seen = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    identifiers = ProfileIdentifier(many=True)
    consents = ConsentState(many=True)


class ProfileChanged(serializers.Serializer):
    id = serializers.IntegerField()
    state = serializers.ChoiceField(choices=["created", "updated", "unchanged"])
    profile = ProfileOutput(required=False, help_text=_("As it is now; for keys that may read."))


class Profiles(serializers.Serializer):
    profiles = serializers.ListField(child=ProfileInput(), min_length=1, max_length=MAX_ROWS)


class ProfilesResult(serializers.Serializer):
    created = serializers.IntegerField()
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    rejected = RejectedRow(many=True)


class ProfilePage(serializers.Serializer):
    profiles = ProfileOutput(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text=_("Send it as `cursor`; null on the last page.")
    )
