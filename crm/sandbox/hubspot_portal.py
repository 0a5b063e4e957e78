"""HubSpot around the contacts: property definitions, associations, custom events, account details."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_schema import PORTAL_ID, DefinitionError
from crm.sandbox.store import iso

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

PROPERTIES = "/crm/v3/properties/{object:contacts|contact|0-1}"
NO_ASSOCIATIONS = "crm.associations.NO_ASSOCIATIONS_FOUND"


class Portal:
    """The handlers, on top of the portal's schema."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot
        self.schema, self.clock = hubspot.schema, hubspot.clock

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("GET", PROPERTIES, self.list_properties),
            ("POST", PROPERTIES, self.create_property),
            ("GET", PROPERTIES + "/{name}", self.get_property),
            ("DELETE", PROPERTIES + "/{name}", self.archive_property),
            ("POST", "/crm/v4/associations/{from}/{to}/batch/read", self.read_associations),
            ("POST", "/events/v3/send", self.send_event),
            ("GET", "/account-info/v3/details", self.account_details),
        ]

    async def list_properties(self, request: web.Request) -> web.Response:
        """Every definition, or with `archived=true` the archived ones."""
        archived = self.hubspot.flag(request, "archived")
        return reply(
            {"results": [item for item in self.schema.definitions.values() if item["archived"] == archived]}
        )

    async def create_property(self, request: web.Request) -> web.Response:
        """201 with the definition; 409 if the name is taken."""
        body = await self.hubspot.json(request)
        absent = [key for key in ("fieldType", "groupName", "label", "name", "type") if not body.get(key)]
        if absent:
            raise ApiError(400, f"Invalid input JSON: some required fields were not set: {absent}")
        try:
            return reply(self.schema.add(body, self.clock.now()), 201)
        except DefinitionError as error:
            raise ApiError(400, str(error)) from None
        except KeyError:
            message = f"A property named '{body['name']}' already exists."
            raise ApiError(409, message, category="OBJECT_ALREADY_EXISTS") from None

    async def get_property(self, request: web.Request) -> web.Response:
        """One definition."""
        return reply(self._definition(request))

    async def archive_property(self, request: web.Request) -> web.Response:
        """Archive a custom property: its values are no longer shown."""
        definition = self._definition(request)
        if not definition["modificationMetadata"]["archivable"]:
            raise ApiError(
                400, f"Property {definition['name']} is defined by HubSpot and cannot be archived."
            )
        definition |= {"archived": True, "archivedAt": iso(self.clock.now())}
        return web.Response(status=204)

    def _definition(self, request: web.Request) -> dict[str, Any]:
        definition = self.schema.active(request.match_info["name"])
        if definition is None:
            raise ApiError(404, f"Property {request.match_info['name']} does not exist")
        return definition

    async def read_associations(self, request: web.Request) -> web.Response:
        """Nothing is associated with anything: HubSpot reports one error for each record asked about."""
        rows = (await self.hubspot.json(request)).get("inputs") or []
        mine, theirs = request.match_info["from"], request.match_info["to"]
        errors = []
        for row in rows:
            key = str(row.get("id"))
            error = ApiError(404, f"No {theirs} is associated with {mine} {key}.")
            context = {"fromObjectId": [key], "fromObjectType": [mine], "toObjectType": [theirs]}
            errors.append({**error.standard(**context), "subCategory": NO_ASSOCIATIONS})
        return replies.batch(self.clock, [], errors)

    async def send_event(self, request: web.Request) -> web.Response:
        """Keep a custom behavioural event; the control API lists them."""
        body = await self.hubspot.json(request)
        if not body.get("eventName"):
            raise ApiError(400, "Invalid input JSON: some required fields were not set: [eventName]")
        self.hubspot.events.append({**body, "receivedAt": iso(self.clock.now())})
        return web.Response(status=204)

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
