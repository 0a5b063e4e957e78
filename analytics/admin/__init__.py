"""The admin's home, reports and timeline: importing this registers them."""

from analytics.admin import experiments, goals, home, pages, saved

__all__ = ["experiments", "goals", "home", "pages", "saved"]
