"""HubSpot around the records: owners, custom events, account details."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_schema import PORTAL_ID
from crm.sandbox.hubspot_seed import OWNERS
from crm.sandbox.store import iso

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

OWNER_NAMES = (("Ola", "Nowak"), ("Tom", "Berg"), ("Ines", "Silva"))
OWNED_SINCE = "2022-01-01T00:00:00.000Z"
MAX_EVENTS = 500


class Portal:
    """The handlers, and the custom events that the portal was sent."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot
        self.clock = hubspot.clock
        self.events: list[dict[str, Any]] = []
        self._event_ids: set[str] = set()

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("GET", "/crm/v3/owners", self.list_owners),
            ("GET", "/crm/v3/owners/", self.list_owners),
            ("GET", "/crm/v3/owners/{id}", self.get_owner),
            ("POST", "/events/v3/send", self.send_event),
            ("POST", "/events/v3/send/batch", self.send_events),
            ("GET", "/account-info/v3/details", self.account_details),
        ]

    async def list_owners(self, request: web.Request) -> web.Response:
        """Everyone who can own a record, or the one with the `email` asked for."""
        email = request.query.get("email")
        owners = [_owner(number) for number in range(1, OWNERS + 1)]
        return reply({"results": [owner for owner in owners if email in (None, "", owner["email"])]})

    async def get_owner(self, request: web.Request) -> web.Response:
        """One owner by id or, with `idProperty=userId`, by user id."""
        key = request.match_info["id"]
        field = "userId" if request.query.get("idProperty") == "userId" else "id"
        for number in range(1, OWNERS + 1):
            if str(_owner(number)[field]) == key:
                return reply(_owner(number))
        raise ApiError(404, f"No owner with id {key}")

    async def send_event(self, request: web.Request) -> web.Response:
        """Keep a custom behavioural event; the control API lists them."""
        body = await self.hubspot.json(request)
        self._check_event(body)
        self._keep(body)
        return web.Response(status=204)

    async def send_events(self, request: web.Request) -> web.Response:
        """Keep several, or none if one is refused."""
        rows = (await self.hubspot.json(request)).get("inputs")
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_EVENTS:
            raise ApiError(400, f"Invalid input JSON: 'inputs' must have 1 to {MAX_EVENTS} events.")
        for row in rows:
            self._check_event(row)
        for row in rows:
            self._keep(row)
        return web.Response(status=204)

    def _check_event(self, event: Any) -> None:
        if not isinstance(event, dict) or not event.get("eventName"):
            raise ApiError(400, "Invalid input JSON: some required fields were not set: [eventName]")
        if not any(event.get(key) for key in ("objectId", "email", "utk")):
            raise ApiError(400, "An event needs one of objectId, email and utk.")

    def _keep(self, event: dict[str, Any]) -> None:
        """Keep an event unless it is known by its `uuid`: sending one twice does not count it twice."""
        key = event.get("uuid")
        if key is None or key not in self._event_ids:
            self.events.append({**event, "receivedAt": iso(self.clock.now())})
            if key is not None:
                self._event_ids.add(key)

    async def account_details(self, request: web.Request) -> web.Response:
        """Which portal the token belongs to."""
        return reply(
            {
                "portalId": PORTAL_ID,
                "accountType": "DEVELOPER_TEST",
                "timeZone": "Europe/Warsaw",
                "companyCurrency": "EUR",
                "additionalCurrencies": [],
                "utcOffset": "+01:00",
                "utcOffsetMilliseconds": 3_600_000,
                "uiDomain": "app.hubspot.com",
                "dataHostingLocation": "eu1",
            }
        )


def _owner(number: int) -> dict[str, Any]:
    first, last = OWNER_NAMES[(number - 1) % len(OWNER_NAMES)]
    return {
        "id": str(number),
        "email": f"{first}.{last}@shop.example".lower(),
        "firstName": first,
        "lastName": last,
        "type": "PERSON",
        "userId": 1000 + number,
        "userIdIncludingInactive": 1000 + number,
        "createdAt": OWNED_SINCE,
        "updatedAt": OWNED_SINCE,
        "archived": False,
    }
