"""The admin's pages for flows: the list, the builder and the pages around it."""

from campaigns.admin.flows.model_admin import FlowAdmin
from campaigns.admin.flows.settings import FlowSettingsAdmin

__all__ = ["FlowAdmin", "FlowSettingsAdmin"]
