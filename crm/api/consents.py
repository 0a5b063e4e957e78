"""What people agreed to: in, and the history of one person out."""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import answers, consent, identity, limits, opt_in, proof
from crm.api import filters, paging, schemas
from crm.api.auth import BROWSER, READ, WRITE
from crm.api.cors import BrowserAccess
from crm.api.errors import ApiError
from crm.api.profiles import MERGED, PROFILE_ID, existing
from crm.api.views import ApiView, decoded, encoded
from crm.identity import Reference
from crm.ingest import Rejected
from crm.models import ConsentChange, LegalBasis
from crm.normalise import Rejection

MAX_OWN = 50  # rows of a browser's request: they are about one person


class _Body(msgspec.Struct):
    consents: list[msgspec.Raw]
    profile: Reference | None = None


class AnswerSchema(serializers.Serializer):
    """One answer. `profile` is only needed where it is another than the request's."""

    kind = serializers.ChoiceField(choices=["channel", "topic"])
    key = serializers.CharField(help_text=gettext_lazy("The channel or topic, such as email or news."))
    state = serializers.ChoiceField(choices=["subscribed", "unsubscribed"])
    changed_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text=gettext_lazy("When they said so; now, unless told.")
    )
    wording = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=answers.MAX_WORDING,
        help_text=gettext_lazy("What they were asked, word for word."),
    )
    wording_version = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=answers.MAX_VERSION,
        help_text=gettext_lazy("Such as 2026-03."),
    )
    legal_basis = serializers.ChoiceField(
        choices=LegalBasis.choices,
        required=False,
        allow_null=True,
        help_text=gettext_lazy("That of the topic or channel, unless told."),
    )
    page = serializers.CharField(
        required=False,
        allow_null=True,
        max_length=answers.MAX_PAGE,
        help_text=gettext_lazy("Where they were asked; its query is not kept."),
    )
    language = serializers.CharField(required=False, allow_null=True, help_text=gettext_lazy("BCP 47."))
    confirmed = serializers.BooleanField(
        required=False,
        help_text=gettext_lazy(
            "They have confirmed it to you, so that no double opt-in is needed. Not for browser keys."
        ),
    )
    profile = schemas.Reference(required=False, allow_null=True)


class AnswersSchema(serializers.Serializer):
    profile = schemas.Reference(
        required=False, allow_null=True, help_text=gettext_lazy("Whose answers they are, unless a row says.")
    )
    consents = serializers.ListField(child=AnswerSchema(), min_length=1, max_length=schemas.MAX_ROWS)


class AnswersResultSchema(serializers.Serializer):
    accepted = serializers.IntegerField()
    pending = serializers.IntegerField(
        help_text=gettext_lazy("Of these, those that count once the person has confirmed them.")
    )
    rejected = schemas.RejectedRow(many=True)


