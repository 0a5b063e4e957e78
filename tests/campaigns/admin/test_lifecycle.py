"""Publishing, pausing, resuming and stopping in the builder, and who is where."""

import re

from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.flows import editing, publish
from campaigns.models import Flow
from tests.campaigns.admin.asking import inside, latest, post, text, url


class TestLife:
    def test_problems_are_listed_with_where_they_are(self, flow, publisher):
        broken = editing.update(flow.draft, "m1", config={"message": "gone"})
        Flow.objects.filter(pk=flow.pk).update(draft=broken)
        shown = text(publisher.get(url("publish", flow)))
        assert "goTo('step-m1')" in shown
        assert "There is no such message any more" in shown
        assert "There is no such message any more" in text(post(publisher, url("publish", flow), flow))
        assert latest(flow).live_version is None

    def test_publishing_says_what_changes_and_for_whom(self, flow, publisher):
        assert "Publish the flow?" in text(publisher.get(url("publish", flow)))
        post(publisher, url("publish", flow), flow)
        flow = latest(flow)
        assert flow.state == Flow.State.LIVE
        inside(flow, 3)
        changed = editing.remove(editing.update(flow.draft, "w1", config={"amount": 2}), "x1")[0]
        changed = editing.insert(changed, "", 3, {"key": "n1", "kind": "exit", "config": {"reason": "end"}})
        Flow.objects.filter(pk=flow.pk).update(draft=changed)
        shown = text(publisher.get(url("publish", flow)))
        assert re.search(r"New</h3> <ul[^>]*><li>Exit: end</li></ul>", shown)
        assert re.search(r"Taken out</h3> <ul[^>]*><li>Exit: has ordered</li></ul>", shown)
        assert re.search(r"Changed</h3> <dl.*<del>1 minute</del> <ins>2 hours</ins>", shown)
        assert "Moved</h3>" not in shown
        assert "3 people are inside" in shown
        post(publisher, url("publish", flow), flow)
        assert latest(flow).live_version.number == 2
        assert set(flow.enrollments.values_list("version__number", flat=True)) == {1}

    def test_a_draft_that_changed_meanwhile_is_not_published(self, flow, publisher):
        response = publisher.post(url("publish", flow), {"revision": flow.revision + 1})
        assert response.status_code == 409
        assert latest(flow).live_version is None

    def test_a_second_click_makes_no_second_version(self, flow, publisher):
        post(publisher, url("publish", flow), flow)
        post(publisher, url("publish", flow), flow)
        assert flow.versions.count() == 1

    def test_pause_resume_and_stop_say_how_many(self, flow, publisher):
        publish.publish(flow.pk)
        inside(latest(flow), 2)
        assert "2 people hold their place" in text(publisher.get(url("pause", flow)))
        post(publisher, url("pause", flow), flow)
        assert latest(flow).state == Flow.State.PAUSED
        shown = text(publisher.get(url("resume", flow)))
        assert "2 people go on" in shown
        assert "2 of them move at once" in shown
        post(publisher, url("resume", flow), flow)
        assert latest(flow).state == Flow.State.LIVE
        assert "Only a paused flow can be resumed" in post(publisher, url("resume", flow), flow)["HX-Trigger"]
        assert "2 people leave the flow now" in text(publisher.get(url("stop", flow)))
        post(publisher, url("stop", flow), flow)
        assert latest(flow).state == Flow.State.STOPPED
        assert not flow.enrollments.filter(state="active").exists()


class TestPeople:
    def test_counts_are_polled_alone(self, flow, viewer):
        publish.publish(flow.pk)
        inside(latest(flow), 2)
        shown = text(viewer.get(url("counts", flow)))
        assert '<b id="total-inside" hx-swap-oob="true">2</b>' in shown
        assert "2 here now" in shown
        assert "flow-tree" not in shown

    def test_who_is_at_a_step_in_pages(self, flow, viewer):
        publish.publish(flow.pk)
        inside(latest(flow), 30)
        first = text(viewer.get(url("people", flow, key="w1")))
        assert "30 people are at this step" in first
        assert first.count("Person ") == 25
        assert text(viewer.get(url("people", flow, key="w1") + "?page=2")).count("Person ") == 5
        assert "Nobody is here" in text(viewer.get(url("people", flow, key="m1")))
        assert "/admin/crm/profile/" not in first, "who may not see profiles gets no links to them"

    def test_the_number_of_queries_does_not_grow_with_people(
        self, flow, viewer, django_assert_max_num_queries
    ):
        publish.publish(flow.pk)
        numbers = []
        for more in (1, 40):
            inside(latest(flow), more)
            with CaptureQueriesContext(
                connection,
            ) as queries:
                viewer.get(url("builder", flow))
            numbers.append(len(queries))
        assert numbers[0] == numbers[1] < 45

    def test_a_message_is_previewed(self, flow, viewer):
        shown = text(viewer.get(url("message", flow) + "?message=hello&channel=webpush"))
        assert "Hello there" in shown
        assert "no text for this channel" in text(
            viewer.get(url("message", flow) + "?message=hello&channel=sms")
        )
        assert viewer.get(url("message", flow)).content.strip() == b""
