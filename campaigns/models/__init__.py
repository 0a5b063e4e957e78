from campaigns.models.backtests import Backtest
from campaigns.models.broadcasts import Broadcast
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

__all__ = [
    "Backtest",
    "Broadcast",
    "CatchUp",
    "CatchUpPerson",
    "Decision",
    "Enrollment",
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
]
