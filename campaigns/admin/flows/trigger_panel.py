"""The trigger's panel: what starts the flow, for whom, how often, what ends it early, its goal and its limits."""

from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.translation import gettext as _

from campaigns.admin.flows import rules, words
from campaigns.admin.flows.happenings import EventList, EventRow, event_names
from campaigns.admin.flows.panels import AUTO_ID, Panel, form_mistakes, holds, shown_fields
from campaigns.admin.flows.trigger_form import SECTIONS, TriggerForm
from campaigns.flows import editing, triggers
from campaigns.flows.definition import DefinitionError, check, parse
from campaigns.models import Flow
from campaigns.segments.suggestions import Suggestions
from crm.rules.errors import RuleError

ENTRY, EXIT = 0, 1  # the numbers of the two rules in the form


class TriggerPanel(Panel):
    """Everything about the flow that is no step."""

    template = "trigger"

    def __init__(self, request: HttpRequest, flow: Flow):
        super().__init__(request, flow)
        self.draft = flow.draft or editing.empty()
        self.errors: dict[str, str] = {}
        stored = self.draft.get("trigger") or {}
        name = str(stored.get("kind") or "event") if self.post is None else self.post.get("kind", "")
        self.kind = triggers.registry.get(name)
        config = stored if stored.get("kind") == name else {}
        self.own = self._own_form(config)
        self.form = self.filled(TriggerForm, self._initial())
        if self.post is None:
            self.event = self._event_of(config)
            self.exits = EventList.of("exit", self.draft.get("exit_on"))
            self.goal = EventRow("goal", self.draft.get("goal") or {})
            self.entry = rules.RuleEditor.of(self.draft.get("entry"), ENTRY)
            self.exit_rule = rules.RuleEditor.of(self.draft.get("exit_rule"), EXIT)
        else:
            self.event = (
                self._event_of(config)
                if self._chosen_anew
                else EventRow.posted(self.post, "trigger", self._fixed_event())
            )
            self.exits = EventList.posted(self.post, "exit")
            self.goal = EventRow.posted(self.post, "goal")
            self.entry = rules.RuleEditor.posted(self.post, ENTRY)
            self.exit_rule = rules.RuleEditor.posted(self.post, EXIT)
        if self.redraws:
            self.focus = self._apply(*self.operation)

    @property
    def _chosen_anew(self) -> bool:
        """Whether another kind was chosen just now, so that its form begins anew."""
        kind = self.kind.kind if self.kind else ""
        return self.post is not None and self.post.get("was_kind", kind) != kind

    def _own_form(self, config: dict[str, Any]) -> forms.Form | None:
        if self.kind is None:
            return None
        rest = {name: value for name, value in config.items() if name != "kind"}
        initial = self.kind.initial(rest)
        if self._chosen_anew:
            return self.kind.Form(initial=initial, prefix="trigger", auto_id=AUTO_ID)
        return self.filled(self.kind.Form, initial, "trigger")

    def _fixed_event(self) -> str | None:
        """The event that the conditions are about where it isn't chosen; None where it is."""
        return None if self.kind is not None and self.kind.event_field else self._where_event()

    def _where_event(self) -> str:
        return self.kind.where_event if self.kind is not None else ""

    def _event_of(self, config: dict[str, Any]) -> EventRow:
        kind = self.kind
        if kind is None:
            return EventRow("trigger", {}, named=False)
        name = config.get(kind.event_field, "") if kind.event_field else self._where_event()
        where = config.get(kind.where_field) if kind.where_field else None
        return EventRow("trigger", {"name": name, "where": where}, named=bool(kind.event_field))

    @property
    def _asks_event(self) -> bool:
        """Whether the form asks for an event or its properties, as it is filled in."""
        kind, own = self.kind, self.own
        if kind is None or own is None or not (kind.event_field or kind.where_field):
            return False
        data = own.cleaned_data if own.is_bound and own.is_valid() else own.initial
        return holds(kind.show_event_if, data)

    def _initial(self) -> dict[str, Any]:
        draft = self.draft
        reentry, goal, window = (draft.get(name) or {} for name in ("reentry", "goal", "window"))
        return {
            "recheck_entry": draft.get("recheck_entry", False),
            "mode": reentry.get("mode", "never"),
            "days": reentry.get("days"),
            "key": (draft.get("key") or "").removeprefix("properties."),
            "goal_within": goal.get("within_days", 7),
            "goal_value": goal.get("value", ""),
            "goal_exit": goal.get("exit", True),
            "window": bool(draft.get("window")),
            "window_from": window.get("from", "09:00"),
            "window_to": window.get("to", "21:00"),
            "window_days": window.get("days", [day for day, _label in words.WEEKDAYS]),
            "when_limited": draft.get("when_limited", "defer"),
            "priority": draft.get("priority", 3),
            "holdout_percent": draft.get("holdout_percent") or None,
            "starts_at": _local(draft.get("starts_at")),
            "ends_at": _local(draft.get("ends_at")),
        }

    def _apply(self, operation: str, target: str) -> str:
        if operation == "kind":
            if not self.draft.get("trigger") and self.kind is not None and not self.kind.keyed:
                # What comes again and again, such as a schedule, is meant to start people again and again.
                self.form.initial["mode"] = "always"
                self.draft = {**self.draft, "reentry": {"mode": "always"}}
            return f"trigger-kind-{target}"
        number = rules.number_of(target)
        if number is not None:
            return (self.exit_rule if number == EXIT else self.entry).apply(operation, target)
        if target == "trigger":
            return self.event.apply(operation)
        if target == "goal":
            return self.goal.apply(operation)
        return self.exits.apply(operation, target) if target.startswith("exit") else ""

    def is_valid(self) -> bool:
        """Whether it can be stored; otherwise `errors`, the forms and the rules say what is wrong."""
        if self.kind is None:
            self.errors["kind"] = _("Choose what starts the flow.")
        checked = [
            self.own is None or self.own.is_valid(),
            self.form.is_valid(),
            self.exits.is_valid(),
            not (self.goal.name or self.goal.data["where"]) or self.goal.is_valid(),
            self.entry.empty or self.entry.is_valid(),
            self.exit_rule.empty or self.exit_rule.is_valid(),
        ]
        if self.kind is not None and self.own is not None and self.own.is_valid():
            for path, message in self.kind.problems(self._trigger()):
                self._place(path, message)
        return all(checked) and not self.errors

    def _place(self, path: str, message: str) -> None:
        """Show a problem of the trigger at its input, or above the form."""
        name = path.partition(".")[0].partition("[")[0]
        if self.own is not None and name in self.own.fields:
            self.own.add_error(name, message)
            self.errors.setdefault(name, message)
        elif self.kind is not None and name and name in (self.kind.where_field, self.kind.event_field):
            part = "where" if name == self.kind.where_field else "name"
            self.event.errors[part] = self.errors[part] = message
        else:
            self.errors["trigger"] = message

    def news(self, flow):
        return format_html_join(
            "",
            '<small id="fold-{}-words" hx-swap-oob="true"><bdi>{}</bdi></small>',
            words.sections(flow.draft).items(),
        )

    def mistakes(self):
        found = form_mistakes(self.own) if self.own is not None else []
        return list(dict.fromkeys([*self.errors.values(), *found, *form_mistakes(self.form)]))

    def _trigger(self) -> dict[str, Any]:
        """The trigger as stored."""
        kind, own = self.kind, self.own
        if kind is None or own is None:
            return {}
        config = {"kind": kind.kind, **kind.stored(own.cleaned_data)}
        if self._asks_event:
            if kind.event_field:
                config[kind.event_field] = self.event.name
            if kind.where_field and (where := self.event.where()):
                config[kind.where_field] = where
        return config

    def apply(self, draft: dict[str, Any]) -> dict[str, Any]:
        """The draft with what the form says."""
        data = self.form.cleaned_data
        reentry = {"mode": data["mode"]} | ({"days": data["days"]} if data["mode"] == "after" else {})
        parts = {
            "trigger": self._trigger(),
            "reentry": reentry,
            "exit_on": [{"kind": "event", **event} for event in self.exits.stored()],
            "exit_rule": None if self.exit_rule.empty else self.exit_rule.rule(),
            "key": f"properties.{data['key']}" if data["key"] and self._keyed else None,
            "entry": None if self.entry.empty else self.entry.rule(),
            "recheck_entry": data["recheck_entry"] or None,
            "goal": self._goal(data),
            "window": self._window(data),
            "when_limited": data["when_limited"] if data["when_limited"] != "defer" else None,
            "priority": data["priority"] if data["priority"] != 3 else None,
            "holdout_percent": data["holdout_percent"] or None,
            "starts_at": data["starts_at"].isoformat() if data["starts_at"] else None,
            "ends_at": data["ends_at"].isoformat() if data["ends_at"] else None,
        }
        kept = {name: value for name, value in draft.items() if name not in parts}
        return {**{name: value for name, value in parts.items() if value is not None}, **kept}

    @property
    def _keyed(self) -> bool:
        """Whether what starts a run has properties, one of which could tell runs apart."""
        return self.kind is None or self.kind.keyed

    def _goal(self, data: dict[str, Any]) -> dict[str, Any] | None:
        if not self.goal.name:
            return None
        value = {"value": data["goal_value"].strip()} if data["goal_value"].strip() else {}
        return {
            **self.goal.stored(),
            "within_days": data["goal_within"] or 7,
            **value,
            "exit": data["goal_exit"],
        }

    def _window(self, data: dict[str, Any]) -> dict[str, Any] | None:
        if not data["window"]:
            return None
        return {
            "from": data["window_from"].strftime("%H:%M"),
            "to": data["window_to"].strftime("%H:%M"),
            "days": sorted(data["window_days"]),
        }

    def values(self):
        suggest = Suggestions()
        kinds = sorted(triggers.registry.values(), key=lambda kind: (kind.position, kind.kind))
        wrong = set(self.form.errors)
        kind = self.kind
        return {
            "trigger_kinds": kinds,
            "trigger_kind": kind,
            "choosing": kind is None or (not self.draft.get("trigger") and self.post is None),
            "own_fields": shown_fields(self.own) if self.own is not None else [],
            "own_errors": self.own.non_field_errors() if self.own is not None and self.own.is_bound else [],
            "event": self.event.shown(suggest) if kind and (kind.event_field or kind.where_field) else None,
            "has_where": bool(kind and kind.where_field),
            "event_if": kind.show_event_if if kind else "",
            "event_names": event_names(suggest),
            "properties": sorted(suggest.properties(self.event.name)) if self.event.name else [],
            "sections": {
                name: {
                    "fields": [
                        row
                        for row in shown_fields(self.form)
                        if row["field"].name in names and (self._keyed or row["field"].name != "key")
                    ],
                    "words": words.sections(self.draft)[name],
                    "open": bool(wrong & set(names)),
                }
                for name, names in SECTIONS.items()
            },
            "entry": self.entry.shown(),
            "exit_rule": self.exit_rule.shown(),
            "exits": self.exits.shown(suggest),
            "goal": self.goal.shown(suggest),
            "errors": self.errors,
            "problems": self._problems() if self.post is None else [],
        }

    def _problems(self) -> list[str]:
        """What is wrong with what is stored, so that it is told before anything is changed."""
        try:
            found = check(parse(self.draft))
        except (DefinitionError, RuleError):
            return []
        parts = set(words.TRIGGER_PARTS)
        return (
            [text for path, text in found if path.partition(".")[0].partition("[")[0] in parts]
            if self.draft.get("trigger")
            else []
        )


def _local(text: Any) -> datetime | str | None:
    """A stored moment by the account's clock; what can't be read stays as it is."""
    try:
        return timezone.localtime(datetime.fromisoformat(text)) if text else None
    except (TypeError, ValueError):
        return str(text)
