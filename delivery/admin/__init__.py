"""Admin pages of messages: importing this registers them."""

from delivery.admin import brand, coupons, deliveries, emails, messages, preferences, rules, snippets, topics

__all__ = ["brand", "coupons", "deliveries", "emails", "messages", "preferences", "rules", "snippets", "topics"]
