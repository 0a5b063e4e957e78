"""The side panel's forms: a step of any kind, a split with its branches, the trigger, the flow's name."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.loader import select_template
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from campaigns.admin.flows import pages, rules
from campaigns.flows import editing, people
from campaigns.flows.steps.base import StepKind
from campaigns.models import Flow
from campaigns.segments.conditions import kinds as conditions
from campaigns.segments.grammar import parse
from campaigns.segments.rows import Posted, read_event
from campaigns.segments.suggestions import Suggestions
from crm.rules.errors import RuleError

# Sent by the SDK and written by the product itself, so worth offering before the first one was seen.
KNOWN_EVENTS = (
    "push_subscribed",
    "push_unsubscribed",
    "identified",
    "page_viewed",
    "product_viewed",
    "cart_updated",
    "purchase",
    "message_opened",
    "message_clicked",
    "segment_entered",
    "segment_left",
    "consent_changed",
)


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

    def values(self) -> dict[str, Any]:
        """What the template needs."""
        raise NotImplementedError

    def render(self) -> HttpResponse:
        """The panel's body. What the person entered stays, with what is wrong with it."""
        url = self.request.get_full_path()
        may_change = pages.Rights(self.request).change
        separator = "&" if "?" in url else "?"
        edit_url = url if "redraw" in self.request.GET else f"{url}{separator}redraw=1"
        values = pages.context(
            self.request,
            self.flow,
            save_url=edit_url.replace("&redraw=1", "").replace("?redraw=1", ""),
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
        self.kind, self.step, self.place, self.index = kind, step, place, index
        self.key = step["key"] if step else ""
        # A form that only redraws itself is not to complain about what is not entered yet.
        initial = dict((step or {}).get("config", {}))
        if self.redraws and self.post is not None:
            initial = {name: self.post.get(name, "") for name in kind.Form.base_fields}
        self.form = kind.Form(
            self.post if self.post is not None and not self.redraws else None,
            initial=initial,
            auto_id=AUTO_ID,
        )
        self.branches = Branches(self.post, (step or {}).get("branches", [])) if kind.branching else None
        if self.branches and self.redraws:
            self.focus = self.branches.apply(*self.operation)

    def is_valid(self) -> bool:
        """Whether the step can be stored."""
        good = self.form.is_valid()
        return (self.branches is None or self.branches.is_valid()) and good

    def parts(self) -> dict[str, Any]:
        """The step's `config` and, for a split, its `branches`."""
        config = {name: value for name, value in self.form.cleaned_data.items() if value not in (None, "")}
        return {"config": config} | ({"branches": self.branches.stored()} if self.branches else {})

    def values(self):
        count = (
            people.step_counts(self.flow).get(self.key) if self.key and self.flow.live_version_id else None
        )
        extra = select_template(
            [f"{pages.TEMPLATES}/steps/{self.kind.kind}.html", f"{pages.TEMPLATES}/steps/none.html"]
        )
        found: dict[str, Any] = {
            "kind": self.kind,
            "form": self.form,
            "key": self.key,
            "branches": self.branches.shown() if self.branches else None,
            "branch_error": self.branches.error if self.branches else "",
            "can_add_branch": bool(self.branches and len(self.branches.rows) < rules.MOST_TREES),
            "extra": extra,
            "count": count,
            "message_url": pages.optional_url("delivery_message_add"),
            "reload_url": self.request.get_full_path(),
        }
        if self.key:
            _place, index, length = editing.locate(self.flow.draft, self.key)
            found |= {"up": index > 0, "down": index < length - 1}
        return found


class Row:
    """One branch in the form. `origin` is its index among the stored branches, None for a new one."""

    def __init__(self, name: str, origin: int | None, editor: rules.RuleEditor | None, error: str = ""):
        self.name, self.origin, self.editor, self.error = name, origin, editor, error


class Branches:
    """The branches of a split: some with a rule each, and last the one that takes everybody else."""

    def __init__(self, post, stored: list[dict[str, Any]]):
        self.before, self.error = stored, ""
        if post is not None and "rest-name" in post:
            self._read(post)
        else:
            self._load(stored)

    def _load(self, stored: list[dict[str, Any]]) -> None:
        ruled = [(index, branch) for index, branch in enumerate(stored) if branch.get("rule") is not None]
        rest = next((i for i, branch in enumerate(stored) if branch.get("rule") is None), None)
        self.rows = [
            Row(branch["name"], index, rules.RuleEditor.of(branch["rule"], number))
            for number, (index, branch) in enumerate(ruled[: rules.MOST_TREES])
        ] or [Row(_("Yes"), None, rules.RuleEditor.of(None, 0))]
        self.rest = Row(stored[rest]["name"] if rest is not None else _("Everybody else"), rest, None)

    def _read(self, post) -> None:
        self.rows = []
        for text in post.getlist("branch")[: rules.MOST_TREES]:
            if text.isdecimal() and int(text) < rules.MOST_TREES:
                name, origin = post.get(f"b{text}-name", ""), self._origin(post.get(f"b{text}-origin", ""))
                self.rows.append(Row(name.strip()[:100], origin, rules.RuleEditor.posted(post, int(text))))
        self.rest = Row(
            post.get("rest-name", "").strip()[:100], self._origin(post.get("rest-origin", "")), None
        )

    def _origin(self, text: str) -> int | None:
        return int(text) if text.isdecimal() and int(text) < len(self.before) else None

    def apply(self, operation: str, target: str) -> str:
        """Do what a button asks for; return the id of what gets the focus."""
        if operation == "add-branch" and len(self.rows) < rules.MOST_TREES:
            free = next(
                n for n in range(rules.MOST_TREES) if n not in {row.editor.number for row in self.rows}
            )
            self.rows.append(Row("", None, rules.RuleEditor.of(None, free)))
            return f"b{free}-name"
        if operation == "remove-branch":
            self.rows = [row for row in self.rows if str(row.editor.number) != target]
            return "add-branch"
        for row in self.rows:
            if row.editor.number == rules.number_of(target):
                return row.editor.apply(operation, target)
        return ""

    def is_valid(self) -> bool:
        """Whether every branch has a name of its own and a finished rule."""
        names = [row.name for row in (*self.rows, self.rest)]
        good = True
        for row in (*self.rows, self.rest):
            if not row.name:
                row.error = _("Name the branch.")
            elif names.count(row.name) > 1:
                row.error = _("Another branch has this name.")
            elif row.editor is not None and row.editor.empty:
                row.error = _("Add a condition: without one, everybody would go this way.")
            if row.error or (row.editor is not None and not row.editor.is_valid()):
                good = False
        if not self.rows:
            self.error = _("Add a branch with a rule.")
        return good and bool(self.rows)

    def stored(self) -> list[dict[str, Any]]:
        """The branches with the steps that they held before."""
        found = []
        for row in (*self.rows, self.rest):
            steps = self.before[row.origin].get("steps", []) if row.origin is not None else []
            rule = {"rule": row.editor.rule()} if row.editor is not None else {}
            found.append({"name": row.name, "steps": steps, **rule})
        return found

    def shown(self) -> dict[str, Any]:
        """What the template draws."""

        def held(row: Row) -> int:
            branch = self.before[row.origin] if row.origin is not None else {}
            return sum(1 for _step in editing.walk(branch.get("steps", [])))

        rows = [
            {
                "number": row.editor.number,
                "name": row.name,
                "origin": "" if row.origin is None else row.origin,
                "error": row.error,
                "tree": row.editor.shown(),
                "held": held(row),
            }
            for row in self.rows
        ]
        origin = "" if self.rest.origin is None else self.rest.origin
        return {"rows": rows, "rest": {"name": self.rest.name, "origin": origin, "error": self.rest.error}}


class TriggerForm(forms.Form):
    """Who may enter how often. The event, the entry rule and the exit events have inputs of their own."""

    key = forms.CharField(
        label=gettext_lazy("One run for each"),
        required=False,
        max_length=200,
        help_text=gettext_lazy(
            "An event property that tells runs apart, such as cart_id: two carts run side by side. "
            "Empty: one run at a time for each person."
        ),
        widget=UnfoldAdminTextInputWidget(attrs={"dir": "ltr", "autocomplete": "off"}),
    )
    mode = forms.ChoiceField(
        label=gettext_lazy("May somebody enter again?"),
        choices=[
            ("never", gettext_lazy("Never: once per person")),
            ("always", gettext_lazy("Yes, as soon as they are out")),
            ("after", gettext_lazy("Yes, after some days")),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    days = forms.IntegerField(
        label=gettext_lazy("Days since they last entered"),
        required=False,
        min_value=1,
        max_value=3650,
        widget=UnfoldAdminIntegerFieldWidget,
    )

    def clean_key(self):
        """The property's name, with or without “properties.” in front."""
        return self.cleaned_data["key"].strip().removeprefix("properties.")

    def clean(self):
        data = super().clean()
        if data.get("mode") == "after" and not data.get("days") and "days" not in self.errors:
            self.add_error("days", _("Say after how many days somebody may enter again."))
        return data


class TriggerPanel(Panel):
    """What starts the flow, for whom, how often, and what ends it early."""

    template = "trigger"

    def __init__(self, request: HttpRequest, flow: Flow):
        super().__init__(request, flow)
        self.draft = flow.draft or editing.empty()
        self.errors: dict[str, str] = {}
        if self.post is not None:
            self._read(self.post)
        else:
            self._load()

    def _load(self) -> None:
        draft = self.draft
        reentry = draft.get("reentry") or {}
        self.event = {"kind": "event", "name": "", **(draft.get("trigger") or {})}
        self.exits = [trigger["name"] for trigger in draft.get("exit_on", [])]
        self.entry = rules.RuleEditor.of(draft.get("entry"))
        self.form = TriggerForm(
            auto_id=AUTO_ID,
            initial={
                "key": (draft.get("key") or "").removeprefix("properties."),
                "mode": reentry.get("mode", "never"),
                "days": reentry.get("days"),
            },
        )

    def _read(self, post) -> None:
        mine: Posted = {
            name.removeprefix("trigger."): texts
            for name, texts in post.lists()
            if name.startswith("trigger.")
        }
        self.event = read_event(mine)
        self.event["name"] = self.event["name"].strip()
        self.exits = [text.strip()[:200] for text in post.getlist("exit")][:20]
        self.entry = rules.RuleEditor.posted(post)
        if not self.redraws:
            self.form = TriggerForm(post, auto_id=AUTO_ID)
            return
        self.form = TriggerForm(
            initial={name: post.get(name, "") for name in TriggerForm.base_fields}, auto_id=AUTO_ID
        )
        operation, target = self.operation
        if target == "trigger":
            self._edit_where(operation)
        elif target == "exit":
            self._edit_exits(operation)
        elif target:
            self.focus = self.entry.apply(operation, target)

    def _edit_where(self, operation: str) -> None:
        where = self.event.setdefault("where", [])
        number = operation.removeprefix("remove-where-")
        if operation == "add-where":
            where.append({"property": "", "op": "", "value": None})
            self.focus = f"trigger.where{len(where) - 1}.property"
        elif number.isdecimal():
            del where[int(number) : int(number) + 1]
            self.focus = "trigger-add-where"

    def _edit_exits(self, operation: str) -> None:
        number = operation.removeprefix("remove-exit-")
        if operation == "add-exit":
            self.exits.append("")
            self.focus = f"exit-{len(self.exits) - 1}"
        elif number.isdecimal():
            del self.exits[int(number) : int(number) + 1]
            self.focus = "add-exit"

    def trigger(self) -> dict[str, Any]:
        """The trigger as stored."""
        where = [
            {name: item[name] for name in ("property", "op", "value") if name in item}
            for item in self.event.get("where", [])
        ]
        return {"kind": "event", "name": self.event["name"], **({"where": where} if where else {})}

    def is_valid(self) -> bool:
        """Whether the trigger can be stored; otherwise `errors` and the form say what is wrong."""
        if not self.event["name"]:
            self.errors["name"] = _("Choose an event.")
        else:
            try:
                parse(self.trigger())
            except RuleError as error:
                self.errors["where"] = error.message
        good = self.form.is_valid()
        return (self.entry.empty or self.entry.is_valid()) and good and not self.errors

    def apply(self, draft: dict[str, Any]) -> dict[str, Any]:
        """The draft with what the form says. An exit event that stays keeps its filters."""
        data = self.form.cleaned_data
        filters = {trigger["name"]: trigger for trigger in draft.get("exit_on", [])}
        names = dict.fromkeys(name for name in self.exits if name)
        reentry = {"mode": data["mode"]} | ({"days": data["days"]} if data["mode"] == "after" else {})
        parts = {
            "trigger": self.trigger(),
            "reentry": reentry,
            "exit_on": [filters.get(name, {"kind": "event", "name": name}) for name in names],
            "key": f"properties.{data['key']}" if data["key"] else None,
            "entry": None if self.entry.empty else self.entry.rule(),
        }
        changed = {name: value for name, value in draft.items() if name not in parts}
        return {**{name: value for name, value in parts.items() if value is not None}, **changed}

    def values(self):
        suggest = Suggestions()
        return {
            "form": self.form,
            "event": self.event,
            "where": conditions()["event"].row(self.event, suggest)["where"],
            "events": list(dict.fromkeys([*suggest.event_names(), *KNOWN_EVENTS])),
            "exits": self.exits,
            "entry": self.entry.shown(),
            "errors": self.errors,
        }
