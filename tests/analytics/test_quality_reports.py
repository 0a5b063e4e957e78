"""Deliverability and when people react, as reports."""

import pytest

from analytics.reports import heat
from analytics.reports.definitions import Figures
from tests.analytics import sheets

pytestmark = pytest.mark.django_db


def test_it_builds():
    for slug in ("deliverability", "heat", "retention", "audience", "optins", "coupons", "revenue", "lift", "sources"):
        sheets.build(slug)
        sheets.build(slug, period="all")
