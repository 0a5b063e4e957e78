"""The builder: the page, its fragments, and the edits that change the tree."""

from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from campaigns.admin.flows import clipboard, pages, panels, tree, trigger_panel
from campaigns.flows import editing, people, steps
from campaigns.flows.definition import DefinitionError
from campaigns.models import Flow


def page(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """The whole page."""
    values = {
        **model_admin.admin_site.each_context(request),
        **pages.toolbar(request, flow, tree.build(flow)),
        "opts": model_admin.model._meta,
        "title": flow.name,
        "original": flow,
        "media": model_admin.media,
    }
    return TemplateResponse(request, f"{pages.TEMPLATES}/page.html", values)


def redraw(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """The tree as it is stored now."""
    return pages.drawn(request, flow)


def counts(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Only the figures, each for its place on the page."""
    found = people.step_counts(flow)
    known = [step["key"] for step, _siblings in editing.walk(flow.draft.get("steps", []))]
    values = pages.context(
        request,
        flow,
        totals=people.totals(flow),
        rows=[(key, found.get(key, people.StepCount())) for key in known],
    )
    return pages.fragment(request, "counts", values)


def add(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Choose a kind of step, fill in its form, and put the step where the “+” was."""
    place, index = request.GET.get("at", ""), _number(request.GET.get("index", ""))
    kind = steps.registry.get(request.GET.get("kind", ""))
    if kind is None:
        offered = sorted(steps.registry.values(), key=lambda kind: (kind.position, kind.kind))
        clip = clipboard.held(request)
        values = pages.context(request, flow, kinds=offered, place=place, index=index, clip=clip)
        return pages.fragment(request, "picker", values)
    panel = panels.StepPanel(request, flow, kind, place=place, index=index)
    if request.method != "POST" or panel.redraws or not panel.is_valid():
        return panel.render()

    def insert(draft: dict) -> dict:
        new = editing.made(draft, kind.kind, **panel.parts())
        panel.key = new["key"]
        return clipboard.inserted(draft, place, index, new)

    return _edit(request, flow, insert, _("Step added"), lambda: f"step-{panel.key}")


def step(request: HttpRequest, flow: Flow, model_admin, key: str) -> HttpResponse:
    """Show a step's form, or store it."""
    found = _find(flow, key)
    kind = steps.registry.get(found["kind"])
    if kind is None:
        raise Http404
    panel = panels.StepPanel(request, flow, kind, step=found)
    return _panel(
        request,
        flow,
        panel,
        lambda draft: editing.update(draft, key, **panel.parts()),
        _("Step saved"),
        f"step-{key}",
    )


def _panel(request: HttpRequest, flow: Flow, panel: panels.Panel, change, toast: str, focus: str):
    """Show a form, draw it anew, store it, or store it without being asked to."""
    if request.method != "POST":
        return panel.render()
    pages.require(request, "change")
    if panel.redraws:
        return panel.render()
    if not panel.is_valid():
        return pages.unsaved(panel.mistakes()) if _auto(request) else panel.render()
    return _edit(request, flow, change, toast, lambda: focus, news=panel.news)


def _auto(request: HttpRequest) -> bool:
    """Whether the form saves itself."""
    return "auto" in request.POST


def delete(request: HttpRequest, flow: Flow, model_admin, key: str) -> HttpResponse:
    """Ask before a step, and what is in its branches, goes; then remove it."""
    found = _find(flow, key)
    if request.method == "POST":
        before = _before(flow.draft, key)
        return _edit(
            request,
            flow,
            lambda draft: editing.remove(draft, key)[0],
            _("Step deleted"),
            lambda: before,
        )
    _rest, number = editing.remove(flow.draft, key)
    kind = steps.registry.get(found["kind"])
    values = pages.context(
        request,
        flow,
        key=key,
        number=number,
        here=flow.enrollments.filter(state="active", step=key).count(),
        label=kind.label if kind else found["kind"],
    )
    return pages.fragment(request, "delete", values)


def move(request: HttpRequest, flow: Flow, model_admin, key: str) -> HttpResponse:
    """Move a step one up or down in its sequence (`by`), or to `index` of another sequence (`to`)."""
    if request.method != "POST":
        return HttpResponse(status=405)
    by = request.POST.get("by")

    def change(draft: dict) -> dict:
        place, index, length = editing.locate(draft, key)
        if by in ("up", "down"):
            return editing.move(
                draft, key, place, min(max(index + (1 if by == "down" else -1), 0), length - 1)
            )
        return editing.move(draft, key, request.POST.get("to", ""), _number(request.POST.get("index", "")))

    return _edit(
        request,
        flow,
        change,
        _("Step moved"),
        lambda: f"move-{by}-{key}" if by else f"step-{key}",
        keep=bool(by),
    )


def clip(request: HttpRequest, flow: Flow, model_admin, key: str) -> HttpResponse:
    """Copy, cut or duplicate a step with all in its branches (`do`)."""
    if request.method != "POST":
        return HttpResponse(status=405)
    found, what = _find(flow, key), request.POST.get("do")
    if what == "duplicate":
        made: dict = {}

        def duplicate(draft: dict) -> dict:
            place, index, _length = editing.locate(draft, key)
            made.update(editing.copied(draft, editing.find(draft, key)))
            return clipboard.inserted(draft, place, index + 1, made)

        return _edit(request, flow, duplicate, _("Step duplicated"), lambda: f"step-{made['key']}")
    clipboard.hold(request, found)
    if what == "cut":
        before = _before(flow.draft, key)
        return _edit(
            request,
            flow,
            lambda draft: editing.remove(draft, key)[0],
            _("Cut. Paste it with a “+”, here or in another flow."),
            lambda: before,
        )
    return pages.said(_("Copied. Paste it with a “+”, here or in another flow."), copied=True)


def paste(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Put what was copied at `index` of the sequence `at`, or behind the step `after`, with keys of its own."""
    if request.method != "POST":
        return HttpResponse(status=405)
    held = clipboard.held(request)
    if held is None:
        return pages.refuse(_("Nothing was copied yet."))
    made: dict = {}

    def insert(draft: dict) -> dict:
        if after := request.POST.get("after"):
            place, index, _length = editing.locate(draft, after)
            index += 1
        else:
            place, index = request.POST.get("at", ""), _number(request.POST.get("index", ""))
        made.update(editing.copied(draft, held.step))
        return clipboard.inserted(draft, place, index, made)

    return _edit(request, flow, insert, _("Pasted"), lambda: f"step-{made['key']}")


def undo(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Go back to before the last edit."""
    return _travel(request, flow, editing.undo, _("Undone"), "flow-undo")


def redo(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """Go forth to before the last undo."""
    return _travel(request, flow, editing.redo, _("Done again"), "flow-redo")


def _travel(request: HttpRequest, flow: Flow, travel, toast: str, focus: str) -> HttpResponse:
    if request.method != "POST":
        return HttpResponse(status=405)
    try:
        flow = travel(flow.pk, pages.revision(request), request.user)
    except LookupError as error:
        return pages.refuse(str(error))
    return pages.drawn(request, flow, toast, focus, keep_panel=True)


def trigger(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """What starts the flow, for whom, how often, and what ends it early."""
    panel = trigger_panel.TriggerPanel(request, flow)
    return _panel(request, flow, panel, panel.apply, _("Trigger saved"), "flow-trigger")


def settings(request: HttpRequest, flow: Flow, model_admin) -> HttpResponse:
    """The flow's name and what it is for."""
    form = panels.SettingsForm(
        request.POST or None,
        initial={"name": flow.name, "description": flow.description},
        auto_id=panels.AUTO_ID,
    )
    if request.method == "POST":
        pages.require(request, "change")
        if form.is_valid():
            flow.name, flow.description = form.cleaned_data["name"], form.cleaned_data["description"]
            flow.save(update_fields=["name", "description", "updated_at"])
            model_admin.log_change(request, flow, _("Renamed to “%s”.") % flow.name)
            return pages.drawn(request, flow, _("Saved"), "flow-settings")
    values = pages.context(
        request,
        flow,
        form=form,
        delete_url=pages.optional_url("campaigns_flow_delete", flow.pk)
        if model_admin.has_delete_permission(request, flow)
        else "",
    )
    return pages.fragment(request, "settings", values)


def _edit(
    request: HttpRequest, flow: Flow, change, toast: str, focus, keep: bool = False, news=None
) -> HttpResponse:
    auto, revision = _auto(request), pages.revision(request)
    merge = auto and request.POST.get("merge") == str(revision)
    try:
        flow = editing.save(flow.pk, revision, change, request.user, merge=merge)
    except KeyError:
        return pages.refuse(_("This step is no longer there. Reload the page."))
    except DefinitionError as error:
        return pages.refuse(str(error))
    except ValueError as error:
        return pages.refuse(str(error))
    if auto:
        return pages.saved(request, flow, news(flow) if news else "")
    return pages.drawn(request, flow, toast, focus(), keep)


def _before(draft: dict, key: str) -> str:
    """The id of the card before a step, which gets the keyboard when the step goes."""
    place, index, _length = editing.locate(draft, key)
    if index:
        siblings = editing.sequence(draft, place)
        return f"step-{siblings[index - 1]['key']}"
    return f"step-{place.partition(':')[0]}" if place else "flow-trigger"


def _find(flow: Flow, key: str) -> dict:
    try:
        return editing.find(flow.draft, key)
    except KeyError:
        raise Http404 from None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 6 else 0
