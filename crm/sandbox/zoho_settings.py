"""Zoho's metadata: modules, fields, users and the organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from crm.sandbox.zoho_replies import USER, ApiError, NothingError, invalid, local, missing, reply
from crm.sandbox.zoho_store import FIRST_ID, Module

if TYPE_CHECKING:
    from crm.sandbox.zoho import Zoho

DEFINED_AT = 1_640_995_200_000


class Settings:
    """The handlers of `settings/…`, `users` and `org`."""

    def __init__(self, zoho: Zoho) -> None:
        self.zoho = zoho

    async def modules(self, request: web.Request) -> web.Response:
        return reply({"modules": [self._module(module) for module in self.zoho.modules.values()]})

    async def module(self, request: web.Request) -> web.Response:
        wanted = request.match_info["name"]
        for module in self.zoho.modules.values():
            if wanted in (module.name, self._module(module)["id"]):
                return reply({"modules": [self._module(module)]})
        raise ApiError(400, "INVALID_MODULE", "The module name given seems to be invalid")

    async def fields(self, request: web.Request) -> web.Response:
        return reply({"fields": self._fields(request)})

    async def field(self, request: web.Request) -> web.Response:
        wanted = request.match_info["field"]
        found = [one for one in self._fields(request) if wanted in (one["id"], one["api_name"])]
        if not found:
            raise invalid("id")
        return reply({"fields": found})

    def _fields(self, request: web.Request) -> list[dict[str, Any]]:
        name = request.query.get("module")
        if not name:
            raise missing("module")
        module = self.zoho.module(name)
        return [
            definition.show(number, str(FIRST_ID + self._number(module) * 10_000 + number))
            for number, definition in enumerate(module.schema.fields.values(), 1)
        ]

    async def users(self, request: web.Request) -> web.Response:
        user = {
            **USER,
            "full_name": USER["name"],
            "first_name": "Sandbox",
            "last_name": "Admin",
            "status": "active",
            "confirm": True,
            "zuid": "20073934",
            "locale": "en_US",
            "language": "en_US",
            "time_zone": "Europe/Warsaw",
            "offset": self.zoho.utc_offset_minutes * 60_000,
            "role": {"id": str(FIRST_ID + 15972), "name": "CEO"},
            "profile": {"id": str(FIRST_ID + 15975), "name": "Administrator"},
            "created_time": local(DEFINED_AT, self.zoho.utc_offset_minutes),
        }
        ids = request.query.get("ids")
        if ids is not None and USER["id"] not in ids.split(","):
            raise NothingError(204)
        info = {"per_page": 200, "count": 1, "page": 1, "more_records": False}
        return reply({"users": [user], "info": info})

    async def org(self, request: web.Request) -> web.Response:
        org = {
            "id": str(FIRST_ID + 238),
            "zgid": "20062904",
            "primary_zuid": "20073934",
            "company_name": "Nudge Sandbox",
            "primary_email": USER["email"],
            "country": "Poland",
            "country_code": "PL",
            "currency": "Euro - EUR",
            "currency_symbol": "€",
            "iso_code": "EUR",
            "time_zone": "Europe/Warsaw",
            "type": "Sandbox",
            "max_per_page": 100,
            "gapps_enabled": False,
            "translation_enabled": False,
            "privacy_settings": False,
            "created_time": local(DEFINED_AT, self.zoho.utc_offset_minutes),
        }
        return reply({"org": [org]})

    def _number(self, module: Module) -> int:
        return list(self.zoho.modules.values()).index(module) + 1

    def _module(self, module: Module) -> dict[str, Any]:
        return {
            "id": str(FIRST_ID + 2000 + self._number(module)),
            "api_name": module.name,
            "module_name": module.name,
            "singular_label": module.schema.singular,
            "plural_label": module.name,
            "generated_type": "default",
            "api_supported": True,
            "creatable": True,
            "editable": True,
            "deletable": True,
            "viewable": True,
            "visible": True,
            "visibility": 1,
            "status": "visible",
            "show_as_tab": True,
            "convertable": module.name == "Leads",
            "global_search_supported": True,
            "triggers_supported": True,
            "webform_supported": True,
            "sequence_number": self._number(module),
            "per_page": 50,
            "modified_time": local(DEFINED_AT, self.zoho.utc_offset_minutes),
        }