class ConsentEntrySchema(serializers.Serializer):
    """One entry of the ledger."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(choices=["channel", "topic"])
    key = serializers.CharField()
    state = serializers.ChoiceField(choices=["subscribed", "pending", "unsubscribed"])
    source = serializers.CharField()
    wording = serializers.CharField(allow_blank=True)
    wording_version = serializers.CharField(allow_blank=True)
    legal_basis = serializers.ChoiceField(choices=LegalBasis.choices)
    proof = serializers.DictField()
    changed_at = serializers.DateTimeField()


class ConsentHistorySchema(serializers.Serializer):
    consents = ConsentEntrySchema(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class ConsentFilters(filters.Filters):
    """About what."""

    kind = filters.TextFilter(help_text=gettext_lazy("channel or topic."))
    key = filters.TextFilter(help_text=gettext_lazy("The channel's or topic's name."))


_REQUEST = OpenApiExample(
    "A newsletter form",
    request_only=True,
    value={
        "profile": {"email": "ada@example.com"},
        "consents": [
            {
                "kind": "channel",
                "key": "email",
                "state": "subscribed",
                "wording": "Yes, write to me by email.",
                "page": "https://shop.example.com/newsletter",
            },
            {"kind": "topic", "key": "offers", "state": "unsubscribed"},
        ],
    },
)
_RESULT = OpenApiExample(
    "Taken; one waits for its confirmation",
    response_only=True,
    status_codes=["200"],
    value={"accepted": 2, "pending": 1, "rejected": []},
)
_HISTORY = OpenApiExample(
    "The last page",
    response_only=True,
    status_codes=["200"],
    value={
        "consents": [
            {
                "id": 7,
                "kind": "channel",
                "key": "email",
                "state": "subscribed",
                "source": "double_opt_in",
                "wording": "Yes, write to me by email.",
                "wording_version": "",
                "legal_basis": "consent",
                "proof": {"page": "https://shop.example.com/newsletter", "language": "en"},
                "changed_at": "2026-01-31T12:00:00Z",
            }
        ],
        "next_cursor": None,
    },
)


class ConsentsView(BrowserAccess, ApiView):
    scopes = {"POST": {WRITE, BROWSER}}

    @extend_schema(
        operation_id="consents_create",
        tags=["consent"],
        summary="Record what people agree to and refuse",
        description="Each row is judged alone: a bad one is listed in `rejected`, those beside it are stored. Older "
        "answers do not undo newer ones. Where the topic or channel asks for double opt-in, a yes waits as `pending` "
        "and `consent_requested` goes into the event log. A browser key records only the answers of its own visitor, "
        "by `anonymous_id` or a name with a proof.",
        request=AnswersSchema,
        responses={
            200: OpenApiResponse(AnswersResultSchema, description="Done; see `rejected` for what was not."),
            **schemas.errors(413, 415),
        },
        examples=[_REQUEST, _RESULT],
    )
    def post(self, request: Request) -> HttpResponse:
        """Check row by row, then store the good ones at once."""
        body = self.parsed(request, _Body)
        public = BROWSER in request.auth.scopes
        most = MAX_OWN if public else schemas.MAX_ROWS
        if not 1 <= len(body.consents) <= most:
            detail = _("Send 1 to %d answers at a time.") % most
            raise ApiError(400, "invalid_batch", detail, field="consents")
        limits.check("consents", request.auth, limits.address(request), len(body.consents))
        source, now, known = "sdk" if public else "api", timezone.now(), answers.topics()
        agent = request.META.get("HTTP_USER_AGENT", "") if public else ""
        given: list[answers.Given] = []
        refused: list[Rejected] = []
        for place, raw in enumerate(body.consents):
            try:
                row = decoded(bytes(raw), answers.Row)
                if public:
                    row.confirmed = False
                reference, proven = _whose(request, row.profile or body.profile)
                given.append(answers.checked(place, row, reference, proven, source, now, known, agent))
            except Rejection as error:
                refused.append(Rejected(place, error.code, error.detail, error.field))
            except ApiError as error:
                refused.append(
                    Rejected(place, error.detail.code, str(error.detail), error.more.get("field", ""))
                )
        stored = answers.store(given, source, now)
        pending = _doubtful(given) if public else stored.pending
        refused += [Rejected(place, each.code, each.detail, each.field) for place, each in stored.rejected]
        return encoded(
            {
                "accepted": stored.taken,
                "pending": pending,
                "rejected": sorted(refused, key=lambda each: each.index),
            }
        )


class ProfileConsentsView(ApiView):
    scopes = {"GET": {READ}}

    @extend_schema(
        operation_id="profiles_consents",
        tags=["consent"],
        summary="The history of one person's answers",
        description="The ledger, the latest first. It is only ever added to.",
        parameters=[PROFILE_ID, *filters.parameters(ConsentFilters), *paging.PARAMETERS],
        responses={
            200: OpenApiResponse(ConsentHistorySchema, description="One page."),
            **schemas.errors(404),
        },
        examples=[_HISTORY, MERGED],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """One page of the ledger."""
        existing(pk)
        query = filters.filtered(request, ConsentChange.objects.filter(profile_id=pk), ConsentFilters)
        return encoded(paging.page(request, query, "consents", _entry, ("-changed_at", "-id")))


def _whose(request: Request, reference: Reference | None) -> tuple[Reference, bool]:
    """Whom a row is about, and whether that is certain.

    A page may tell what its own visitor answered: who merely claims a name must not answer for its owner.
    """
    if reference is None:
        raise Rejection("missing_field", "profile", _("%(field)s is missing.") % {"field": "profile"})
    if BROWSER in request.auth.scopes and reference.id is not None:
        raise Rejection("not_allowed", "profile.id", _("A browser key can't name profiles by id."))
    judged = proof.judge(request.auth, identity.normal(reference))
    if judged.proven:
        return judged.reference, True
    own = Reference(anonymous_id=judged.reference.anonymous_id)
    if not own.anonymous_id:
        detail = _("A browser key names its visitor by anonymous_id, or by a name with a proof.")
        raise Rejection("proof_required", "profile", detail)
    return own, False


def _doubtful(given: Sequence[answers.Given]) -> int:
    """How many of a page's answers would have to be confirmed by somebody new: whether this person has confirmed them
    before is nothing that a page may find out."""
    terms = opt_in.terms({(each.change.kind, each.change.key) for each in given})
    return sum(
        each.change.state == consent.SUBSCRIBED and terms[each.change.kind, each.change.key].double_opt_in
        for each in given
    )


def _entry(entry: ConsentChange) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "kind": entry.kind,
        "key": entry.key,
        "state": entry.state,
        "source": entry.source,
        "wording": entry.wording,
        "wording_version": entry.wording_version,
        "legal_basis": entry.legal_basis,
        "proof": entry.proof,
        "changed_at": entry.changed_at,
    }
