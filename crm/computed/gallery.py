"""Definitions to begin with."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from crm.rules import seen


class Template(NamedTuple):
    """One definition that many shops need; every part of it can be changed before it is saved."""

    slug: str
    name: Promise
    help: Promise
    icon: str
    config: Mapping[str, Any]


TEMPLATES = (
    Template(
        "orders_90_days",
        _("Orders in 90 days"),
        _("How often somebody bought lately."),
        "shopping_bag",
        {"kind": "count", "event": "purchase", "last_days": 90},
    ),
    Template(
        "lifetime_value",
        _("Lifetime value"),
        _("Everything somebody ever spent."),
        "payments",
        {"kind": "sum", "event": "purchase", "property": "total"},
    ),
    Template(
        "days_since_visit",
        _("Days since the last visit"),
        _("To win back those who stay away."),
        "event_busy",
        {"kind": "days_since", "event": "page_viewed", "which": "last"},
    ),
    Template(
        "favourite_category",
        _("Favourite category"),
        _("What somebody looks at most."),
        "favorite",
        {
            "kind": "most_frequent",
            "event": "product_viewed",
            "property": "category",
            "as": "text",
            "last_days": 180,
        },
    ),
    Template(
        "visit_streak",
        _("Days in a row with a visit"),
        _("To praise those who come every day."),
        "local_fire_department",
        {"kind": "streak", "event": "page_viewed", "unit": "days", "which": "current"},
    ),
    Template(
        "usual_hour",
        _("Usual hour"),
        _("When somebody is mostly there, by their own clock."),
        "schedule",
        {"kind": "usual", "event": "page_viewed", "of": "hour", "last_days": 90},
    ),
    Template(
        "to_free_shipping",
        _("Missing to free shipping"),
        _("How much more to put into the cart."),
        "local_shipping",
        {
            "kind": "missing",
            "event": "cart_updated",
            "property": "total",
            "figure": "last",
            "threshold": 200,
            "last_days": 7,
        },
    ),
)


# What else stands for a visit where pages are not tracked.
_INSTEAD = {"page_viewed": "product_viewed"}


def config(template: Template) -> dict[str, Any]:
    """The template's definition, about an event that this site records."""
    event, names = template.config["event"], seen.event_names()
    instead = _INSTEAD.get(event, event)
    return {**template.config, "event": instead if event not in names and instead in names else event}


def template(slug: str) -> Template | None:
    """The template of this name."""
    return next((found for found in TEMPLATES if found.slug == slug), None)
