"""Pages become batches, and a CRM whose pages go in circles is stopped."""

import itertools

import pytest

from crm.connectors.base import ConnectorError, Page, Record
from crm.models import Profile
from crm.sync import pages
from crm.sync.engine import run
from tests.crm.sync.fake import START


def page(number, records=1, cursor=None):
    made = [Record(f"{number}.{at}", START, {"email": None}) for at in range(records)]
    return Page("people", made, {"at": number if cursor is None else cursor})


def test_small_pages_travel_together_and_large_ones_alone():
    source = [page(1, 800), page(2, 800), page(3, 800), page(4, 5_000), page(5, 10)]
    sizes = [[len(page.records) for page in batch] for batch in pages.batches(source)]
    assert sizes == [[800, 800], [800], [5_000], [10]]


def test_records_do_not_wait_for_company(monkeypatch):
    monkeypatch.setattr(pages, "SECONDS", 0.0)
    assert [len(batch) for batch in pages.batches([page(1), page(2)])] == [1, 1]


def test_a_page_without_records_does_not_wait():
    assert [len(batch) for batch in pages.batches([page(1, 0), page(2), page(3, 0), page(4)])] == [1, 2, 1]


def test_what_came_before_a_failure_is_given_out_first():
    def source():
        yield page(1)
        yield page(2)
        raise ConnectorError("down")

    batches = pages.batches(source())
    assert [page.cursor["at"] for page in next(batches)] == [1, 2]
    with pytest.raises(ConnectorError, match="down"):
        next(batches)


@pytest.mark.parametrize(
    ("source", "words", "taken"),
    [
        (lambda n: page(1), "same page twice", 1),
        (lambda n: page(0, 1, cursor=n), "in circles", 2),
        (lambda n: page(n, 0), "in circles", 100),
        (lambda n: page(n, 1, cursor=1), "in circles", 1_001),
    ],
    ids=[
        "the same page",
        "the same records elsewhere",
        "nothing but empty pages",
        "a cursor that stands still",
    ],
)
def test_circles_are_noticed(source, words, taken):
    seen = []

    def follow():
        for batch in pages.batches(source(number) for number in itertools.count()):
            seen.extend(batch)

    with pytest.raises(ConnectorError, match=words):
        follow()
    assert len(seen) == taken


def test_one_checkpoint_for_several_pages_is_no_circle():
    source = [page(number, 1, cursor=min(number, 1)) for number in range(1, 50)]
    assert sum(len(batch) for batch in pages.batches(source)) == 49


def test_a_run_of_circles_fails_with_a_sentence_and_keeps_what_came(crm, connection):
    crm.script = itertools.repeat(Page("people", [crm.people["1"]], {"seq": 1}))
    report = run(connection)
    assert report.state == "failed"
    assert "same page twice" in report.error
    assert Profile.objects.get().email == "p1@example.com"
