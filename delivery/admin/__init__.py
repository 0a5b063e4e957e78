"""Admin pages of messages: importing this registers them."""

from delivery.admin import coupons, deliveries, messages, preferences

__all__ = ["coupons", "deliveries", "messages", "preferences"]
