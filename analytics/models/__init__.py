"""What came of the deliveries: facts, the figures that reports read, and goals that were reached."""

from analytics.models.facts import Conversion, Engagement, Series
from analytics.models.rollups import DayFigures, RollupState

__all__ = ["Conversion", "DayFigures", "Engagement", "RollupState", "Series"]
