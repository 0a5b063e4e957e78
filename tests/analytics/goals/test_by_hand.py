"""The last click's credits and figures by day against SQL written by hand, on a small part of the benchmark's data."""

import pytest
from django.db import connection

from benchmarks import credits_work

pytestmark = pytest.mark.django_db(transaction=True)


def test_read_or_made_anew_they_are_what_the_statement_by_hand_finds():
    try:
        found = credits_work.main(600)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS by_hand, by_hand_days")
    assert found["events"] > 20
