"""Segments in the admin: each module is one group of pages, `model_admin` puts them together."""

from campaigns.admin.segments.model_admin import SegmentAdmin

__all__ = ["SegmentAdmin"]
