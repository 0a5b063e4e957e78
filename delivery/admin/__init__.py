"""Admin pages of messages: importing this registers them."""

from delivery.admin import (
    accounts,
    brand,
    coupons,
    deliveries,
    emails,
    links,
    messages,
    preferences,
    rules,
    sandbox,
    snippets,
    streams,
    texts,
    topics,
)

__all__ = [
    "accounts",
    "brand",
    "coupons",
    "deliveries",
    "emails",
    "links",
    "messages",
    "preferences",
    "rules",
    "sandbox",
    "snippets",
    "streams",
    "texts",
    "topics",
]
