"""The admin's home, reports and timeline: importing this registers them."""

from analytics.admin import home, pages

__all__ = ["home", "pages"]
