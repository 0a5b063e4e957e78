"""What is asked about an experiment before its start."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
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
from campaigns.models import Experiment, Flow, Segment
from campaigns.segments.suggestions import Suggestions

Subject = Experiment.Subject
HEADS = ("name", "percent", "channel", "delay_minutes")
AUDIENCE_HEADS = ("name", "percent", "segment")


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

    audiences = forms.CharField(
        label=gettext_lazy("Audiences"),
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text=gettext_lazy(
            "A line each, the usual one first: name | percent | short name of a segment. The people of the broadcast"
            " are divided by chance; of its share each line addresses those who are in its segment, and without one"
            " everybody."
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
                "audiences",
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
        if "smallest" in self.fields:
            self.fields["smallest"].help_text = (
                _("In points of percent of the people; in %s per person where values are compared.")
                % settings.NUDGE_CURRENCY
            )
        if "goal_event" in self.fields:
            self.fields["goal_event"].widget.suggested = sorted(event_names(Suggestions()))
        if "split" in self.fields:
            self.fields["split"].choices = [("", "—"), *_splits()]
            if self.instance.flow_id:
                self.initial["split"] = f"{self.instance.flow_id}:{self.instance.step}"
        if "ways" in self.fields and self.instance.splits:
            self.initial["ways"] = _lines(self.instance, HEADS)
        if "audiences" in self.fields and self.instance.subject == Subject.AUDIENCE:
            self.initial["audiences"] = _lines(self.instance, AUDIENCE_HEADS)

    def clean_ways(self) -> list[dict[str, Any]]:
        """The lines as arms."""
        arms = []
        for number, parts in enumerate(_parts(self.cleaned_data["ways"], HEADS), 1):
            name, percent, channel, delay = parts
            try:
                arm = {"percent": float(percent), "delay_minutes": int(delay or 0)}
            except ValueError as error:
                raise forms.ValidationError(
                    _("Line %d: percent and minutes are numbers.") % number
                ) from error
            if not 0 < arm["percent"] <= 100 or not 0 <= arm["delay_minutes"] <= 7 * 1440:
                raise forms.ValidationError(
                    _("Line %d: give more than 0 percent, and at most a week.") % number
                )
            arms.append({"key": f"arm{number}", "name": name or channel, "channel": channel, **arm})
        return _whole(arms)

    def clean_audiences(self) -> list[dict[str, Any]]:
        """The lines as arms."""
        arms = []
        for number, (name, percent, segment) in enumerate(
            _parts(self.cleaned_data["audiences"], AUDIENCE_HEADS), 1
        ):
            try:
                share = float(percent)
            except ValueError as error:
                raise forms.ValidationError(_("Line %d: the percent is a number.") % number) from error
            if not 0 < share <= 100:
                raise forms.ValidationError(_("Line %d: give more than 0 percent, and at most 100.") % number)
            if segment and not Segment.objects.filter(slug=segment).exists():
                raise forms.ValidationError(
                    _("Line %(line)d: there is no segment “%(segment)s”.")
                    % {"line": number, "segment": segment}
                )
            name = name or segment or _("Everybody")
            arms.append({"key": f"arm{number}", "name": name, "segment": segment, "percent": share})
        return _whole(arms)

    def clean(self) -> dict[str, Any]:
        """Keep what belongs to the subject, and say what does not go together; what was started stays."""
        cleaned = super().clean() or self.cleaned_data
        made, subject = self.instance, cleaned.get("subject")
        if self.errors or made.state != Experiment.State.DRAFT:
            return cleaned
        flow, _colon, step = (cleaned.get("split") or "").partition(":")
        made.flow_id = int(flow) if flow and subject in (Subject.STEP, Subject.HOLDOUT) else None
        made.step = step if subject == Subject.STEP else ""
        if subject not in (Subject.MESSAGE, Subject.HOLDOUT):
            cleaned["message"] = None
        if subject not in (Subject.BROADCAST, Subject.AUDIENCE, Subject.HOLDOUT):
            cleaned["broadcast"] = None
        lines = {Subject.BROADCAST: "ways", Subject.AUDIENCE: "audiences"}.get(subject, "")
        made.arms = cleaned.get(lines) or []
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


class ValuePlanForm(forms.Form):
    """What is usual of what people are worth, to tell how many people and days it takes."""

    rate = forms.FloatField(
        label=gettext_lazy("Usual rate in percent"),
        min_value=0.001,
        max_value=99,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    deviation = forms.FloatField(
        help_text=gettext_lazy("The standard deviation of the value per person, those without any included."),
        min_value=0.0001,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    smallest = forms.FloatField(min_value=0.0001, widget=UnfoldAdminDecimalFieldWidget)
    daily = forms.FloatField(
        label=gettext_lazy("People a day"), min_value=0, widget=UnfoldAdminDecimalFieldWidget
    )

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        currency = {"currency": settings.NUDGE_CURRENCY}
        self.fields["deviation"].label = (
            _("How much it varies from person to person, in %(currency)s") % currency
        )
        self.fields["smallest"].label = (
            _("Smallest rise worth knowing, in %(currency)s per person") % currency
        )


def plan_form(experiment: Experiment, data: Any) -> PlanForm | ValuePlanForm:
    """The form for the plan of what is compared."""
    return (ValuePlanForm if experiment.metric == Experiment.Metric.VALUE else PlanForm)(data)


def _lines(experiment: Experiment, heads: Sequence[str]) -> str:
    return "\n".join(" | ".join(str(arm.get(head) or "") for head in heads) for arm in experiment.arms)


def _parts(text: str, heads: Sequence[str]) -> list[list[str]]:
    """Each line in parts, as many as there are heads."""
    lines = filter(None, map(str.strip, text.splitlines()))
    return [([part.strip() for part in line.split("|")] + [""] * len(heads))[: len(heads)] for line in lines]


def _whole(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(arms) == 1:
        raise forms.ValidationError(_("Name two ways at least."))
    if arms and abs(sum(arm["percent"] for arm in arms) - 100) > 0.01:
        raise forms.ValidationError(_("The shares must add up to 100 percent."))
    return arms


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
