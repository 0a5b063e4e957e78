"""The admin's pages for flows: the list and the builder."""

from campaigns.admin.flows.model_admin import FlowAdmin

__all__ = ["FlowAdmin"]
