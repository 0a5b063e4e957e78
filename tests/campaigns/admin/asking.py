"""Asking the builder for things, as a browser would."""

import re
from html import unescape

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from campaigns.models import Enrollment, Flow
from crm.models import Profile


def url(name: str, flow: Flow, **parts: str) -> str:
    return reverse(f"admin:campaigns_flow_{name}", kwargs={"pk": flow.pk, **parts})


def text(response) -> str:
    return unescape(re.sub(r"\s+", " ", response.content.decode()))


def latest(flow: Flow) -> Flow:
    return Flow.objects.select_related("live_version").get(pk=flow.pk)


def post(client: Client, address: str, flow: Flow, **values):
    return client.post(address, {"revision": latest(flow).revision, **values}, headers={"HX-Request": "true"})


def inside(flow: Flow, number: int, step: str = "w1") -> None:
    people = Profile.objects.bulk_create(
        [Profile(first_name=f"Person {index:03}") for index in range(number)]
    )
    Enrollment.objects.bulk_create(
        [
            Enrollment(
                flow=flow,
                version=flow.live_version,
                profile=person,
                run_key="once",
                step=step,
                due_at=timezone.now(),
                entered_at=timezone.now(),
            )  # fmt: skip
            for person in people
        ]
    )
