"""Values in PostgreSQL's own text forms arrive as they were."""

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm import pg
from crm.pg import copy_columns, text_array

TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
    st.sampled_from(["", "NULL", "\\N", "\\.", "{}", '"', "a,b", "tab\t", "new\nline\r", "\\"]),
)
PLAIN = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.django_db
@PLAIN
@given(values=st.lists(TEXT, max_size=6))
def test_an_array(values):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[]", [text_array(values)])
        assert cursor.fetchone()[0] == values


@pytest.mark.django_db
@PLAIN
@given(rows=st.lists(st.tuples(st.none() | TEXT, TEXT), min_size=1, max_size=7), size=st.integers(1, 3))
def test_rows(rows, size, monkeypatch):
    monkeypatch.setattr(pg, "SLICE", size)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE IF NOT EXISTS copied (n serial, one text, two text)")
        cursor.execute("TRUNCATE copied")
        with cursor.copy("COPY copied (one, two) FROM STDIN") as copy:
            copy_columns(copy, list(zip(*rows, strict=True)))
        cursor.execute("SELECT one, two FROM copied ORDER BY n")
        assert cursor.fetchall() == rows


def test_what_no_text_can_hold_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        text_array(["a", "b\0c"])
