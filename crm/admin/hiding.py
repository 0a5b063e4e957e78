"""What keeps contact data from those admin users who may not see it, on every page at once.

For the length of such a user's request `crm.masking.hidden` says so. And nothing may be found out by asking: query
parameters that would search, filter or sort by contact data never reach a list, whatever page it is on.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.admin.options import ModelAdmin
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, QueryDict

from crm import audit, masking

# Columns that hold, or may hold, contact data: by their names, so that tables of tomorrow are covered too.
TELLING = frozenset(
    {
        *("email", "phone", "external_id", "last_name", "birthday", "latitude", "longitude", "attributes"),
        *("sources", "value", "address", "endpoint", "p256dh", "auth", "user_agent", "proof", "properties"),
        *("record_id", "raw", "snapshot", "names", "context", "content", "merged_into", "run_key", "detail"),
        *("object_repr", "change_message", "text", "step_state"),
    }
)
_ORDER, _SEARCH = "o", "q"


class HideContacts:
    """Middleware; needs the user, so it comes after the authentication's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Forget after the request what `process_view` found out; the audit log knows meanwhile who is at it."""
        with masking.hiding(False), audit.during(request):
            return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Before an admin page of somebody who may not see contact data."""
        match = request.resolver_match
        if match is None or "admin" not in match.app_names or masking.sees_contacts(request.user):
            return None
        masking.hide()
        page = match.url_name or ""
        model_admin = getattr(view, "model_admin", None)
        if page == "autocomplete":
            request.GET = _without(request.GET, {"term"})
        if isinstance(model_admin, ModelAdmin):
            if page.endswith("_history") and _tells(model_admin.model):
                raise PermissionDenied  # it calls people by the names that others saw
            request.GET = _without(request.GET, _asking(request, model_admin))
        return None


def _tells(model: type[Model]) -> bool:
    return any(field.name in TELLING for field in model._meta.concrete_fields)


def _asking(request: HttpRequest, model_admin: ModelAdmin) -> set[str]:
    """The parameters of this request that would tell something about contact data by what comes back."""
    declared = {
        spec if isinstance(spec, str) else spec[0]
        for spec in model_admin.get_list_filter(request)
        if isinstance(spec, str | tuple | list)
    }
    bad = {name for name in request.GET if _looks_into(name, model_admin.model, declared)}
    searched = [part for field in model_admin.get_search_fields(request) for part in _parts(field)]
    if TELLING & set(searched) and not getattr(model_admin, "searches_outlines", False):
        bad.add(_SEARCH)
    if any(TELLING & set(_parts(name)) for name in _ordering(request, model_admin)):
        bad.add(_ORDER)
    return bad


def _looks_into(name: str, model: type[Model], declared: set[str]) -> bool:
    """Whether a parameter is a lookup of the model that no filter of the list stands for, or a telling one."""
    parts = _parts(name)
    try:
        model._meta.get_field(parts[0])
    except FieldDoesNotExist:
        return False
    wanted = {field for field in declared if _parts(field) == parts[: len(_parts(field))]}
    return not wanted or bool(TELLING & set(parts))


def _ordering(request: HttpRequest, model_admin: ModelAdmin) -> list[str]:
    """What the list would be sorted by."""
    columns = list(model_admin.get_list_display(request))
    if model_admin.get_actions(request):
        columns.insert(0, "action_checkbox")
    chosen = []
    for place in request.GET.get(_ORDER, "").replace("-", "").split("."):
        if place.isdecimal() and int(place) < len(columns):
            column = columns[int(place)]
            shown = getattr(model_admin, column, None) if isinstance(column, str) else column
            chosen.append(str(getattr(shown, "admin_order_field", None) or column))
    return chosen


def _parts(name: str) -> list[str]:
    return name.lstrip("-^=@").split("__")


def _without(query: QueryDict, names: set[str]) -> QueryDict:
    kept = query.copy()
    for name in names & set(query):
        del kept[name]
    return kept
