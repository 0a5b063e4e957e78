"""Turning what a marketer wrote into what one person gets."""

from delivery.content.checking import problems
from delivery.content.compiled import Compiled, ContentError, Html, Link
from delivery.content.gathering import Gathered, Sample, gather
from delivery.content.locales import at_home
from delivery.content.locales import best as best_locale
from delivery.content.people import computed_for, data
from delivery.content.trying import mark_test

__all__ = [
    "Compiled",
    "ContentError",
    "Gathered",
    "Html",
    "Link",
    "Sample",
    "at_home",
    "best_locale",
    "computed_for",
    "data",
    "gather",
    "mark_test",
    "problems",
]
