"""The side panel's forms: what they share, a step of any kind, and the flow's name."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from campaigns.admin.flows import branches, pages, rules, tree
from campaigns.admin.flows.happenings import EventList, event_names
from campaigns.flows import editing, people
from campaigns.flows.steps.base import StepKind
from campaigns.models import Flow
from campaigns.segments.suggestions import Suggestions

LONGEST_NOTE = 1000
PLACE = ("at", "index", "kind")  # of a step that is being added
# The segment builder's script listens to ids of the admin's usual shape.
AUTO_ID = "flow-field-%s"


class SettingsForm(forms.Form):
    """What a flow is called."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=200, widget=UnfoldAdminTextInputWidget)
    description = forms.CharField(
        label=gettext_lazy("Description"),
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )


class Panel:
    """A form that is drawn, redrawn by its own buttons without storing anything, and checked."""

    template: str
    focus = ""

    def __init__(self, request: HttpRequest, flow: Flow):
        self.request, self.flow = request, flow
        self.post = request.POST if request.method == "POST" else None
        self.redraws = "redraw" in request.GET and request.method == "POST"

    @property
    def operation(self) -> tuple[str, str]:
        """What a button of the form asks for, and of what. Nothing when the form is being stored."""
        if not self.redraws or self.post is None:
            return "", ""
        return self.post.get("op", ""), self.post.get("target", "")

    def filled(
        self, form: type[forms.Form], initial: dict[str, Any], prefix: str | None = None
    ) -> forms.Form:
        """The form as posted; with what was posted as its beginning when it only redraws itself.

        A form that is only redrawn is not to complain about what is not entered yet.
        """
        if self.post is None:
            return form(initial=initial, auto_id=AUTO_ID, prefix=prefix)
        if not self.redraws:
            return form(self.post, auto_id=AUTO_ID, prefix=prefix)
        blank = form(prefix=prefix)
        entered = {
            name: field.widget.value_from_datadict(self.post, {}, blank.add_prefix(name))
            for name, field in blank.fields.items()
        }
        return form(initial=entered, auto_id=AUTO_ID, prefix=prefix)

    def values(self) -> dict[str, Any]:
        """What the template needs."""
        raise NotImplementedError

    def news(self, flow: Flow) -> str:
        """What of the open panel changes when it has saved itself, each part for its place on the page."""
        return ""

    def mistakes(self) -> list[str]:
        """What keeps the form from being stored, in whole sentences, once it was checked."""
        raise NotImplementedError

    def render(self) -> HttpResponse:
        """The panel's body. What the person entered stays, with what is wrong with it."""
        # What a GET brings besides, such as the revision of the page, is no part of the form's address.
        place = {name: self.request.GET[name] for name in PLACE if name in self.request.GET}
        save_url = f"{self.request.path}?{urlencode(place)}" if place else self.request.path
        edit_url = f"{save_url}{'&' if place else '?'}redraw=1"
        may_change = pages.Rights(self.request).change
        values = pages.context(
            self.request,
            self.flow,
            save_url=save_url,
            focus=self.focus,
            **rules.template_values(edit_url, may_change),
            **self.values(),
        )
        return pages.fragment(self.request, self.template, values)


