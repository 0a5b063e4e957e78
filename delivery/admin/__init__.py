"""Admin pages of messages: importing this registers them."""

from delivery.admin import deliveries, messages, preferences

__all__ = ["deliveries", "messages", "preferences"]
