"""What one address and one public key may send: never more than the rate allows, and always again in time."""

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from crm import limits
from crm.models import ApiKey

PAGE, SERVER = ApiKey(pk=1, scopes=["browser"]), ApiKey(pk=2, scopes=["write"])
RATE, SIZE = 2.0, 5.0


@pytest.fixture(autouse=True)
def _full(settings):
    settings.NUDGE_RATE_LIMITS = {"default": {"address": (RATE, SIZE), "key": (4 * RATE, 8 * SIZE)}}
    limits.forget()
    yield
    limits.forget()


def allowed(key=PAGE, address="192.0.2.1", kind="x", amount=1):
    try:
        limits.check(kind, key, address, amount)
    except limits.TooMany as refusal:
        return -int(refusal.headers["Retry-After"])
    return amount


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 7)), min_size=1, max_size=60))
@examples(deadline=None, max_examples=100)
def test_no_more_than_a_burst_and_the_rate_and_retrying_when_told_works(calls):
    limits.forget()
    bucket = [(("x", "a"), RATE, SIZE)]
    now = taken = 0.0
    for pause, amount in calls:
        now += pause
        wait = limits._take(bucket, amount, now)
        if wait <= 0:
            taken += min(amount, SIZE)
        else:
            now += wait + 1e-6
            assert limits._take(bucket, amount, now) <= 0
            taken += min(amount, SIZE)
        assert taken <= SIZE + RATE * now + 1e-6


def test_each_address_kind_and_key_has_its_own():
    assert [allowed() for _ in range(6)] == [1] * 5 + [-1]
    assert allowed(address="192.0.2.2") == allowed(kind="y") == allowed(key=None, kind="z") == 1
    assert all(allowed(SERVER) == 1 for _ in range(100))
    others = [allowed(address=f"198.51.100.{n}") for n in range(100)]
    assert others.count(1) == 34  # of the key's 40, six are gone; who was refused took nothing


def test_what_is_more_than_a_bucket_waits_for_a_full_one():
    assert allowed(amount=500) == 500
    assert allowed() < 0


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "MAX_BUCKETS", 50)
    for n in range(200):
        allowed(address=f"a{n}")
    assert len(limits._buckets) == 50


@pytest.mark.parametrize(
    ("proxies", "forwarded", "peer", "address"),
    [
        (0, "203.0.113.9", "192.0.2.1", "192.0.2.1"),
        (1, "203.0.113.9", "10.0.0.1", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "10.0.0.1", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 10.0.0.2", "10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "10.0.0.1", "10.0.0.1"),
        (1, "", "10.0.0.1", "10.0.0.1"),
        (0, "", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (0, "", "::ffff:192.0.2.1", "192.0.2.1"),
        (1, "nonsense" * 50, "10.0.0.1", ("nonsense" * 50)[:100]),
    ],
)
def test_whose_address_counts(settings, proxies, forwarded, peer, address):
    settings.NUDGE_TRUSTED_PROXIES = proxies
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    assert limits.address(request) == address
