"""List: put people on a list, or take them off it."""

from typing import Any, Literal

import msgspec
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget

from campaigns.flows import contention
from campaigns.flows.steps.base import StepKind, go_on
from campaigns.models import Segment
from campaigns.segments import lists
from crm.rules.errors import Problem

ADD, REMOVE = "add", "remove"


class ListConfig(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which list (by its short name), and whether people come onto it or leave it."""

    list: str
    do: Literal["add", "remove"] = "add"


class ListForm(forms.Form):
    do = forms.ChoiceField(
        label=gettext_lazy("Do"),
        choices=[(ADD, gettext_lazy("Put on the list")), (REMOVE, gettext_lazy("Take off the list"))],
        initial=ADD,
        widget=UnfoldAdminRadioSelectWidget,
    )
    list = forms.ChoiceField(label=gettext_lazy("List"), widget=UnfoldAdminSelectWidget)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["list"].choices = [("", _("Choose a list")), *_lists()]


def _lists() -> list[tuple[str, str]]:
    return list(Segment.objects.filter(kind=Segment.Kind.LIST).values_list("slug", "name"))


class ListChange(StepKind):
    """Puts people on a static list or takes them off; who is there already, or not, stays so."""

    kind, label, icon, position, pure = "list_change", gettext_lazy("Change list"), "playlist_add", 52, False
    help = gettext_lazy("Put people on a list, or take them off it.")
    Config, Form = ListConfig, ListForm

    def run(self, step, people, now):
        config = self.config(step)
        segment = Segment.objects.get(slug=config.list)
        change = lists.add if config.do == ADD else lists.remove

        def changed(some):
            change(segment, [person.profile_id for person in some], now)
            return self.rehearse(step, some, now)

        return contention.without_waiting(people, now, changed)

    def rehearse(self, step, people, now):
        config = self.config(step)
        return {person.enrollment_id: go_on(list=config.list, do=config.do) for person in people}

    def summary(self, step):
        slug = step.config.get("list", "")
        name = Segment.objects.filter(slug=slug).values_list("name", flat=True).first()
        if name is None:
            return str(_("No list chosen"))
        return (_("Off “%s”") if step.config.get("do") == REMOVE else _("On “%s”")) % name

    def config_problems(self, step, config):
        segment = Segment.objects.filter(slug=config.list).first()
        if segment is None:
            return [Problem("list", _("There is no such list any more; choose another."))]
        try:
            lists.check(segment)
        except lists.NotAList as error:
            return [Problem("list", str(error))]
        return []
