"""Experiments in the admin: the list, the set-up with its plan, what came of them, and what messages bring."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin
from unfold.decorators import display

from analytics.admin.experiment_forms import ExperimentForm, plan_form
from analytics.admin.experiment_pages import arms, lift_rows, plan
from analytics.experiments import holdouts, judging, planning, words
from analytics.experiments.arms import Metric
from analytics.experiments.definitions import DEFINITIONS
from campaigns.experiments import life, shares
from campaigns.models import Experiment

State = Experiment.State
TEMPLATES = "admin/analytics/experiments"
RUN = "campaigns.run_experiment"
LIGHTS = {
    State.DRAFT: "info",
    State.RUNNING: "success",
    State.DECIDED: "success",
    State.STOPPED: "warning",
}


def _only(*subjects: str) -> str:
    """The condition, in the page, under which a field belongs to what is tried out."""
    return f"typeof subject === 'undefined' || {list(subjects)}.includes(subject)"


@admin.register(Experiment)
class ExperimentAdmin(ModelAdmin):
    """What was started can be stopped and decided, not changed."""

    form = ExperimentForm
    list_display = ["title", "subject", "mode", "light", "started_at"]
    list_filter = ["state", "subject"]
    search_fields = ["name", "slug"]
    list_per_page = 50
    prepopulated_fields = {"slug": ["name"]}
    list_empty = gettext_lazy(
        "An experiment gives people one of several ways by chance and tells which one brings more of them to a goal."
        " Try out the variants of a message, the branches of a random split, the channel, time or audience of a"
        " broadcast, or measure a holdout."
    )
    # What was started has no list to choose from, so that `subject` is unknown there and everything is shown.
    conditional_fields = {
        "message": _only("message", "holdout"),
        "split": _only("step", "holdout"),
        "broadcast": _only("broadcast", "audience", "holdout"),
        "ways": _only("broadcast"),
        "audiences": _only("audience"),
    }
    list_before_template = f"{TEMPLATES}/list_before.html"
    change_form_outer_before_template = f"{TEMPLATES}/form_before.html"
    fieldsets = [
        (None, {"fields": [("name", "slug"), "subject"]}),
        (
            gettext_lazy("Which one"),
            {
                "fields": ["message", "split", "broadcast", "ways", "audiences"],
            },
        ),
        (
            gettext_lazy("How it is compared"),
            {
                "fields": [
                    ("metric", "smallest"),
                    ("goal_event", "window_hours"),
                    "value_property",
                    "guard_rails",
                ]
            },
        ),
        (gettext_lazy("When it is clear which one is better"), {"fields": ["mode"]}),
    ]

    def get_urls(self) -> list[URLPattern]:
        """The page of what came of it, what can be done there, and what messages bring."""
        wrap = self.admin_site.admin_view
        return [
            path("lift/", wrap(self.lift_view), name="campaigns_experiment_lift"),
            path("<int:pk>/result/", wrap(self.result_view), name="campaigns_experiment_result"),
            path(
                "<int:pk>/do/<slug:what>/", wrap(require_POST(self.do_view)), name="campaigns_experiment_do"
            ),
            *super().get_urls(),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Experiment | None = None) -> Any:
        """All that decides is fixed from the start on."""
        if obj is None or obj.state == State.DRAFT:
            return ()
        return (
            "slug",
            "subject",
            "message",
            "broadcast",
            "mode",
            "metric",
            "goal_event",
            "window_hours",
            "value_property",
            "guard_rails",
            "smallest",
        )

    def get_fieldsets(self, request: HttpRequest, obj: Experiment | None = None) -> Any:
        """What only the form knows is not shown of what was started."""
        found = super().get_fieldsets(request, obj)
        if obj is None or (obj.state == State.DRAFT and self.has_change_permission(request, obj)):
            return found
        shown = [(None, {"fields": ["name", *self.get_readonly_fields(request, obj)]})]
        return (
            shown if obj.state != State.DRAFT else [(None, {"fields": ["name", "slug", "subject", "mode"]})]
        )

    def has_delete_permission(self, request: HttpRequest, obj: Experiment | None = None) -> bool:
        """One that runs is stopped first: people are in it."""
        running = obj is not None and obj.state == Experiment.State.RUNNING
        return not running and super().has_delete_permission(request, obj)

    def get_prepopulated_fields(self, request: HttpRequest, obj: Experiment | None = None) -> Any:
        """Only while there is a short name to write."""
        may = obj is None or (obj.state == State.DRAFT and self.has_change_permission(request, obj))
        return super().get_prepopulated_fields(request, obj) if may else {}

    def save_model(self, request: HttpRequest, obj: Experiment, form: Any, change: bool) -> None:
        """Who set it up is kept."""
        if not change:
            obj.created_by = request.user
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: Experiment, post_url_continue: Any = None
    ) -> HttpResponse:
        """A new one goes on with its plan."""
        if "_continue" in request.POST or "_addanother" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        return HttpResponseRedirect(reverse("admin:campaigns_experiment_result", args=[obj.pk]))

    @display(description=gettext_lazy("experiment"), ordering="name", header=True)
    def title(self, experiment: Experiment) -> list[str]:
        """Its name and what decides."""
        return [experiment.name, experiment.goal_event]

    @display(description=gettext_lazy("state"), ordering="state", label=LIGHTS)
    def light(self, experiment: Experiment) -> tuple[str, str]:
        """The state in its colour."""
        return experiment.state, experiment.get_state_display()

    def result_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The plan of a draft; else what came of it so far."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        experiment = get_object_or_404(
            Experiment.objects.select_related("message", "flow__live_version", "broadcast__message"), pk=pk
        )
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": experiment.name,
            "opts": self.opts,
            "experiment": experiment,
            "may_run": request.user.has_perm(RUN),
            "light": {"running": "good", "decided": "good", "stopped": "warning"}.get(experiment.state, ""),
        }
        if experiment.state == State.DRAFT:
            form = plan_form(experiment, request.GET if "rate" in request.GET else planning.usual(experiment))
            context |= {"form": form, "plan": plan(experiment, form), "ways": _ways(experiment)}
            return TemplateResponse(request, f"{TEMPLATES}/plan.html", context)
        look, counted_at = judging.recent(experiment)
        if look is not None:
            context |= {
                "result": look.result,
                "counted_at": counted_at,
                "sentence": words.sentence(look.result, experiment.names, settings.NUDGE_CURRENCY),
                "audiences": words.audience_sentence(
                    look.result.arms,
                    look.addressed,
                    look.result.rules.metric,
                    experiment.names,
                    settings.NUDGE_CURRENCY,
                )
                if look.addressed
                else "",
                "regret": words.regret_sentence(
                    look.regret, look.result.rules.metric, settings.NUDGE_CURRENCY
                )
                if look.regret and any(arm.exposed for arm in look.result.arms)
                else "",
                "arms": arms(experiment, look),
                "value_words": DEFINITIONS["value"] if look.result.rules.metric is Metric.VALUE else "",
                "choice": (experiment.decision or {}).get("choice"),
                "chosen": experiment.names.get((experiment.decision or {}).get("choice", ""), ""),
                "waits": (experiment.decision or {}).get("waits", ""),
            }
        return TemplateResponse(request, f"{TEMPLATES}/result.html", context)

    def lift_view(self, request: HttpRequest) -> HttpResponse:
        """What messages brought that would not have come without them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": _("What messages bring"),
            "opts": self.opts,
            "rows": lift_rows(holdouts.latest()),
            "counted_at": holdouts.counted_at(),
            "value_words": DEFINITIONS["value"],
        }
        return TemplateResponse(request, f"{TEMPLATES}/lift.html", context)

    def do_view(self, request: HttpRequest, pk: int, what: str) -> HttpResponse:
        """Start, stop, or go on with an arm."""
        if not request.user.has_perm(RUN) or not self.has_view_permission(request):
            raise PermissionDenied
        experiment = get_object_or_404(Experiment, pk=pk)
        try:
            if what == "start":
                form = plan_form(experiment, request.POST)
                found = plan(experiment, form) if experiment.state == State.DRAFT else None
                if form.errors and experiment.state == State.DRAFT:
                    raise life.LifeError(
                        _("Not started: the plan's numbers don't go together; see the plan.")
                    )
                if found is not None:
                    planned = {
                        "fewest_people": found.fewest,
                        "tuned_for": max(1, round(found.tuned_for)),
                        "smallest": form.cleaned_data["smallest"],
                    }
                    Experiment.objects.filter(pk=pk, state=State.DRAFT).update(**planned)
                life.start(pk, request.user)
                messages.success(request, _("It runs. People are counted from now on."))
            elif what == "stop":
                life.stop(pk, request.user)
                messages.success(request, _("Stopped. What was counted stays."))
            elif what == "choose":
                decided = life.decide(pk, "chosen", request.POST.get("arm", ""), request.user, apply=True)
                if decided:
                    messages.success(request, _("Everybody gets it from now on."))
                else:
                    messages.error(request, _("That can't be done just now; see below."))
            else:
                raise PermissionDenied
        except (life.LifeError, shares.SharesError) as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:campaigns_experiment_result", args=[pk]))


def _ways(experiment: Experiment) -> list[dict[str, Any]] | str:
    """The arms as they would be now, or why there are none."""
    try:
        return shares.current(experiment)
    except shares.SharesError as error:
        return str(error)
