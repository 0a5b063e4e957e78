"""What the demo's marketers count as success, and what other currencies were worth in the last months."""

import math
from datetime import datetime, timedelta
from decimal import Decimal

from analytics.goals import rates, recompute
from analytics.models import Goal
from config.demo import letters

WEEKS = 30
WORTH = {"PLN": 0.233, "USD": 0.921}  # in euros, give or take


def create(now: datetime) -> None:
    """Write goals and a rate a week of each currency."""
    recompute.save(
        Goal(
            slug="purchase",
            name="Purchase",
            event="purchase",
            view_hours={"webpush": 6, "inapp": 2, "whatsapp": 12, "sms": 12},
            default_model=Goal.Model.LAST_TOUCH,
        )
    )
    recompute.save(
        Goal(
            slug="club",
            name="Joined the coffee club",
            event=letters.JOINED,
            value_property="",
            counting=Goal.Counting.ONCE,
        )
    )
    rates.store(
        rates.Rate(
            (now - timedelta(weeks=week)).date(),
            currency,
            round(Decimal(worth * (1 + 0.03 * math.sin(week / 4 + len(currency)))), 4),
        )
        for currency, worth in WORTH.items()
        for week in range(WEEKS)
    )
