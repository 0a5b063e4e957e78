"""The admin's home, reports and timeline: importing this registers them."""

from analytics.admin import goals, home, pages

__all__ = ["goals", "home", "pages"]
