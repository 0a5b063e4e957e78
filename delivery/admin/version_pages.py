"""The versions of a message: what each changed, and the way back."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from crm import audit
from delivery import authoring, versions
from delivery.models import Message, MessageVersion

SHOWN = 30


def respond(model_admin: Any, request: HttpRequest, message: Message) -> HttpResponse:
    """Show the list with one version's changes (GET), or bring a version back (POST)."""
    if request.method == "POST":
        if not model_admin.has_change_permission(request, message):
            raise PermissionDenied
        return _restore(request, message)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "POST"])
    page = Paginator(message.versions.select_related("saved_by").defer("state"), SHOWN).get_page(
        request.GET.get("page")
    )
    shown = _shown(message, request.GET.get("version", ""))
    against = _against(message, shown, request.GET.get("against", ""))
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": Message._meta,
        "original": message,
        "title": _("Versions of %s") % message.name,
        "page": page,
        "shown": shown,
        "against": against,
        "present": request.GET.get("against") == "now",
        "changes": versions.changes(against.state if against else _NOTHING, shown.state) if shown else [],
        "may_restore": model_admin.has_change_permission(request, message),
    }
    return TemplateResponse(request, "admin/delivery/message/versions.html", context)


_NOTHING: dict[str, Any] = {"fields": {}, "variants": [], "words": []}


def _shown(message: Message, asked: str) -> MessageVersion | None:
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else message.version
    found = message.versions.select_related("saved_by").filter(number=number).first()
    if found is None and asked:
        raise Http404
    return found


def _against(message: Message, shown: MessageVersion | None, asked: str) -> MessageVersion | None:
    if shown is None:
        return None
    number = message.version if asked == "now" else shown.number - 1
    return message.versions.filter(number=number).first()


def _restore(request: HttpRequest, message: Message) -> HttpResponse:
    number = request.POST.get("version", "")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Http404
    try:
        made = versions.restore(message.pk, int(number), request.user)
    except MessageVersion.DoesNotExist as error:
        raise Http404 from error
    except authoring.Refused as error:
        told = "; ".join(sentence for _place, _field, sentence in error.problems)
        messages.error(request, _("It can't be sent as it was any more: %s") % told)
        return redirect("admin:delivery_message_versions", message.pk)
    if made is None:
        messages.info(request, _("The message is as it was then: nothing had to be changed."))
    else:
        audit.record(request, "message.restored", message, version=int(number))
        messages.success(request, _("The message is again as it was in version %s.") % number)
    return redirect("admin:delivery_message_change", message.pk)
