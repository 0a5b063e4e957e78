"""HubSpot's property and schema APIs: what fields an object has, groups of them, custom objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox import hubspot_replies as replies
from crm.sandbox.hubspot_kinds import Kind
from crm.sandbox.hubspot_properties import custom_object
from crm.sandbox.hubspot_replies import ApiError, reply
from crm.sandbox.hubspot_schema import PORTAL_ID, PROPERTY_NAME, DefinitionError, Schema
from crm.sandbox.store import iso

if TYPE_CHECKING:
    from crm.sandbox.hubspot import HubSpot

PROPERTIES = "/crm/v3/properties/{object}"
SCHEMAS = "/{api:crm-object-schemas/v3|crm/v3}/schemas"
FIRST_CUSTOM_TYPE = 1_000_001
CHANGEABLE = ("label", "description", "groupName", "options", "displayOrder", "hidden", "formField")
REQUIRED = ("fieldType", "groupName", "label", "name", "type")


class Definitions:
    """The handlers, on top of the portal's schemas."""

    def __init__(self, hubspot: HubSpot) -> None:
        self.hubspot = hubspot
        self.clock = hubspot.clock
        self.custom: dict[str, dict[str, Any]] = {}  # custom objects' schemas by the object's name

    def routes(self) -> list[tuple[str, str, Callable]]:
        """(method, path, handler) of each operation."""
        return [
            ("GET", PROPERTIES, self.list_properties),
            ("POST", PROPERTIES, self.create_property),
            ("GET", PROPERTIES + "/groups", self.list_groups),
            ("POST", PROPERTIES + "/groups", self.create_group),
            ("GET", PROPERTIES + "/groups/{name}", self.get_group),
            ("PATCH", PROPERTIES + "/groups/{name}", self.update_group),
            ("DELETE", PROPERTIES + "/groups/{name}", self.archive_group),
            ("POST", PROPERTIES + "/batch/read", self.batch_read),
            ("POST", PROPERTIES + "/batch/create", self.batch_create),
            ("POST", PROPERTIES + "/batch/archive", self.batch_archive),
            ("GET", PROPERTIES + "/{name}", self.get_property),
            ("PATCH", PROPERTIES + "/{name}", self.update_property),
            ("DELETE", PROPERTIES + "/{name}", self.archive_property),
            ("GET", SCHEMAS, self.list_schemas),
            ("POST", SCHEMAS, self.create_schema),
            ("GET", SCHEMAS + "/{object}", self.get_schema),
        ]

    # Properties

    async def list_properties(self, request: web.Request) -> web.Response:
        """Every definition, or with `archived=true` the archived ones."""
        archived, schema = self.hubspot.flag(request, "archived"), self._schema(request)
        return reply(
            {"results": [item for item in schema.definitions.values() if item["archived"] == archived]}
        )

    async def create_property(self, request: web.Request) -> web.Response:
        """201 with the definition; 409 if the name is taken."""
        return reply(self._add(self._schema(request), await self.hubspot.json(request)), 201)

    async def get_property(self, request: web.Request) -> web.Response:
        """One definition."""
        return reply(self._definition(self._schema(request), request.match_info["name"]))

    async def update_property(self, request: web.Request) -> web.Response:
        """Change a custom property's label, options and the like."""
        definition = self._definition(self._schema(request), request.match_info["name"])
        body = await self.hubspot.json(request)
        if definition["modificationMetadata"]["readOnlyDefinition"]:
            raise ApiError(400, f"Property {definition['name']} is defined by HubSpot and cannot be changed.")
        definition |= {key: body[key] for key in CHANGEABLE if key in body}
        definition["updatedAt"] = iso(self.clock.now())
        return reply(definition)

    async def archive_property(self, request: web.Request) -> web.Response:
        """Archive a custom property: its values are no longer shown."""
        self._archive(self._schema(request), request.match_info["name"])
        return web.Response(status=204)

    async def batch_read(self, request: web.Request) -> web.Response:
        """Several definitions; unknown ones are error rows."""
        schema, body = self._schema(request), await self.hubspot.json(request)
        wanted = [schema.active(str(row.get("name"))) or row for row in body.get("inputs") or ()]
        errors = [
            ApiError(404, f"Property {row.get('name')} does not exist").standard(name=[str(row.get("name"))])
            for row in wanted
            if "type" not in row
        ]
        return replies.batch(self.clock, [row for row in wanted if "type" in row], errors)

    async def batch_create(self, request: web.Request) -> web.Response:
        """Several new ones; the first that is refused ends it."""
        schema, body = self._schema(request), await self.hubspot.json(request)
        made = [self._add(schema, row) for row in body.get("inputs") or ()]
        return replies.batch(self.clock, made, [], 201)

    async def batch_archive(self, request: web.Request) -> web.Response:
        """Archive several."""
        schema, body = self._schema(request), await self.hubspot.json(request)
        for row in body.get("inputs") or ():
            self._archive(schema, str(row.get("name")))
        return web.Response(status=204)

    def _schema(self, request: web.Request) -> Schema:
        return self.hubspot.kind(request).schema

    def _definition(self, schema: Schema, name: str) -> dict[str, Any]:
        definition = schema.active(name)
        if definition is None:
            raise ApiError(404, f"Property {name} does not exist")
        return definition

    def _add(self, schema: Schema, body: dict[str, Any]) -> dict[str, Any]:
        absent = [key for key in REQUIRED if not body.get(key)]
        if absent:
            raise ApiError(400, f"Invalid input JSON: some required fields were not set: {absent}")
        if body["groupName"] not in schema.groups:
            raise ApiError(400, f"Property group {body['groupName']} does not exist.")
        try:
            return schema.add(body, self.clock.now())
        except DefinitionError as error:
            raise ApiError(400, str(error)) from None
        except KeyError:
            message = f"A property named '{body['name']}' already exists."
            raise ApiError(409, message, category="OBJECT_ALREADY_EXISTS") from None

    def _archive(self, schema: Schema, name: str) -> None:
        if not self._definition(schema, name)["modificationMetadata"]["archivable"]:
            raise ApiError(400, f"Property {name} is defined by HubSpot and cannot be archived.")
        schema.remove(name, self.clock.now())

    # Groups

    async def list_groups(self, request: web.Request) -> web.Response:
        """Every group that is not archived."""
        groups = self._schema(request).groups.values()
        return reply({"results": [group for group in groups if not group["archived"]]})

    async def create_group(self, request: web.Request) -> web.Response:
        """201 with the group; 409 if the name is taken."""
        schema, body = self._schema(request), await self.hubspot.json(request)
        name = body.get("name")
        if not isinstance(name, str) or not PROPERTY_NAME.match(name) or not body.get("label"):
            raise ApiError(400, "Invalid input JSON: some required fields were not set: [name, label]")
        if name in schema.groups and not schema.groups[name]["archived"]:
            raise ApiError(409, f"A property group named '{name}' already exists.")
        return reply(schema.add_group(name, str(body["label"]), body.get("displayOrder", -1)), 201)

    async def get_group(self, request: web.Request) -> web.Response:
        """One group."""
        return reply(self._group(request))

    async def update_group(self, request: web.Request) -> web.Response:
        """Change a group's label or order."""
        group, body = self._group(request), await self.hubspot.json(request)
        group |= {key: body[key] for key in ("label", "displayOrder") if key in body}
        return reply(group)

    async def archive_group(self, request: web.Request) -> web.Response:
        """Archive a group; its properties stay."""
        self._group(request)["archived"] = True
        return web.Response(status=204)

    def _group(self, request: web.Request) -> dict[str, Any]:
        group = self._schema(request).groups.get(request.match_info["name"])
        if group is None or group["archived"]:
            raise ApiError(404, f"Property group {request.match_info['name']} does not exist")
        return group

    # Custom objects

    async def list_schemas(self, request: web.Request) -> web.Response:
        """The custom objects; HubSpot's own are not listed."""
        return reply({"results": [self._shown(name) for name in self.custom]})

    async def get_schema(self, request: web.Request) -> web.Response:
        """One custom object."""
        kind = self.hubspot.kind(request)
        if kind.name not in self.custom:
            raise ApiError(404, f"Object type {kind.name} has no custom schema")
        return reply(self._shown(kind.name))

    async def create_schema(self, request: web.Request) -> web.Response:
        """201: an object `2-…` that the generic object API serves from now on."""
        body = await self.hubspot.json(request)
        name, labels = body.get("name"), body.get("labels")
        if not isinstance(name, str) or not PROPERTY_NAME.match(name) or not isinstance(labels, dict):
            raise ApiError(400, "Invalid input JSON: some required fields were not set: [name, labels]")
        if name in self.hubspot.kinds:
            raise ApiError(409, f"An object named '{name}' already exists.")
        schema = custom_object()
        for row in body.get("properties") or ():
            self._add(schema, {"groupName": "information", **row})
        number = FIRST_CUSTOM_TYPE + len(self.custom)
        shown = (*(body.get("requiredProperties") or ()), *filter(None, [body.get("primaryDisplayProperty")]))
        kind = Kind(self.clock, name, name, f"2-{number}", schema, by_default=shown)
        self.hubspot.add_kind(kind)
        now = iso(self.clock.now())
        self.custom[name] = {
            "id": str(number),
            "name": name,
            "objectTypeId": kind.type_id,
            "fullyQualifiedName": f"p{PORTAL_ID}_{name}",
            "labels": labels,
            "primaryDisplayProperty": body.get("primaryDisplayProperty") or "hs_object_id",
            "requiredProperties": body.get("requiredProperties") or [],
            "searchableProperties": body.get("searchableProperties") or [],
            "secondaryDisplayProperties": body.get("secondaryDisplayProperties") or [],
            "associations": [],
            "archived": False,
            "createdAt": now,
            "updatedAt": now,
        }
        return reply(self._shown(name), 201)

    def _shown(self, name: str) -> dict[str, Any]:
        definitions = self.hubspot.kinds[name].schema.definitions.values()
        return {**self.custom[name], "properties": [item for item in definitions if not item["archived"]]}
