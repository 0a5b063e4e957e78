"""What came of the deliveries: facts, the figures that reports read, and goals that were reached."""

from analytics.models.facts import Conversion, Engagement, Series
from analytics.models.goals import Credit, EarnedDay, ExchangeRate, Goal
from analytics.models.rollups import AudienceDay, CohortCell, DayFigures, RollupState
from analytics.models.saved import ReportMail, ReportRecipient, SavedReport

__all__ = [
    "AudienceDay",
    "CohortCell",
    "Conversion",
    "Credit",
    "DayFigures",
    "EarnedDay",
    "Engagement",
    "ExchangeRate",
    "Goal",
    "ReportMail",
    "ReportRecipient",
    "RollupState",
    "SavedReport",
    "Series",
]
