"""A second person's yes before a flow goes live."""

import pytest

from campaigns.flows import approval, editing, publish
from campaigns.models import Flow, FlowApproval, FlowSettings
from crm.models import Alert, AuditEntry
from tests.campaigns.flows.test_publish import LATER, WAIT, edit, person


class TestApproval:
    @pytest.fixture
    def flow(self, world) -> Flow:
        FlowSettings(approval_required=True).save()
        return Flow.objects.create(
            slug="new", name="New", draft={"trigger": {"kind": "event", "name": "x"}, "steps": [WAIT]}
        )

    def test_another_persons_yes_of_this_very_draft_is_needed(self, flow):
        ann, bob, eve = person(1, "publish_flow"), person(2, "publish_flow"), person(3, "change_flow")
        with pytest.raises(approval.ApprovalError):
            publish.publish(flow.pk, ann)
        asked = approval.ask(flow.pk, flow.revision, ann, "Please look")
        assert approval.ask(flow.pk, flow.revision, ann) == asked, "asking twice is asking once"
        assert Alert.objects.get().resolved_at is None
        for nobody in (ann, eve):
            with pytest.raises(approval.ApprovalError):
                approval.answer(flow.pk, flow.revision, nobody, True)
        approval.answer(flow.pk, flow.revision, bob, True)
        assert Alert.objects.get().resolved_at is not None
        assert publish.publish(flow.pk, ann).number == 1
        assert list(
            AuditEntry.objects.filter(action__startswith="flow.")
            .values_list("action", "actor")
            .order_by("pk")
        ) == [
            ("flow.approval_asked", "user 1"),
            ("flow.approval_approved", "user 2"),
            ("flow.published", "user 1"),
        ]

    def test_an_edit_voids_it_also_when_undone(self, flow):
        ann, bob = person(1, "publish_flow"), person(2, "publish_flow")
        approval.ask(flow.pk, 0, ann)
        edited = edit(flow, [WAIT, LATER])
        assert FlowApproval.objects.get().answer == "void"
        assert Alert.objects.get().resolved_at is not None
        with pytest.raises(editing.StaleDraftError):
            approval.answer(flow.pk, 0, bob, True)
        approval.ask(flow.pk, edited.revision, ann)
        approval.answer(flow.pk, edited.revision, bob, True)
        editing.undo(flow.pk, edit(flow, [WAIT]).revision)
        with pytest.raises(approval.ApprovalError):
            publish.publish(flow.pk, ann)

    def test_who_edited_last_does_not_approve_for_a_colleague(self, flow):
        ann, bob = person(1, "publish_flow"), person(2, "publish_flow")
        first = editing.save(flow.pk, 0, lambda draft: {**draft, "steps": [WAIT, LATER]}, ann)
        edited = editing.save(
            flow.pk, first.revision, lambda draft: {**draft, "priority": 2}, bob, merge=True
        )
        asked = approval.ask(flow.pk, edited.revision, ann)
        assert not approval.may_answer(asked, bob), "also when the edit went on with ann's"
        with pytest.raises(approval.ApprovalError, match="edited"):
            approval.answer(flow.pk, edited.revision, bob, True)
        taken = approval.ask(flow.pk, edited.revision, bob)
        assert (taken.asked_by, FlowApproval.objects.get(pk=asked.pk).answer) == (bob, "void")
        approval.answer(flow.pk, edited.revision, ann, True)
        assert publish.publish(flow.pk, bob).number == 1

    def test_declined_is_not_approved(self, flow):
        ann, bob = person(1, "publish_flow"), person(2, "publish_flow")
        approval.ask(flow.pk, 0, ann)
        approval.answer(flow.pk, 0, bob, False, "Too many messages")
        with pytest.raises(approval.ApprovalError):
            publish.publish(flow.pk, bob)
        with pytest.raises(approval.ApprovalError):
            approval.answer(flow.pk, 0, bob, True)
        assert approval.ask(flow.pk, 0, ann).answer == "", "who was declined may ask again"
