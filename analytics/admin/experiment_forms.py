"""What is asked about an experiment before its start."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from analytics.admin.goal_forms import SuggestingInput
from campaigns.admin.flows.happenings import event_names
from campaigns.experiments import life
from campaigns.flows import editing
from campaigns.models import Experiment, Flow
from campaigns.segments.suggestions import Suggestions

Subject = Experiment.Subject
HEADS = ("name", "percent", "channel", "delay_minutes")


class ExperimentForm(forms.ModelForm):
    """What is tried out, how it is compared, and what happens then."""

    split = forms.ChoiceField(
        label=gettext_lazy("Random split"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=gettext_lazy("Of the flows that are live."),
    )
    ways = forms.CharField(
        label=gettext_lazy("Channels or times"),
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text=gettext_lazy(
            "For a broadcast, a line each, the usual way first: name | percent | channel | minutes later. Empty: the "
            "variants of its message."
        ),
    )

    class Meta:
        model = Experiment
        fields = [
            *(
                "name",
                "slug",
                "subject",
                "message",
                "split",
                "broadcast",
                "ways",
                "mode",
                "metric",
                "goal_event",
            ),
            *("window_hours", "value_property", "guard_rails", "smallest"),
        ]
        widgets = {
            **dict.fromkeys(("name", "value_property"), UnfoldAdminTextInputWidget),
            "goal_event": SuggestingInput(),
        }
        help_texts = {
            "subject": gettext_lazy(
                "A holdout compares people who are held out with the others. With nothing chosen below it is that of"
                " all marketing, which the sending rules set."
            ),
            "goal_event": gettext_lazy("The event that people should come to."),
        }

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if "goal_event" in self.fields:
            self.fields["goal_event"].widget.suggested = sorted(event_names(Suggestions()))
        if "split" in self.fields:
            self.fields["split"].choices = [("", "—"), *_splits()]
            if self.instance.flow_id:
                self.initial["split"] = f"{self.instance.flow_id}:{self.instance.step}"
        if "ways" in self.fields and self.instance.splits:
            self.initial["ways"] = "\n".join(
                " | ".join(str(arm.get(head) or "") for head in HEADS) for arm in self.instance.arms
            )

    def clean_ways(self) -> list[dict[str, Any]]:
        """The lines as arms."""
        arms = []
        for number, line in enumerate(filter(None, map(str.strip, self.cleaned_data["ways"].splitlines()))):
            name, percent, channel, delay = ([part.strip() for part in line.split("|")] + [""] * 4)[:4]
            try:
                arm = {"percent": float(percent), "delay_minutes": int(delay or 0)}
            except ValueError as error:
                raise forms.ValidationError(
                    _("Line %d: percent and minutes are numbers.") % (number + 1)
                ) from error
            if not 0 < arm["percent"] <= 100 or not 0 <= arm["delay_minutes"] <= 7 * 1440:
                raise forms.ValidationError(
                    _("Line %d: give more than 0 percent, and at most a week.") % (number + 1)
                )
            arms.append({"key": f"arm{number + 1}", "name": name or channel, "channel": channel, **arm})
        if len(arms) == 1:
            raise forms.ValidationError(_("Name two ways at least."))
        if arms and abs(sum(arm["percent"] for arm in arms) - 100) > 0.01:
            raise forms.ValidationError(_("The shares must add up to 100 percent."))
        return arms

    def clean(self) -> dict[str, Any]:
        """Keep what belongs to the subject, and say what does not go together."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        made, subject = self.instance, cleaned.get("subject")
        flow, _colon, step = (cleaned.get("split") or "").partition(":")
        made.flow_id = int(flow) if flow and subject in (Subject.STEP, Subject.HOLDOUT) else None
        made.step = step if subject == Subject.STEP else ""
        if subject not in (Subject.MESSAGE, Subject.HOLDOUT):
            cleaned["message"] = None
        if subject not in (Subject.BROADCAST, Subject.HOLDOUT):
            cleaned["broadcast"] = None
        made.arms = cleaned.get("ways") if subject == Subject.BROADCAST and cleaned.get("ways") else []
        trial = Experiment(
            subject=subject,
            flow_id=made.flow_id,
            step=made.step,
            arms=made.arms,
            **{
                name: cleaned.get(name)
                for name in ("message", "broadcast", "mode", "metric", "value_property")
            },
        )
        problem = life.unfit(trial)
        if problem:
            raise forms.ValidationError(problem)
        return cleaned


class PlanForm(forms.Form):
    """What is usual, to tell how many people and days it takes."""

    rate = forms.FloatField(
        label=gettext_lazy("Usual rate in percent"),
        min_value=0.001,
        max_value=99,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    smallest = forms.FloatField(
        label=gettext_lazy("Smallest rise worth knowing, in points"),
        min_value=0.001,
        max_value=90,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    daily = forms.FloatField(
        label=gettext_lazy("People a day"), min_value=0, widget=UnfoldAdminDecimalFieldWidget
    )


def _splits() -> list[tuple[str, str]]:
    found = []
    for flow in (
        Flow.objects.filter(live_version__isnull=False).select_related("live_version").order_by("name")
    ):
        for step, _siblings in editing.walk(flow.live_version.definition.get("steps", [])):
            if step.get("kind") == "random":
                title = (step.get("config") or {}).get("name") or " / ".join(
                    branch.get("name", "") for branch in step.get("branches", [])
                )
                found.append((f"{flow.pk}:{step['key']}", f"{flow.name}: {title}"))
    return found
