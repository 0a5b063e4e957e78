"""One message to a segment: planned, queued in pieces, paused and cancelled at any moment, and always adding up."""

from campaigns.broadcasts.expanding import QUEUE, TASK, launch, work
from campaigns.broadcasts.lifecycle import (
    LaunchError,
    StateError,
    cancel,
    duplicate,
    pause,
    plan,
    resume,
    undo,
)

__all__ = [
    "QUEUE",
    "TASK",
    "LaunchError",
    "StateError",
    "cancel",
    "duplicate",
    "launch",
    "pause",
    "plan",
    "resume",
    "undo",
    "work",
]
