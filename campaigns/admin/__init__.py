"""Admin pages of campaigns: importing this registers them."""

from campaigns.admin import broadcasts, flows, segments, webhooks

__all__ = ["broadcasts", "flows", "segments", "webhooks"]
