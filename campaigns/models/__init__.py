from campaigns.models.backtests import Backtest
from campaigns.models.broadcasts import Broadcast, BroadcastPiece
from campaigns.models.experiments import Experiment
from campaigns.models.flows import Decision, Enrollment, Flow, FlowRevision, FlowVersion
from campaigns.models.lifecycle import FlowApproval, FlowJob, FlowSettings
from campaigns.models.lists import ExportPart, ListJob, ListJobReject, MemberExport
from campaigns.models.segments import (
    Segment,
    SegmentCandidate,
    SegmentMembership,
    SegmentMove,
    SegmentSize,
    SegmentVersion,
)
from campaigns.models.starting import CatchUp, CatchUpPerson, FlowMoment, FlowSchedule
from campaigns.models.steps import CrmWrite, WebhookCall, WebhookHost, WebhookKey

__all__ = [
    "Backtest",
    "Broadcast",
    "BroadcastPiece",
    "CatchUp",
    "CatchUpPerson",
    "CrmWrite",
    "Decision",
    "Enrollment",
    "Experiment",
    "ExportPart",
    "Flow",
    "FlowApproval",
    "FlowJob",
    "FlowMoment",
    "FlowRevision",
    "FlowSchedule",
    "FlowSettings",
    "FlowVersion",
    "ListJob",
    "ListJobReject",
    "MemberExport",
    "Segment",
    "SegmentCandidate",
    "SegmentMembership",
    "SegmentMove",
    "SegmentSize",
    "SegmentVersion",
    "WebhookCall",
    "WebhookHost",
    "WebhookKey",
]
