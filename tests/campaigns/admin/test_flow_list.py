"""The list of flows, making one and deleting one."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from campaigns.flows import publish
from campaigns.models import Enrollment, Flow
from crm.models import Profile

LIST = "admin:campaigns_flow_changelist"


def test_an_empty_list_says_what_to_do(db, editor):
    assert "Make the first flow" in editor.get(reverse(LIST)).content.decode()


def test_the_list_counts_people_without_a_query_for_each_flow(flow, editor):
    numbers = []
    for more in (1, 4):
        for index in range(more):
            copy = Flow.objects.create(
                slug=f"copy-{more}-{index}", name=f"Copy {more}{index}", draft=flow.draft
            )
            publish.publish(copy.pk)
            copy.refresh_from_db()
            person = Profile.objects.create()
            for state in ("active", "completed"):
                Enrollment.objects.create(
                    flow=copy, version=copy.live_version, profile=person, run_key=state, state=state,
                    entered_at=timezone.now(), ended_at=timezone.now(),
                )  # fmt: skip
        with CaptureQueriesContext(connection) as queries:
            page = editor.get(reverse(LIST)).content.decode()
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]
    assert len(re.findall(r"field-inside[^>]*>\s*1\s*<", page)) == 5, "one person inside each copy"
    assert "push_subscribed" in page


def test_a_new_flow_asks_for_its_name_only_and_opens_the_builder(db, editor):
    for name, slug in (
        ("Welcome series", "welcome-series"),
        ("Welcome series", "welcome-series-2"),
        ("سلة", "flow"),
    ):
        response = editor.post(reverse("admin:campaigns_flow_add"), {"name": name})
        made = Flow.objects.latest("pk")
        assert (made.slug, made.state) == (slug, Flow.State.DRAFT)
        assert response["Location"] == reverse("admin:campaigns_flow_builder", args=[made.pk])
        assert editor.get(response["Location"]).status_code == 200


def test_a_click_on_a_flow_opens_the_builder(flow, viewer):
    response = viewer.get(reverse("admin:campaigns_flow_change", args=[flow.pk]))
    assert response["Location"] == reverse("admin:campaigns_flow_builder", args=[flow.pk])


def test_a_flow_made_elsewhere_with_an_empty_draft_can_be_opened(db, editor):
    made = Flow.objects.create(slug="bare", name="Bare")
    assert editor.get(reverse("admin:campaigns_flow_builder", args=[made.pk])).status_code == 200


class TestDeleting:
    def gone(self, client, flow) -> bool:
        client.post(reverse("admin:campaigns_flow_delete", args=[flow.pk]), {"post": "yes"})
        return not Flow.objects.filter(pk=flow.pk).exists()

    def test_a_draft_that_never_ran_may_go(self, flow, editor):
        assert (
            "Delete this draft"
            in editor.get(reverse("admin:campaigns_flow_settings", args=[flow.pk])).content.decode()
        )
        assert self.gone(editor, flow)

    @pytest.mark.parametrize("state", Flow.State.values)
    def test_what_ran_stays(self, flow, editor, state):
        publish.publish(flow.pk)
        Flow.objects.filter(pk=flow.pk).update(state=state)
        assert not self.gone(editor, flow)

    def test_a_viewer_deletes_nothing(self, flow, viewer):
        assert not self.gone(viewer, flow)

    def test_many_at_once_is_not_offered(self, flow, editor):
        assert "delete_selected" not in editor.get(reverse(LIST)).content.decode()