class StepPanel(Panel):
    """The settings of one step, to be added at `place` and `index` or already there (`step`)."""

    template = "step"

    def __init__(
        self,
        request: HttpRequest,
        flow: Flow,
        kind: StepKind,
        step: dict[str, Any] | None = None,
        place: str = "",
        index: int = 0,
    ):
        super().__init__(request, flow)
        self.kind, self.step, self.place, self.index = kind, step or {}, place, index
        self.key = self.step.get("key", "")
        config = self.step.get("config", {})
        self.form = self.filled(kind.Form, kind.initial(config) if step else {})
        self.branches = branches.of(kind, self.post, self.step.get("branches", []))
        if self.post is None:
            self.condition = rules.RuleEditor.of(self.step.get("condition"), rules.CONDITION)
            self.rule = rules.RuleEditor.of(config.get(kind.rule_field), rules.RULE)
            self.events = EventList.of("events", config.get(kind.events_field) or [{}])
            self.note = self.step.get("note", "")
        else:
            self.condition = rules.RuleEditor.posted(self.post, rules.CONDITION)
            self.rule = rules.RuleEditor.posted(self.post, rules.RULE)
            self.events = EventList.posted(self.post, "events")
            self.note = self.post.get("note", "").strip()[:LONGEST_NOTE]
        if self.redraws:
            self.focus = self._apply(*self.operation)

    def _apply(self, operation: str, target: str) -> str:
        number = rules.number_of(target)
        if number == rules.CONDITION:
            return self.condition.apply(operation, target)
        if number == rules.RULE:
            return self.rule.apply(operation, target)
        if target.startswith("events"):
            return self.events.apply(operation, target)
        return self.branches.apply(operation, target) if self.branches else ""

    def _slot(self, name: str) -> bool:
        """Whether the kind has a rule or events of its own, and the form asks for them as it is filled in."""
        if not getattr(self.kind, f"{name}_field"):
            return False
        data = self.form.cleaned_data if self.form.is_bound and self.form.is_valid() else self.form.initial
        return holds(getattr(self.kind, f"show_{name}_if", ""), data)

    def is_valid(self) -> bool:
        """Whether the step can be stored."""
        checked = [
            self.form.is_valid(),
            self.branches is None or self.branches.is_valid(),
            self.condition.empty or self.condition.is_valid(),
            not self._slot("rule") or self.rule.empty or self.rule.is_valid(),
            not self._slot("events") or self.events.is_valid(),
        ]
        return all(checked)

    def mistakes(self):
        found = form_mistakes(self.form)
        if self.branches:
            found += [row.error for row in self.branches.all if row.error]
            found += [self.branches.error] if self.branches.error else []
        return found

    def parts(self) -> dict[str, Any]:
        """The step's `config`, `note`, `condition` and, for a split, its `branches`; None for what it has not."""
        config = self.kind.stored(self.form.cleaned_data)
        if self._slot("rule") and not self.rule.empty:
            config[self.kind.rule_field] = self.rule.rule()
        if self._slot("events") and self.events.rows:
            config[self.kind.events_field] = self.events.stored()
        parts: dict[str, Any] = {
            "config": config,
            "note": self.note or None,
            "condition": None if self.condition.empty else self.condition.rule(),
        }
        return parts | ({"branches": self.branches.stored()} if self.branches else {})

    def values(self):
        suggest = Suggestions()
        found: dict[str, Any] = {
            "kind": self.kind,
            "form": self.form,
            "fields": shown_fields(self.form),
            "key": self.key,
            "branches": self.branches.shown() if self.branches else None,
            "condition": self.condition.shown(),
            "condition_words": "" if self.condition.empty else tree.rule_sentence(self.condition.rule()),
            "note": self.note,
            "longest_note": LONGEST_NOTE,
            "extra": pages.step_template(self.kind.kind),
            "message_url": pages.optional_url("delivery_message_add"),
            "pool_url": pages.optional_url("delivery_couponpool_add"),
        }
        if self.kind.rule_field:
            found |= {"rule": self.rule.shown(), "rule_if": getattr(self.kind, "show_rule_if", "")}
        if self.kind.events_field:
            found |= {
                "events": self.events.shown(suggest),
                "events_if": getattr(self.kind, "show_events_if", ""),
                "event_names": event_names(suggest),
            }
        if self.key:
            _place, index, length = editing.locate(self.flow.draft, self.key)
            found |= {"up": index > 0, "down": index < length - 1}
            if self.flow.live_version_id:
                found["count"] = people.step_counts(self.flow).get(self.key, people.StepCount())
        return found


def shown_fields(form: forms.Form) -> list[dict[str, Any]]:
    """The fields for the template, each with when it is shown and whether it takes half of the width."""
    found = []
    for field in form:
        attrs = field.field.widget.attrs
        found.append(
            {
                "field": field,
                "show_if": attrs.get("data-show-if", ""),
                "half": "data-half" in attrs,
            }
        )
    return found


def holds(condition: str, data: dict[str, Any]) -> bool:
    """Whether a `data-show-if` condition ("kind=date,time;source=event") holds of a form's data."""
    for part in filter(None, condition.split(";")):
        name, _equals, values = part.partition("=")
        value = data.get(name.strip())
        texts = [str(item) for item in value] if isinstance(value, list) else [str(value or "")]
        if value is True:
            texts = ["on"]
        if not {text.strip() for text in values.split(",")} & set(texts):
            return False
    return True


def form_mistakes(form: forms.Form) -> list[str]:
    """What is wrong with a form, each with the field's name in front."""
    found = []
    for name, errors in form.errors.items():
        label = form.fields[name].label if name in form.fields else ""
        found += [f"{label}: {error}" if label else str(error) for error in errors]
    return found
