"""Admin pages of messages: importing this registers them."""

from delivery.admin import deliveries, messages

__all__ = ["deliveries", "messages"]
