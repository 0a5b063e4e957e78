"""Admin pages of messages: importing this registers them."""

from delivery.admin import brand, coupons, deliveries, messages, preferences, snippets

__all__ = ["brand", "coupons", "deliveries", "messages", "preferences", "snippets"]
