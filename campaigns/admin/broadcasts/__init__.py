"""Broadcasts in the admin."""

from campaigns.admin.broadcasts.model_admin import BroadcastAdmin

__all__ = ["BroadcastAdmin"]
