"""The scripted troubles of the facts' list of faults: for each connector the rules that it must get through, those
that must end a run with a sentence, and where a trouble does not exist.

`{reads}` in the rules below stands for the connector's requests for records.
"""

from dataclasses import dataclass
from typing import Any

Rules = list[dict[str, Any]]

ALL = ("hubspot", "salesforce", "zoho")
HTML = "<html><body>Sorry, we are down for maintenance.</body></html>"
SPENT = [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]
BUSY = [
    {
        "message": "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        "errorCode": "REQUEST_LIMIT_EXCEEDED",
    }
]


@dataclass(frozen=True)
class Trouble:
    """What goes wrong.

    Args:
        passing: rules of a fault script for requests that read; a run gets through them.
        lasting: rules that end a run; `says` is a pattern of its sentence.
        parked: minutes that the connection is left alone then.
        slow: the connectors must not wait long.
    """

    passing: Rules
    lasting: Rules
    says: str
    parked: int = 0
    slow: bool = False


def _nth(numbers: list[int], **what: Any) -> dict[str, Any]:
    return {"nth": numbers, **what}


def _from(number: int, **what: Any) -> dict[str, Any]:
    return {"from_nth": number, **what}


_WAIT = {"Retry-After": "1"}
_SERVERS = [
    _nth([2], status=500),
    _nth([4], status=502),
    _nth([7], status=503, headers=_WAIT),
    _nth([9], status=504),
]
_CUT = [
    _nth([2], truncate=150),
    _nth([4], truncate=150, framing="chunked"),
    _nth([6], truncate=150, framing="none"),
    _nth([8], broken_gzip=True),
    _nth([10], status=200, body=HTML),
]

TROUBLES: dict[str, dict[str, Trouble]] = {
    "F1": {
        "hubspot": Trouble(
            [
                _nth([2], policy="SECONDLY"),
                _nth([4], policy="TEN_SECONDLY_ROLLING", headers=_WAIT),
                _nth([6], status=429, headers=_WAIT),
            ],
            [_from(3, policy="DAILY")],
            "HubSpot",
            parked=15,
        ),
        "salesforce": Trouble(
            [_nth([2], status=429), _nth([4], status=503, headers=_WAIT), _nth([6], status=403, body=BUSY)],
            [_from(3, status=403, body=SPENT)],
            "calls of the last 24 hours are used up",
            parked=15,
        ),
        "zoho": Trouble(
            [_nth([2, 3], status=429)],
            [_from(3, status=429, headers={"X-API-CREDITS-REMAINING": "0"})],
            "credit",
            parked=15,
        ),
    },
    "F2": {name: Trouble(_SERVERS, [_from(3, status=503)], "trouble|503") for name in ALL},
    "F3": {name: Trouble(_CUT, [_from(3, status=200, body=HTML)], "proxy in between") for name in ALL},
    "F4": {
        name: Trouble(
            [_nth([2], drop=True), _nth([4], drip_bytes_per_second=300)],
            [_from(3, stall_seconds=30)],
            "answer",
            slow=True,
        )
        for name in ALL
    },
    "F11": {
        "hubspot": Trouble(
            [_nth([3], repeat=True), _nth([6], repeat=True)],
            [_from(3, repeat=True)],
            "same|twice|circles|again",
        ),
        "salesforce": Trouble([], [_from(3, repeat=True)], "same|twice|circles|again"),
        "zoho": Trouble(
            [],
            [
                _from(
                    3,
                    body={"data": [], "info": {"more_records": True, "count": 0}},
                    content_type="application/json",
                )
            ],
            "out of order|circles|again",
        ),
    },
}
