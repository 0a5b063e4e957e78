"""A second person's yes before a flow goes live, where the settings ask for it.

An approval is of one revision of a draft. Any edit voids it, also one that is undone. The second person is neither who
asked nor who made the last edit: whoever wrote it does not approve it because a colleague pressed the button.
"""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.signals import post_save
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.flows.editing import StaleDraftError
from campaigns.models import Flow, FlowApproval, FlowSettings
from crm import alerts, audit

PERMISSION = "campaigns.publish_flow"
Answer = FlowApproval.Answer


class ApprovalError(ValueError):
    """It can't be asked for, given or used; the text says why."""


def required() -> bool:
    """Whether flows go live only with a second person's yes."""
    return FlowSettings.load().approval_required


def of(flow: Flow) -> FlowApproval | None:
    """The latest request about the draft as it is now, answered or not."""
    found = flow.approvals.filter(revision=flow.revision).exclude(answer=Answer.VOID)
    return found.select_related("asked_by", "decided_by").order_by("-pk").first()


def given(flow: Flow) -> bool:
    """Whether somebody else than who asked has approved exactly this draft."""
    approval = of(flow)
    return approval is not None and approval.answer == Answer.APPROVED and approval.definition == flow.draft


@transaction.atomic
def ask(flow_id: int, revision: int, user: Any, note: str = "", now: datetime | None = None) -> FlowApproval:
    """Ask the others for their approval of the draft at `revision`; asking twice is asking once.

    Who made the last edit takes a colleague's request over, so that the colleague can be the one who approves.

    Raises:
        StaleDraftError: the draft has another revision by now.
    """
    flow = _held(flow_id, revision)
    waiting = of(flow)
    if waiting is not None and waiting.answer == Answer.WAITING:
        if waiting.asked_by_id is not None and not may_take_over(waiting, user):
            return waiting
        waiting.answer, waiting.decided_at = Answer.VOID, now or timezone.now()
        waiting.save(update_fields=["answer", "decided_at"])
    asked = FlowApproval.objects.create(
        flow=flow,
        revision=flow.revision,
        definition=flow.draft,
        note=note,
        asked_by=user,
        asked_at=now or timezone.now(),
    )
    alerts.raise_alert(
        _alert_key(flow_id),
        f"{user} asks for approval of the flow “{flow.name}”",
        "Open the flow, choose “Publish”, and look at what would change; whoever may publish, does not ask and did "
        f"not make the last edit can approve it.{f' They write: {note}' if note else ''}",
    )
    audit.record(user, "flow.approval_asked", flow, revision=flow.revision)
    return asked


@transaction.atomic
def answer(
    flow_id: int, revision: int, user: Any, approve: bool, note: str = "", now: datetime | None = None
) -> FlowApproval:
    """Approve the draft at `revision`, or decline; the same answer twice is one.

    Raises:
        StaleDraftError: the draft has another revision by now.
        ApprovalError: nobody asked, it was answered already, or it is the person's own request or edit.
    """
    flow = _held(flow_id, revision)
    asked = of(flow)
    wanted = Answer.APPROVED if approve else Answer.DECLINED
    if asked is None:
        raise ApprovalError(_("Nobody asks for approval of this draft any more."))
    if not may_decline(asked, user):
        raise ApprovalError(_("Another person has to approve what you asked for."))
    if approve and wrote(asked, user):
        raise ApprovalError(_("Another person has to approve what you edited last."))
    if asked.answer == wanted:
        return asked
    if asked.answer != Answer.WAITING:
        raise ApprovalError(_("This was answered already: %s.") % asked.get_answer_display())
    asked.answer, asked.answer_note, asked.decided_by = wanted, note, user
    asked.decided_at = now or timezone.now()
    asked.save(update_fields=["answer", "answer_note", "decided_by", "decided_at"])
    alerts.resolve(_alert_key(flow_id))
    audit.record(user, f"flow.approval_{wanted.value}", flow, revision=flow.revision)
    return asked


def may_answer(asked: FlowApproval, user: Any) -> bool:
    """Whether this person may approve: they may publish, somebody else asked, and somebody else edited last."""
    return may_decline(asked, user) and not wrote(asked, user)


def may_decline(asked: FlowApproval, user: Any) -> bool:
    """Whether this person may say no: they may publish, and somebody else asked."""
    if not isinstance(user, User) or not user.has_perm(PERMISSION):
        return False
    return asked.asked_by_id is not None and asked.asked_by_id != user.pk


def may_take_over(asked: FlowApproval, user: Any) -> bool:
    """Whether a colleague asks for what this person edited last: then they may ask themselves instead."""
    return asked.answer == Answer.WAITING and asked.asked_by_id != user.pk and wrote(asked, user)


def wrote(asked: FlowApproval, user: Any) -> bool:
    """Whether this person made the last edit of the draft; what an API key edited, no person did."""
    last = asked.flow.revisions.order_by("-number").values_list("made_by", flat=True).first()
    return last is not None and last == user.pk


def check(flow: Flow) -> None:
    """Raise ApprovalError unless the draft may go live as far as a second person is concerned."""
    if required() and not given(flow):
        raise ApprovalError(_("Another person has to approve this draft before it goes live."))


def connect() -> None:
    """Called once when the app is ready."""
    post_save.connect(_void, sender=Flow, dispatch_uid="campaigns.void_approvals")


def _void(instance: Flow, update_fields: frozenset[str] | None = None, **kwargs: object) -> None:
    """A draft that was edited is not the one that somebody was asked about."""
    if update_fields is not None and "draft" not in update_fields:
        return
    outdated = FlowApproval.objects.filter(
        flow=instance, revision__lt=instance.revision, answer=Answer.WAITING
    )
    if outdated.update(answer=Answer.VOID, decided_at=timezone.now()):
        alerts.resolve(_alert_key(instance.pk))


def _held(flow_id: int, revision: int) -> Flow:
    flow = Flow.objects.select_for_update(no_key=True).get(pk=flow_id)
    if flow.revision != revision:
        raise StaleDraftError(StaleDraftError.__doc__)
    return flow


def _alert_key(flow_id: int) -> str:
    return f"flow:{flow_id}:approval"
