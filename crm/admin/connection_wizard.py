"""The pages by which a CRM is connected, one step each; a connection that runs is changed by the same pages."""

from collections.abc import Callable
from typing import Any

import msgspec
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from crm import connectors
from crm.admin import connection_preview as preview
from crm.admin import connection_steps as steps
from crm.admin.asking import ask
from crm.admin.connection_fields import FieldsForm, topics_of, used_elsewhere
from crm.admin.connection_forms import ObjectsForm, ScheduleForm, SettingsForm
from crm.admin.connection_writeback import WritebackForm
from crm.connectors.base import ConnectorError, Field, ObjectType
from crm.models import Connection, SyncRun
from crm.sync import drafts, schedule, setup
from crm.sync import mapping as mappings
from crm.sync.mapping import Mapping, MappingError

TEMPLATES = "admin/crm/connection"
# What a button asks for instead of simply saving.
TEST, ANYWAY, PREVIEW, VALUES, LATER = "test", "anyway", "preview", "values", "later"


class Wizard:
    """Mixin for the connection's ModelAdmin, which gives `_connection`, `_page` and the permissions."""

    _connection: Callable[..., Connection]
    _page: Callable[..., HttpResponse]
    has_add_permission: Callable[..., bool]
    log_addition: Callable[..., Any]
    log_change: Callable[..., Any]

    # --- The account -----------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Choose the CRM, then enter its credentials; only such as work are kept."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        every = connectors.kinds()
        kinds = {name: kind for name, kind in every.items() if not kind.starts_at}
        name = request.POST.get("kind") or request.GET.get("kind", "")
        if not name:
            cards = [
                steps.card(each) for each in sorted(every.values(), key=lambda each: bool(each.starts_at))
            ]
            return self._page(request, "kinds.html", _("Connect a CRM"), cards=cards)
        if name not in kinds:
            raise Http404
        form = SettingsForm(kinds[name], request.POST if request.method == "POST" else None)
        result = self._tried(request, form)
        if result and result[1] and form.is_valid() and request.POST.get("op") != TEST:
            data = form.cleaned_data
            draft = drafts.begin(name, data["name"], data["slug"], form.config(), form.credentials())
            self.log_addition(request, draft, [{"added": {}}])
            return _led(request, redirect("admin:crm_connection_objects", draft.pk))
        title = _("Connect %s") % kinds[name].label
        return self._account_page(request, title, form, None, result)

    def settings_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Name and credentials."""
        connection = self._connection(request, pk)
        form = SettingsForm(
            steps.kind_of(connection), request.POST if request.method == "POST" else None, connection
        )
        op = request.POST.get("op")
        result = self._tried(request, form)
        if (
            result
            and op != TEST
            and form.is_valid()
            and (result[1] or (op == ANYWAY and not form.problems()))
        ):
            problem = self._save_settings(request, form)
            if not problem:
                return _led(request, self._onwards(request, connection, "settings"))
            result = problem, False
        title = _("Account of %s") % connection.name
        return self._account_page(request, title, form, connection, result)

    def _account_page(
        self,
        request: HttpRequest,
        title: str,
        form: SettingsForm,
        connection: Connection | None,
        result: tuple[str, bool] | None,
    ) -> HttpResponse:
        started = connection is not None and connection.state != Connection.State.DRAFT
        may_insist = bool(started and result and not result[1] and not form.errors)
        if request.headers.get("HX-Request"):  # what was entered stays, credentials are not sent back
            said = (form.problems(), False) if form.errors else result
            context = {"result": said, "may_insist": may_insist}
            return render(request, f"{TEMPLATES}/test_result.html", context)
        return self._page(
            request,
            "settings.html",
            title,
            may_insist=may_insist,
            form=form,
            kind=form.connector,
            card=steps.card(form.connector),
            connection=connection,
            result=result,
            steps=steps.bar(connection, "settings"),
        )

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Try credentials as entered, and say in a sentence how it went."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        pk = request.POST.get("connection", "")
        connection = self._connection(request, int(pk)) if pk.isdecimal() else None
        if connection is None and not self.has_add_permission(request):
            raise PermissionDenied
        kind = connectors.kinds().get(connection.kind if connection else request.POST.get("kind", ""))
        if kind is None:
            raise Http404
        result = self._tried(request, SettingsForm(kind, request.POST, connection))
        return render(request, f"{TEMPLATES}/test_result.html", {"result": result})

    def _tried(self, request: HttpRequest, form: SettingsForm) -> tuple[str, bool] | None:
        """A sentence, and whether the CRM can be read; None if nothing was entered."""
        if request.method != "POST":
            return None
        problems = form.problems(form.connector.Form.base_fields)
        if problems:
            return problems, False
        try:
            return ask(lambda: form.connector(form.config(), form.credentials()).test()), True
        except ConnectorError as failure:
            return str(failure), False

    def _save_settings(self, request: HttpRequest, form: SettingsForm) -> str:
        """Store them; or return why that can't be."""
        connection = form.save(commit=False)
        try:
            setup.change_settings(connection, form.config(), form.credentials())
        except (ConnectorError, setup.OtherAccountError) as failure:
            return str(failure)
        connection.save(update_fields=["name", "slug"])
        self.log_change(request, connection, [{"changed": {"fields": form.changed_data}}])
        return ""

    # --- Which records, and what their fields become ----------------------------------------------------
    def objects_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Which kinds of records are read."""
        connection = self._connection(request, pk)
        kind = steps.kind_of(connection)
        form = ObjectsForm(kind, connection.mapping, request.POST if request.method == "POST" else None)
        error = form.error
        if request.method == "POST" and not error:
            try:
                mapping = ask(lambda: self._mapping_of(connection, form.chosen))
            except ConnectorError as failure:
                error = str(failure)
            else:
                text = self._save_mapping(request, connection, mapping)
                return self._onwards(request, connection, "objects", text=text)
        return self._page(
            request,
            "objects.html",
            _("Records of %s") % connection.name,
            connection=connection,
            kind=kind,
            form=form,
            error=error,
            steps=steps.bar(connection, "objects"),
        )

    def _mapping_of(self, connection: Connection, chosen: list[str]) -> dict[str, Any]:
        """The mapping of the chosen objects; one that is new begins with the connector's proposal."""
        connector = connectors.connector(connection)
        held = connection.mapping
        return {name: held[name] if name in held else setup.suggested(connector, name) for name in chosen}

    def fields_view(self, request: HttpRequest, pk: int, object_name: str = "") -> HttpResponse:
        """What each field of one object becomes."""
        connection = self._connection(request, pk)
        found = steps.find(connection, object_name)
        if found is None:
            return redirect("admin:crm_connection_objects", pk)
        fields, error = self._fields(connection, found)
        held, broken = _held(connection, found)
        op = request.POST.get("op", "")
        posted = request.POST if request.method == "POST" and not error else None
        attributes, topics = used_elsewhere(found.role, connectors.kinds())
        if fields:
            topics |= topics_of(connectors.connector(connection).suggest(found.name, fields))
        form = FieldsForm(found, fields, held, posted, attributes, topics)
        if posted is not None and op == PREVIEW and request.headers.get("HX-Request"):
            context = self._previewed(connection, found, form.mapping, form.error)
            return render(request, f"{TEMPLATES}/previews.html", context)
        if posted is not None and not form.error and op not in (PREVIEW, VALUES):
            changed = {**connection.mapping, found.name: msgspec.to_builtins(form.mapping)}
            text = self._save_mapping(request, connection, changed)
            return self._onwards(request, connection, "fields", found.name, text)
        context = {}
        if posted is not None and op == PREVIEW:
            context = self._previewed(connection, found, form.mapping, form.error)
        won = form.won()
        if won and won.field and not won.boolean and not error:
            context |= self._values(connection, found, won.field, won.values)
        mapped, others = form.rows()
        return self._page(
            request,
            "fields.html",
            _("Fields of %s") % connection.name,
            **{
                "connection": connection,
                "found": found,
                "tabs": steps.tabs(connection, "fields", found.name),
                "mapped": mapped,
                "others": others,
                "won": won,
                "problem": "" if op == VALUES else form.error or (broken if posted is None else ""),
                "unreachable": error,
                "known": steps.records_here(connection).get(found.name, 0),
                "back": steps.before(connection, "fields", found.name),
                "steps": steps.bar(connection, "fields"),
                **context,
            },
        )

    def _fields(self, connection: Connection, found: ObjectType) -> tuple[list[Field], str]:
        """The object's fields, or none and why."""
        try:
            return ask(lambda: connectors.connector(connection).fields(found.name)), ""
        except ConnectorError as failure:
            return [], str(failure)

    def values_view(self, request: HttpRequest, pk: int, object_name: str) -> HttpResponse:
        """The values that a field of a purchase has: a part of the step of its fields."""
        connection = self._connection(request, pk)
        found = steps.find(connection, object_name)
        if found is None:
            raise Http404
        name = request.GET.get("won-field", "")
        fields, error = self._fields(connection, found)
        kinds = {field.name: field.kind for field in fields}
        context: dict[str, Any] = {"values_error": error, "boolean": kinds.get(name) == "boolean"}
        if name in kinds and not context["boolean"]:
            context |= self._values(connection, found, name, [])
        return render(
            request, f"{TEMPLATES}/won_values.html", {**context, "field": name, "chosen_values": []}
        )

    def _values(
        self, connection: Connection, found: ObjectType, name: str, chosen: list[str]
    ) -> dict[str, Any]:
        seen, error = [], ""
        try:
            seen = ask(lambda: preview.values_of(connectors.connector(connection), found, name))
        except ConnectorError as failure:
            error = str(failure)
        values = [(value, value in chosen) for value in dict.fromkeys([*chosen, *seen])]
        return {"won_values": values, "values_error": error}

    def preview_view(self, request: HttpRequest, pk: int, object_name: str = "") -> HttpResponse:
        """Ten real records as they will look here."""
        connection = self._connection(request, pk)
        found = steps.find(connection, object_name)
        if found is None:
            return redirect("admin:crm_connection_objects", pk)
        return self._page(
            request,
            "preview.html",
            _("Preview of %s") % connection.name,
            **{
                "connection": connection,
                "tabs": steps.tabs(connection, "preview", found.name),
                "onwards": steps.after(connection, "preview", found.name),
                "back": steps.before(connection, "preview", found.name),
                "steps": steps.bar(connection, "preview"),
                **self._previewed(connection, found, *_held(connection, found)),
            },
        )

    def _previewed(
        self, connection: Connection, found: ObjectType, mapping: Mapping, error: str
    ) -> dict[str, Any]:
        records: list[preview.Shown] = []
        if not error:
            try:
                live = ask(lambda: preview.sample(connectors.connector(connection), found, mapping))
                records = preview.shown(live, found, mapping)
            except ConnectorError as failure:
                error = str(failure)
        refused = sum(bool(record.rejection) for record in records)
        return {
            "found": found,
            "records": records,
            "refused": refused,
            "preview_error": error,
            "previewed": True,
        }

    # --- The way back, and the schedule -----------------------------------------------------------------
    def writeback_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What goes back into the CRM."""
        connection = self._connection(request, pk)
        kind = steps.kind_of(connection)
        people = [each for each in steps.chosen(connection) if each.role == "person"]
        possible = bool(kind.write_batch or kind.takes_activities)
        error = ""
        forms: list[tuple[ObjectType, WritebackForm]] = []
        try:
            for each in people if possible else ():
                connector = connectors.connector(connection)
                fields = ask(lambda each=each, connector=connector: connector.fields(each.name))
                held = mappings.parse(connection.mapping[each.name], each.role)
                posted = request.POST if request.method == "POST" else None
                forms.append((each, WritebackForm(connector, fields, held, f"{each.name}-", posted)))
        except (ConnectorError, MappingError) as failure:
            error = str(failure)
        if request.method == "POST" and not error and not any(form.error for _each, form in forms):
            changed = {each.name: msgspec.to_builtins(form.mapping) for each, form in forms}
            text = self._save_mapping(request, connection, {**connection.mapping, **changed})
            return self._onwards(request, connection, "writeback", text=text)
        return self._page(
            request,
            "writeback.html",
            _("Writing back to %s") % connection.name,
            connection=connection,
            kind=kind,
            forms=[(each, form, form.rows(), form.activities()) for each, form in forms],
            error=error,
            possible=possible,
            back=steps.before(connection, "writeback"),
            steps=steps.bar(connection, "writeback"),
        )

    def schedule_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """How often; for a draft, all choices in words and the start."""
        connection = self._connection(request, pk)
        draft = connection.state == Connection.State.DRAFT
        unready = steps.unready(connection)
        form = ScheduleForm(request.POST if request.method == "POST" else None, instance=connection)
        if request.method == "POST" and form.is_valid():
            form.save()
            self.log_change(request, connection, [{"changed": {"fields": form.changed_data}}])
            if not draft:
                return self._onwards(request, connection, "schedule")
            if request.POST.get("op") == LATER:
                messages.success(request, _("Kept. Go on with it when you like."))
                return redirect("admin:crm_connection_changelist")
            if not unready:
                drafts.start(connection, request.user.get_username())
                self.log_change(request, connection, [{"changed": {"fields": ["state"]}}])
                messages.success(request, _("Connected. The first sync starts now."))
                return redirect("admin:crm_connection_change", pk)
        return self._page(
            request,
            "schedule.html",
            _("Schedule of %s") % connection.name,
            connection=connection,
            form=form,
            summary=steps.summary(connection),
            unready=unready,
            kept_until=connection.created_at + drafts.KEPT,
            back=steps.before(connection, "schedule"),
            steps=steps.bar(connection, "schedule"),
        )

    # --- Saving ----------------------------------------------------------------------------------------
    def _onwards(
        self, request: HttpRequest, connection: Connection, step: str, object_name: str = "", text: str = ""
    ) -> HttpResponse:
        """To the next step of a draft; a connection that runs has been changed, and that's it."""
        if connection.state == Connection.State.DRAFT:
            return redirect(steps.after(connection, step, object_name))
        messages.success(request, text or _("Saved."))
        return redirect("admin:crm_connection_change", connection.pk)

    def _save_mapping(self, request: HttpRequest, connection: Connection, mapping: dict[str, Any]) -> str:
        """Store it; where a connection that runs now takes something else, everything is read again."""
        before = connection.mapping
        if mapping == before:
            return ""
        connection.mapping = mapping
        connection.save(update_fields=["mapping"])
        self.log_change(request, connection, [{"changed": {"fields": ["mapping"]}}])
        if connection.state == Connection.State.DRAFT or steps.taken(mapping) == steps.taken(before):
            return ""
        by = request.user.get_username()
        if all(mapping.get(name) == part for name, part in before.items()):
            schedule.request_sync(connection, by=by)  # what has no cursor yet is read from the beginning
            return _("Saved. The records that are new are read now.")
        schedule.request_sync(connection, SyncRun.Mode.FULL, by)
        return _("Saved. Everything is read again with the new mapping.")


def _led(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """A redirect that htmx follows with the whole page."""
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": response["Location"]})
    return response


def _held(connection: Connection, found: ObjectType) -> tuple[Mapping, str]:
    """The mapping of an object, or an empty one and what is wrong with the stored one."""
    try:
        return mappings.parse(connection.mapping.get(found.name), found.role), ""
    except MappingError as failure:
        return Mapping(), str(failure)
