"""The form that a message step is edited by."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from campaigns.flows.waiting_forms import UNITS
from crm.rules.errors import RuleError
from crm.rules.moments import Span
from delivery import channels
from delivery.models import Message

ONE, PREFERRED, CHEAPEST, CHAIN = "one", "preferred", "cheapest", "chain"
CHOSEN = (PREFERRED, CHEAPEST)  # for each person
MOST_LINKS = 4
UNLESS = {
    "opened": gettext_lazy("opened it"),
    "clicked": gettext_lazy("clicked it"),
    "sent": gettext_lazy("been sent it"),
}


def listed() -> list[tuple[str, Any]]:
    """The channels that are offered."""
    return [(channel.kind, channel.label) for channel in channels.everything().values() if channel.listed]


def _link_fields(place: int) -> dict[str, forms.Field]:
    """The inputs of a chain's channel at `place`, from 1, and of what lets it have its turn."""
    shown = f"how={CHAIN}"
    # Everything after the second channel appears when the one before it was chosen.
    kinds = ",".join(kind for kind, _label in listed())
    if place > 2:
        shown += f";channel_{place - 1}={kinds}"
    channel = forms.ChoiceField(
        label=gettext_lazy("First by") if place == 1 else gettext_lazy("Then by"),
        required=False,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": shown}),
    )
    if place == 1:
        return {"channel_1": channel}
    waiting = shown if place == 2 else f"{shown};channel_{place}={kinds}"
    attrs = {"data-half": True, "data-show-if": waiting}
    return {
        f"channel_{place}": channel,
        f"unless_{place}": forms.ChoiceField(
            label=gettext_lazy("Unless they have"),
            choices=list(UNLESS.items()),
            initial="opened",
            required=False,
            widget=UnfoldAdminSelectWidget(attrs={"data-show-if": waiting}),
        ),
        f"wait_{place}": forms.IntegerField(
            label=gettext_lazy("Within"),
            min_value=1,
            max_value=43_200,
            initial=4,
            required=False,
            widget=UnfoldAdminIntegerFieldWidget(attrs=attrs),
        ),
        f"unit_{place}": forms.ChoiceField(
            label=gettext_lazy("Unit"),
            choices=list(UNITS.items()),
            initial="hours",
            required=False,
            widget=UnfoldAdminSelectWidget(attrs=attrs),
        ),
    }


class MessageForm(forms.Form):
    """Which message, and by which channel or channels."""

    message = forms.ChoiceField(label=gettext_lazy("Message"), widget=UnfoldAdminSelectWidget)
    how = forms.ChoiceField(
        label=gettext_lazy("Send it by"),
        choices=[
            (ONE, gettext_lazy("one channel")),
            (PREFERRED, gettext_lazy("the channel that suits each person best")),
            (CHEAPEST, gettext_lazy("the cheapest channel that reaches each person")),
            (CHAIN, gettext_lazy("one channel after the other, until one works")),
        ],
        initial=ONE,
        required=False,
        help_text=gettext_lazy(
            "What suits best is what the person wishes for, else where they open and click most, else what reaches "
            "them. What is cheapest is told by the prices of the sending accounts."
        ),
        widget=UnfoldAdminSelectWidget,
    )
    channel = forms.ChoiceField(
        label=gettext_lazy("Channel"),
        required=False,
        widget=UnfoldAdminSelectWidget(attrs={"data-show-if": f"how={ONE}"}),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields
        fields["message"].choices = [
            ("", _("Choose a message")),
            *Message.objects.values_list("slug", "name"),
        ]
        fields["channel"].choices = listed()
        for place in range(1, MOST_LINKS + 1):
            nothing = _("nothing more") if place > 2 else _("Choose a channel")
            fields[f"channel_{place}"].choices = [("", nothing), *listed()]

    def clean(self):
        data = super().clean() or {}
        how = data.get("how") or ONE
        if how == ONE and not data.get("channel") and "channel" not in self.errors:
            self.add_error("channel", _("Choose a channel."))
        if how == CHAIN:
            self._clean_chain(data)
        return data

    def _clean_chain(self, data: dict[str, Any]) -> None:
        taken: list[str] = []
        for place in range(1, MOST_LINKS + 1):
            name = f"channel_{place}"
            channel = data.get(name)
            if not channel:
                if place <= 2 and name not in self.errors:
                    self.add_error(name, _("Choose a channel."))
                return
            if channel in taken:
                self.add_error(name, _("It has had its turn."))
            taken.append(channel)
            if place > 1 and f"wait_{place}" not in self.errors:
                self._clean_wait(place, data)

    def _clean_wait(self, place: int, data: dict[str, Any]) -> None:
        if not data.get(f"wait_{place}"):
            self.add_error(f"wait_{place}", _("Fill this in."))
            return
        try:
            check_wait(Span(**{data.get(f"unit_{place}") or "hours": data[f"wait_{place}"]}), "")
        except RuleError as error:
            self.add_error(f"wait_{place}", error.message)

    @staticmethod
    def config_of(cleaned: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that the form's cleaned data means."""
        how = cleaned.get("how") or ONE
        found: dict[str, Any] = {"message": cleaned.get("message", "")}
        if how in CHOSEN:
            return found | {"channels": how}
        if how == ONE:
            return found | {"channel": cleaned.get("channel", "")}
        chain: list[dict[str, Any]] = []
        for place in range(1, MOST_LINKS + 1):
            channel = cleaned.get(f"channel_{place}")
            if not channel:
                break
            if chain:
                unit, number = cleaned.get(f"unit_{place}") or "hours", cleaned.get(f"wait_{place}") or 4
                chain[-1] |= {"wait": {unit: number}, "unless": cleaned.get(f"unless_{place}") or "opened"}
            chain.append({"channel": channel})
        return found | {"chain": chain}

    @staticmethod
    def initial_of(config: Mapping[str, Any]) -> dict[str, Any]:
        """What the form shows of settings, finished or not."""
        found: dict[str, Any] = {
            name: config[name] for name in ("message", "channel") if isinstance(config.get(name), str)
        }
        if config.get("channels") in CHOSEN:
            return found | {"how": config["channels"]}
        chain = config.get("chain")
        if not isinstance(chain, list):
            return found | {"how": ONE}
        found["how"] = CHAIN
        before: Mapping[str, Any] = {}
        for place, link in enumerate(chain[:MOST_LINKS], start=1):
            if not isinstance(link, Mapping):
                break
            found[f"channel_{place}"] = link.get("channel", "")
            if place > 1:
                found[f"unless_{place}"] = before.get("unless", "opened")
                wait = before.get("wait")
                units = [unit for unit in UNITS if isinstance(wait, Mapping) and wait.get(unit)]
                if wait and units:
                    found |= {f"wait_{place}": wait[units[0]], f"unit_{place}": units[0]}
            before = link
        return found


for _place in range(1, MOST_LINKS + 1):
    MessageForm.base_fields.update(_link_fields(_place))


def check_wait(wait: Span, path: str) -> None:
    """Raises RuleError unless it is one minute to thirty days."""
    wait.check(path)
    if wait.length.days > 30:
        raise RuleError(_("Wait for 30 days at most."), path)
