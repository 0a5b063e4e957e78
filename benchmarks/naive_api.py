"""Event endpoints as one writes them first with Django REST Framework, beside the product's (`benchmarks.naive_wsgi`).

They store into the same table, but only that: people must be there already and are named by our numbers, one wrong
row refuses all, and nobody is told that events came.
"""

from django.urls import path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.response import Response
from rest_framework.views import APIView

from crm.api.auth import HasScope
from crm.models import Event


class EventSerializer(serializers.ModelSerializer):
    """As generated from the model: each row's profile is looked up."""

    id = serializers.UUIDField()

    class Meta:
        model = Event
        fields = ["id", "name", "profile", "occurred_at", "properties"]


class LeanSerializer(EventSerializer):
    """The profile's number is taken as it is."""

    profile = serializers.IntegerField(source="profile_id")


class NaiveView(APIView):
    permission_classes = [HasScope]
    scopes = {"POST": {"write"}}
    serializer = EventSerializer

    def post(self, request):
        """Validate all and store all."""
        serializer = self.serializer(data=request.data, many=True)
        serializer.is_valid(raise_exception=True)
        now = timezone.now()
        events = [
            Event(**fields, received_at=now, source="naive", seq=0, txid=1)
            for fields in serializer.validated_data
        ]
        Event.objects.bulk_create(events, ignore_conflicts=True)
        return Response({"accepted": len(events)}, status=202)


class LeanView(NaiveView):
    serializer = LeanSerializer


urlpatterns = [path("naive/", NaiveView.as_view()), path("lean/", LeanView.as_view())]
