"""Reports that people keep, and that come to them by email."""

from analytics.saved.store import Saved, listing

__all__ = ["Saved", "listing"]
