from campaigns.models.broadcasts import Broadcast
from campaigns.models.flows import Decision, Enrollment, Flow, FlowRevision, FlowVersion
from campaigns.models.segments import Segment, SegmentMembership, SegmentSize, SegmentVersion

__all__ = [
    "Broadcast",
    "Decision",
    "Enrollment",
    "Flow",
    "FlowRevision",
    "FlowVersion",
    "Segment",
    "SegmentMembership",
    "SegmentSize",
    "SegmentVersion",
]
