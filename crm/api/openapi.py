"""What all operations have in common in the OpenAPI document, and what that document allows them to be sent."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework.serializers import DateField, EmailField

from crm.api import schemas

_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    OpenApiParameter.HEADER,
    description="A text of yours, new for each request. A request that got no answer may be repeated with the same one "
    "within two days: it has its effect once, and the answer comes again with `Idempotent-Replayed: true`.",
)


class Schema(AutoSchema):
    """drf-spectacular's, with the errors that every operation can answer and the header of repeatable ones."""

    def get_override_parameters(self) -> list[Any]:
        """Besides what the operation declares: the idempotency key."""
        return [*super().get_override_parameters(), *([_IDEMPOTENCY_KEY] if self._repeatable else [])]

    @property
    def _repeatable(self) -> bool:
        return self.method == "POST" and getattr(self.view, "repeatable", False)

    def _map_serializer_field(
        self, field: Any, direction: str, bypass_extensions: bool = False
    ) -> dict[str, Any]:
        found = super()._map_serializer_field(field, direction, bypass_extensions)
        if found.get("nullable") and "oneOf" in found:
            # OpenAPI 3.0 knows `nullable` only beside a type.
            first, *others = found["oneOf"]
            found = {**found, "oneOf": [{**first, "nullable": True}, *others]}
        if found.get("nullable") and "allOf" in found:
            # Beside a reference `nullable` says nothing.
            del found["nullable"]
            nothing = {"type": "object", "nullable": True, "enum": [None]}
            found["oneOf"] = [*found.pop("allOf"), nothing]
        if direction == "response" or not field.allow_null:
            return found
        # An empty text is taken like null.
        if found.get("minLength") == 1:
            del found["minLength"]
        if isinstance(field, EmailField | DateField):
            found = {"oneOf": [found, {"type": "string", "maxLength": 0}]}
        return found

    def _get_parameters(self) -> list[dict[str, Any]]:
        found = super()._get_parameters()
        for each in found:
            schema = each["schema"]
            if (
                each["in"] == "query"
                and schema.get("type") == "string"
                and not {"enum", "format"} & set(schema)
            ):
                schema.setdefault("minLength", 1)  # `ApiView` refuses empty ones
        return found

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        common = [400, 406, 429]
        if self.get_auth():
            common += [401, 403]
        if self._repeatable:
            common += [409, 422]
        for status, answer in schemas.errors(*common).items():
            if str(status) not in bodies:
                bodies[str(status)] = self._get_response_for_code(answer, str(status), direction=direction)
        return dict(sorted(bodies.items()))


def query_parameters(view: Any, method: str) -> frozenset[str] | None:
    """Names of the query parameters that the document gives an operation; None if it has no such operation."""
    handler = getattr(type(view), method.lower(), None)
    kind = getattr(handler, "kwargs", {}).get("schema")
    return _declared(kind, view, method) if kind else None


_known: dict[tuple[type, str], frozenset[str]] = {}


def _declared(kind: Callable[[], AutoSchema], view: Any, method: str) -> frozenset[str]:
    found = _known.get((kind, method))
    if found is None:
        schema = kind()
        schema.view, schema.method = view, method
        found = _known[kind, method] = frozenset(_names(schema.get_override_parameters()))
    return found


def _names(parameters: list[Any]) -> list[str]:
    names = []
    for each in parameters:
        if not isinstance(each, OpenApiParameter):
            names += (each() if isinstance(each, type) else each).fields
        elif each.location == OpenApiParameter.QUERY:
            names.append(each.name)
    return names
