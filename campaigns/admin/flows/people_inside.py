"""Who is or was inside a flow: looking through them, ending a run by hand, and changes of many runs under way."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from campaigns.admin.flows import around, pages
from campaigns.flows import catching_up, ending, jobs, reasons, roster
from campaigns.models import Enrollment, Flow, FlowJob
from crm import audit
from crm.models import Profile

TAB = "campaigns_flow_inside"
PER_PAGE = 50
JOBS = 5  # shown
FILTERS = ("step", "state", "version", "q")


def inside(request: HttpRequest, flow: Flow, model_admin: Any) -> HttpResponse:
    """A page of runs, by GET parameters step, state ("all" for any), version, q (a name or address) and page."""
    term = request.GET.get("q", "").replace("\x00", "").strip()[:200]
    may_see = request.user.has_perm("crm.view_profile")
    state = request.GET.get("state", Enrollment.State.ACTIVE)
    version = request.GET.get("version", "")
    wanted = roster.Wanted(
        step=request.GET.get("step", "")[:100].replace("\x00", ""),
        state="" if state == "all" else state,
        version=int(version) if version.isdecimal() and len(version) < 7 else None,
        people=_matching(request, term) if term and may_see else None,
    )
    words = roster.step_words(flow)
    page = Paginator(roster.runs(flow, wanted), PER_PAGE).get_page(request.GET.get("page"))
    counts = roster.counts(flow)
    labels = {str(value): label for value, label in Enrollment.State.choices}
    labels[roster.HELD_OUT] = _("held out")
    kept = QueryDict(mutable=True)
    kept.update({name: request.GET[name] for name in FILTERS if request.GET.get(name)})
    return around.page(
        request,
        flow,
        model_admin,
        "inside",
        TAB,
        page=page,
        rows=[
            (
                run,
                run.run_key.removeprefix("key:") if run.run_key.startswith("key:") else "",
                words.get(run.step, run.step),
                "" if run.state == "active" else reasons.ended_words(run.state, run.reason),
            )
            for run in page.object_list
        ],
        steps=list(words.items()),
        states=[(value, label, counts.get(value, 0)) for value, label in labels.items()],
        total=sum(counts.values()),
        versions=roster.versions(flow),
        wanted=wanted,
        term=term,
        kept=kept.urlencode(),
        may_see=may_see,
        now=timezone.now(),
        jobs=_jobs(flow),
        catch_up=catching_up.progress(flow.pk),
    )


def _matching(request: HttpRequest, term: str):
    people = admin.site.get_model_admin(Profile)
    return people.get_search_results(request, Profile.objects.all(), term)[0].order_by().values("pk")


def _jobs(flow: Flow) -> list[FlowJob]:
    running = list(flow.jobs.filter(state__in=["running", "failed"]).order_by("-pk")[:JOBS])
    return running or list(flow.jobs.select_related("started_by").order_by("-pk")[:1])


def end_run(request: HttpRequest, flow: Flow, model_admin: Any, run: int) -> HttpResponse:
    """End one run, with a note of why."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    _may_enroll(request)
    found = get_object_or_404(Enrollment, pk=run, flow=flow)
    note = request.POST.get("note", "").strip()[:1000]
    if ending.end_run(found.pk, request, note):
        messages.success(request, _("The run was ended. Messages of it that still wait are not sent."))
    else:
        messages.info(request, _("The run was over already."))
    query = QueryDict(request.POST.get("shown", "")).urlencode()
    return redirect(f"{reverse('admin:campaigns_flow_inside', args=[flow.pk])}?{query}")


def job(request: HttpRequest, flow: Flow, model_admin: Any, number: int) -> HttpResponse:
    """Cancel a change under way, or try one again that failed."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    found = get_object_or_404(FlowJob, pk=number, flow=flow)
    if found.kind == FlowJob.Kind.ENROLL:
        _may_enroll(request)
    else:
        pages.require(request, "publish")
    if request.POST.get("do") == "again":
        done = jobs.again(found.pk)
    else:
        done = found.kind != FlowJob.Kind.END and jobs.cancel(found.pk)
    if done:
        audit.record(
            request, "flow.change_changed", flow, job=found.pk, do=request.POST.get("do", "cancel")[:10]
        )
        messages.success(request, _("Done."))
    else:
        messages.info(request, _("That is not possible any more."))
    return redirect("admin:campaigns_flow_inside", flow.pk)


def _may_enroll(request: HttpRequest) -> None:
    if not request.user.has_perm("campaigns.enroll_flow"):
        raise PermissionDenied
