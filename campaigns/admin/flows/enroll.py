"""Enrolling by hand: somebody, several people, or everybody in a segment. Asked with the numbers before it is done."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from campaigns.admin.flows import around
from campaigns.admin.segments.members import name_of
from campaigns.flows import by_hand, comparing
from campaigns.models import Flow, FlowJob, Segment
from campaigns.segments import list_names, telling

TAB = "campaigns_flow_enroll"
MOST = 5_000  # people named by hand at once
SHOWN = 50  # of those whom nobody knows


def enroll(request: HttpRequest, flow: Flow, model_admin: Any) -> HttpResponse:
    """The form; on POST the numbers, and with `sure` the enrolling itself."""
    if not request.user.has_perm("campaigns.enroll_flow"):
        raise PermissionDenied
    hidden = telling.hidden_slugs()
    segments = [segment for segment in Segment.objects.order_by("name") if segment.slug not in hidden]
    source = flow.live_version.definition if flow.live_version else {}
    definition = comparing.read(source)
    values: dict[str, Any] = {
        "segments": segments,
        "typed": request.POST.get("people", ""),
        "chosen": request.POST.get("segment", ""),
        "key": request.POST.get("key", "").strip()[:200],
        "key_name": definition.key.removeprefix("properties.") if definition.key else "",
        "may_name": request.user.has_perm("crm.view_profile"),
    }
    if request.method == "POST":
        wanted = _wanted(values)
        if not wanted.get("problem") and request.POST.get("sure"):
            job = by_hand.start(flow, request, wanted.get("people"), wanted.get("segment"), key=values["key"])
            _told(request, job)
            return redirect("admin:campaigns_flow_inside", flow.pk)
        if not wanted.get("problem"):
            values["preview"] = by_hand.preview(flow, wanted.get("people"), wanted.get("segment"))
        values |= wanted
    return around.page(request, flow, model_admin, "enroll", TAB, **values)


def _wanted(values: dict[str, Any]) -> dict[str, Any]:
    """Whom the form means: `people` or a `segment`, with `unknown` lines; or the `problem` with it."""
    if values["key_name"] and not values["key"]:
        return {
            "problem": _("Give the value of “%s”, which tells runs of this flow apart.") % values["key_name"]
        }
    if values["chosen"]:
        segment = next((each for each in values["segments"] if each.slug == values["chosen"]), None)
        return {"segment": segment} if segment else {"problem": _("There is no such segment.")}
    if not values["may_name"]:
        return {"problem": _("Choose a segment.")}
    lines = list(dict.fromkeys(line.strip() for line in values["typed"].splitlines() if line.strip()))
    if not lines:
        return {"problem": _("Name somebody, or choose a segment.")}
    if len(lines) > MOST:
        return {"problem": _("Name at most %d people here; make a list of more and choose that.") % MOST}
    found = list_names.find([name_of(line) for line in lines])
    unknown = [(line, one.detail) for line, one in zip(lines, found, strict=True) if one.profile_id is None]
    people = [one.profile_id for one in found if one.profile_id is not None]
    if not people:
        return {"problem": _("Nobody is known by these names."), "unknown": unknown[:SHOWN]}
    return {"people": people, "unknown": unknown[:SHOWN]}


def _told(request: HttpRequest, job: FlowJob) -> None:
    started = job.outcome.get(by_hand.STARTED, 0)
    messages.success(
        request, ngettext("%d person was enrolled.", "%d people were enrolled.", started) % started
    )
    refused = job.done - started
    if refused:
        words = ngettext("%d person was not let in: %s.", "%d people were not let in: %s.", refused)
        reasons = ", ".join(
            f"{reason} ({number})" for reason, number in job.outcome.items() if reason != by_hand.STARTED
        )
        messages.warning(request, words % (refused, reasons))
    if job.state == FlowJob.State.RUNNING:
        messages.info(request, _("The rest goes on in the background; this page shows how far it is."))
