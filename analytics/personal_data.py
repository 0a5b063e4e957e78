"""What the analytics layer knows about one person, for `crm.portability`."""

from django.utils.translation import gettext_lazy as _

from analytics.models import Conversion, Credit, Engagement
from crm.portability import Rows, columns, register, rows
from delivery.models import Delivery


def connect() -> None:
    """Called once when the app is ready."""
    register("engagement", _("What became of each message."), _engagement, "analytics.engagement")
    register("conversions", _("Goals reached after messages."), _conversions, "analytics.conversion")
    register(
        "credits",
        _("Which messages have what share in goals that were reached, by each way of counting."),
        _credits,
        "analytics.credit",
    )


def _engagement(profile_id: int) -> Rows:
    found = Engagement.objects.filter(delivery__profile_id=profile_id).order_by("pk")
    return rows(found, *columns(Engagement))


def _conversions(profile_id: int) -> Rows:
    found = Conversion.objects.filter(delivery__profile_id=profile_id).order_by("occurred_at", "pk")
    return rows(found, *columns(Conversion))


def _credits(profile_id: int) -> Rows:
    sent = Delivery.objects.filter(profile_id=profile_id).values("pk")
    found = Credit.objects.filter(delivery_id__in=sent).order_by(
        "occurred_at", "goal_id", "model", "delivery_id"
    )
    return rows(found, "goal__slug", *columns(Credit, "pk", "goal_id"))
