"""Topics: what people can take or leave."""

from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from crm import topics
from crm.api import paging, schemas
from crm.api.auth import READ, WRITE
from crm.api.errors import ApiError, rejected
from crm.api.views import ApiView, encoded
from crm.models import LegalBasis, Topic
from crm.normalise import Rejection


class TopicWords(serializers.Serializer):
    name = serializers.CharField(required=False, max_length=topics.MAX_NAME)
    description = serializers.CharField(required=False, max_length=topics.MAX_DESCRIPTION)


class TopicChangeSchema(serializers.Serializer):
    """What is left out stays as it is."""

    name = serializers.CharField(required=False, max_length=topics.MAX_NAME)
    description = serializers.CharField(required=False, allow_blank=True, max_length=topics.MAX_DESCRIPTION)
    translations = serializers.DictField(
        child=TopicWords(),
        required=False,
        help_text=gettext_lazy('By language, such as {"ar": {"name": "…"}}.'),
    )
    position = serializers.IntegerField(required=False, min_value=0, max_value=topics.MAX_POSITION)
    shown = serializers.BooleanField(
        required=False, help_text=gettext_lazy("Whether people may choose it on their preference page.")
    )
    needs_yes = serializers.BooleanField(
        required=False,
        help_text=gettext_lazy("Otherwise who agreed to the channel gets it until they say no."),
    )
    double_opt_in = serializers.BooleanField(required=False)
    legal_basis = serializers.ChoiceField(choices=LegalBasis.choices, required=False)


class NewTopicSchema(TopicChangeSchema):
    slug = serializers.RegexField(r"^[-a-zA-Z0-9_]{1,50}$")
    name = serializers.CharField(max_length=topics.MAX_NAME)


class TopicSchema(serializers.Serializer):
    slug = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    translations = serializers.DictField(child=TopicWords())
    position = serializers.IntegerField()
    shown = serializers.BooleanField()
    needs_yes = serializers.BooleanField()
    double_opt_in = serializers.BooleanField()
    legal_basis = serializers.ChoiceField(choices=LegalBasis.choices)


class TopicPageSchema(serializers.Serializer):
    topics = TopicSchema(many=True)
    next_cursor = serializers.CharField(allow_null=True)


_NEWS = {
    "slug": "news",
    "name": "News",
    "description": "What is new, once a month.",
    "translations": {"ar": {"name": "الأخبار"}},
    "position": 1,
    "shown": True,
    "needs_yes": False,
    "double_opt_in": False,
    "legal_basis": "consent",
}
_SLUG = OpenApiParameter(
    "slug",
    {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"},
    OpenApiParameter.PATH,
    description="Its short name.",
)


def _answer(status: int) -> OpenApiExample:
    return OpenApiExample("A topic", value=_NEWS, response_only=True, status_codes=[str(status)])


class TopicsView(ApiView):
    scopes = {"GET": {READ}, "POST": {WRITE}}

    @extend_schema(
        operation_id="topics_list",
        tags=["consent"],
        summary="All topics",
        parameters=paging.PARAMETERS,
        responses={200: OpenApiResponse(TopicPageSchema, description="One page.")},
        examples=[
            OpenApiExample(
                "One topic",
                value={"topics": [_NEWS], "next_cursor": None},
                response_only=True,
                status_codes=["200"],
            )
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        """One page, in the order of the preference page."""
        return encoded(paging.page(request, Topic.objects.all(), "topics", as_json, ("position", "id")))

    @extend_schema(
        operation_id="topics_create",
        tags=["consent"],
        summary="Make a topic",
        request=NewTopicSchema,
        responses={
            201: OpenApiResponse(TopicSchema, description="Made."),
            **schemas.errors(409, 413, 415),
        },
        examples=[
            OpenApiExample("News", value={"slug": "news", "name": "News"}, request_only=True),
            _answer(201),
        ],
    )
    def post(self, request: Request) -> HttpResponse:
        """Make it, unless there is one of this name."""
        try:
            topic = topics.create(self.parsed(request, dict[str, Any]))
        except Rejection as rejection:
            raise rejected(rejection) from rejection
        return encoded(as_json(topic), status=201)


class TopicView(ApiView):
    scopes = {"GET": {READ}, "PATCH": {WRITE}, "DELETE": {WRITE}}

    @extend_schema(
        operation_id="topics_get",
        tags=["consent"],
        summary="One topic",
        parameters=[_SLUG],
        responses={200: OpenApiResponse(TopicSchema, description="The topic."), **schemas.errors(404)},
        examples=[_answer(200)],
    )
    def get(self, request: Request, slug: str) -> HttpResponse:
        """The topic."""
        return encoded(as_json(_existing(slug)))

    @extend_schema(
        operation_id="topics_change",
        tags=["consent"],
        summary="Change a topic",
        parameters=[_SLUG],
        request=TopicChangeSchema,
        responses={
            200: OpenApiResponse(TopicSchema, description="The topic as it is now."),
            **schemas.errors(404, 413, 415),
        },
        examples=[
            OpenApiExample("Ask first", value={"needs_yes": True}, request_only=True),
            _answer(200),
        ],
    )
    def patch(self, request: Request, slug: str) -> HttpResponse:
        """Change what is given."""
        topic = _existing(slug)
        try:
            return encoded(as_json(topics.change(topic, self.parsed(request, dict[str, Any]))))
        except Rejection as rejection:
            raise rejected(rejection) from rejection

    @extend_schema(
        operation_id="topics_delete",
        tags=["consent"],
        summary="Delete a topic",
        description="People's answers about it stay: they count again when a topic of this name is made.",
        parameters=[_SLUG],
        responses={204: OpenApiResponse(description="Gone."), **schemas.errors(404)},
    )
    def delete(self, request: Request, slug: str) -> HttpResponse:
        """Delete it."""
        _existing(slug).delete()
        return HttpResponse(status=204)


def as_json(topic: Topic) -> dict[str, Any]:
    """A topic as the API gives it."""
    return {name: getattr(topic, name) for name in topics.FIELDS}


def _existing(slug: str) -> Topic:
    topic = Topic.objects.filter(slug=slug).first()
    if topic is None:
        raise ApiError(404, "not_found", _("There is no such topic."))
    return topic
