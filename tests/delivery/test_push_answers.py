"""What each push service's answers mean: one case per cell of the vendors' documentation."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from delivery.channels.base import Outcome
from delivery.channels.webpush import result_of, retry_after
from delivery.httpclient import Response

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MOZILLA, FCM = "https://updates.push.services.mozilla.com/wpush/v2/a", "https://fcm.googleapis.com/fcm/send/a"
APPLE, WNS = "https://web.push.apple.com/a", "https://db5p.notify.windows.com/w/?token=a%2b"

CELLS = [
    (MOZILLA, 201, Outcome.ACCEPTED),
    (FCM, 201, Outcome.ACCEPTED),
    (APPLE, 201, Outcome.ACCEPTED),
    (WNS, 201, Outcome.ACCEPTED),
    (MOZILLA, 400, Outcome.REFUSED),
    (FCM, 400, Outcome.REFUSED),
    (APPLE, 400, Outcome.REFUSED),
    (WNS, 400, Outcome.REFUSED),
    (MOZILLA, 401, Outcome.CONFIGURATION),
    (FCM, 401, Outcome.CONFIGURATION),
    (FCM, 403, Outcome.CONFIGURATION),
    (APPLE, 403, Outcome.CONFIGURATION),
    (WNS, 401, Outcome.CONFIGURATION),
    (WNS, 403, Outcome.CONFIGURATION),
    (MOZILLA, 404, Outcome.GONE),
    (MOZILLA, 410, Outcome.GONE),
    (FCM, 404, Outcome.GONE),
    (FCM, 410, Outcome.GONE),
    (APPLE, 404, Outcome.GONE),
    (APPLE, 410, Outcome.GONE),
    (WNS, 404, Outcome.GONE),
    (WNS, 410, Outcome.GONE),
    (MOZILLA, 413, Outcome.REFUSED),
    (FCM, 413, Outcome.REFUSED),
    (APPLE, 413, Outcome.REFUSED),
    (WNS, 413, Outcome.REFUSED),
    (FCM, 429, Outcome.RETRY),
    (APPLE, 429, Outcome.RETRY),
    (WNS, 406, Outcome.RETRY),
    (MOZILLA, 500, Outcome.RETRY),
    (MOZILLA, 502, Outcome.RETRY),
    (MOZILLA, 503, Outcome.RETRY),
    (FCM, 500, Outcome.RETRY),
    (FCM, 503, Outcome.RETRY),
    (APPLE, 500, Outcome.RETRY),
    (APPLE, 503, Outcome.RETRY),
    (WNS, 500, Outcome.RETRY),
    (WNS, 503, Outcome.RETRY),
    # Never in the documents, so never trusted: a redirect is not followed, an unknown refusal is final.
    (FCM, 301, Outcome.REFUSED),
    (FCM, 418, Outcome.REFUSED),
    (FCM, 599, Outcome.RETRY),
    (FCM, 0, Outcome.RETRY),
]


def answer(endpoint: str, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Response:
    parcel = SimpleNamespace(number=5, address=SimpleNamespace(value=endpoint))
    return Response(parcel, status, headers or {}, body, "" if status else "timed out")


@pytest.mark.parametrize(("endpoint", "status", "outcome"), CELLS)
def test_answer(endpoint: str, status: int, outcome: Outcome) -> None:
    result = result_of(answer(endpoint, status), NOW)
    assert (result.number, result.outcome, result.status_code) == (5, outcome, status or None)


def test_an_address_we_refused_to_call_is_not_tried_again() -> None:
    response = Response(answer(FCM, 0).tag, 0, {}, b"", "not public", refused=True)
    assert result_of(response, NOW).outcome == Outcome.REFUSED


def test_the_services_own_words_are_kept() -> None:
    assert (
        result_of(answer(APPLE, 403, body=b'{"reason":"BadJwtToken"}'), NOW).detail
        == '{"reason":"BadJwtToken"}'
    )
    wns = answer(WNS, 400, {"x-wns-error-description": "Ttl value conflicts"})
    assert result_of(wns, NOW).detail == "Ttl value conflicts"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("Mon, 02 Mar 2026 09:05:00 GMT", 300),
        ("Mon, 02 Mar 2026 08:00:00 GMT", 0),
        ("99999999999999999999", 28 * 24 * 3600),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
    ],
)
def test_retry_after(value: str, seconds: int | None) -> None:
    assert retry_after(value, NOW) == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_is_only_read_where_we_retry() -> None:
    assert result_of(answer(FCM, 429, {"retry-after": "60"}), NOW).retry_after == timedelta(seconds=60)
    assert result_of(answer(FCM, 410, {"retry-after": "60"}), NOW).retry_after is None
