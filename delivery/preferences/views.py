"""The preference page, leaving everything, and confirming a yes.

The signed token in the address is the authority: there is no login and no cookie, so a form from another site could
do nothing that its sender could not do with the token itself. Looking (GET, HEAD) never changes anything: mail
scanners and browsers follow links ahead of people.
"""

import secrets
from collections.abc import Callable
from datetime import time
from functools import wraps
from typing import Any, Concatenate
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import trans_real
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from crm import masking, opt_in
from crm.models import Profile
from delivery.models import PreferencePage
from delivery.preferences import choices, colours, links, tokens
from delivery.preferences.choices import Chosen, Offer

View = Callable[Concatenate[HttpRequest, Profile, tokens.Link, ...], HttpResponse]
MAX_LANGUAGE = 35  # characters


class FormError(ValueError):
    """What was entered can't be taken; the message is for the person."""


def _for_people(*methods: str) -> Callable[[View], Callable[..., HttpResponse]]:
    """A page behind a token: finds the person, speaks their language, keeps everybody else out."""

    def decorate(view: View) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @require_http_methods(methods)
        @wraps(view)
        def answer(request: HttpRequest, token: str) -> HttpResponse:
            try:
                link = tokens.read(token)
                profile = choices.find(link)
            except tokens.BadToken:
                link, profile = None, None
            with translation.override(language_for(request, profile)):
                if token == links.EXAMPLE:
                    return page(request, "example")
                if link is None:
                    return page(request, "unknown", status=404)
                if profile is None:  # erased: they get nothing, and that is what somebody who leaves wants
                    if request.method == "POST":
                        return page(request, "left")
                    return page(request, "unknown", status=404)
                return view(request, profile, link, token)

        return answer

    return decorate


def language_for(request: HttpRequest, profile: Profile | None) -> str:
    """The language that the link asks for, else the person's, else the browser's, else ours; one that we speak."""
    told = [request.GET.get("lang", ""), (profile.language or "") if profile else ""]
    accepted = trans_real.parse_accept_lang_header(request.headers.get("Accept-Language", ""))
    for language in (*told, *(language for language, _weight in accepted)):
        code = spoken(language)
        if code:
            return code
    return settings.LANGUAGE_CODE


def spoken(language: str) -> str:
    """The one of our languages that is or stands for `language`; empty when there is none."""
    codes = [code for code, _name in settings.LANGUAGES]
    tag = language.strip().replace("_", "-").lower()[:MAX_LANGUAGE]
    return next((code for code in (tag, tag.split("-")[0]) if code in codes), "")


@_for_people("GET", "HEAD", "POST")
def preferences(request: HttpRequest, profile: Profile, link: tokens.Link, token: str) -> HttpResponse:
    """Choose topics, channels, how often, quiet hours and language."""
    offered = choices.offer(profile, translation.get_language() or "")
    error = ""
    if request.method == "POST":
        try:
            chosen = _chosen(request)
            choices.save(profile, chosen, offered, link, _proof(request))
            return harden(HttpResponseRedirect(f"{request.path}?saved", status=303))
        except FormError as problem:
            error = str(problem)
    return page(
        request,
        "page",
        status=422 if error else 200,
        error=error,
        posted=request.POST if error else None,
        saved="saved" in request.GET,
        unsubscribe=reverse("preferences:unsubscribe", args=[token]),
        staff=link.staff,
        **form(offered, profile),
    )


@_for_people("GET", "HEAD", "POST")
def unsubscribe(request: HttpRequest, profile: Profile, link: tokens.Link, token: str) -> HttpResponse:
    """Leave everything by one POST, as mail programs send it too (RFC 8058); GET only shows the button."""
    back = reverse("preferences:page", args=[token])
    if request.method != "POST":
        return page(request, "unsubscribe", back=back, address=_address(profile))
    choices.leave(profile, link, _("Unsubscribe from everything"), _proof(request))
    return page(request, "left", back=back)


@_for_people("GET", "HEAD", "POST")
def confirm(request: HttpRequest, profile: Profile, link: tokens.Link, token: str) -> HttpResponse:
    """Confirm a yes that was given in a form; GET only shows what it is about."""
    back = reverse("preferences:page", args=[token])
    if link.staff:
        return page(request, "unknown", status=404)
    asked = choices.asked_by(link)
    waiting = choices.vouched_for(link, opt_in.pending(profile.pk, asked))
    names = choices.wordings(waiting, translation.get_language() or "")
    if request.method == "POST" and waiting:
        opt_in.confirm(profile.pk, {(row.kind, row.key) for row in waiting}, link.delivery_id)
        return page(request, "confirmed", back=back, names=names)
    return page(request, "confirm", back=back, names=names, address=_address(profile))


@require_safe
def logo(request: HttpRequest, version: str) -> HttpResponse:
    """The uploaded logo; its address changes with it."""
    looks = looks_now()
    if not looks.logo:
        return harden(HttpResponse(status=404))
    response = harden(HttpResponse(bytes(looks.logo), content_type=looks.logo_type))
    response["Cache-Control"] = "public, max-age=604800"
    return response


def form(offered: Offer, profile: Profile | None) -> dict[str, Any]:
    """What the template of the form needs."""
    return {
        "offer": offered,
        "frequencies": choices.frequencies(),
        "languages": [
            (code, translation.get_language_info(code)["name_local"]) for code, _name in settings.LANGUAGES
        ],
        "address": _address(profile) if profile else "a•••@e•••.com",
    }


def page(request: HttpRequest, name: str, status: int = 200, **context: Any) -> HttpResponse:
    """One of the pages in the brand's looks and the active language."""
    looks, language = looks_now(), translation.get_language() or settings.LANGUAGE_CODE
    texts = {**looks.texts.get(settings.LANGUAGE_CODE, {})} if language == settings.LANGUAGE_CODE else {}
    texts |= looks.texts.get(language, {})
    nonce = secrets.token_urlsafe(16)
    source = logo_address(looks)
    response = render(
        request,
        f"preferences/{name}.html",
        {
            **context,
            "looks": looks,
            "texts": texts,
            "logo": source,
            "nonce": nonce,
            "language": language,
            "right_to_left": translation.get_language_bidi(),
            "ink": colours.ink(looks.accent),
            "accent_on_dark": colours.on_dark(looks.accent),
            "ink_on_dark": colours.ink(colours.on_dark(looks.accent)),
        },
        status=status,
    )
    return harden(response, nonce, source)


def looks_now() -> PreferencePage:
    """The page's looks, or the usual ones."""
    return PreferencePage.objects.first() or PreferencePage()


def logo_address(looks: PreferencePage) -> str:
    """Where the logo is; empty when there is none."""
    if looks.logo and looks.changed_at:
        return reverse("preferences:logo", args=[f"{looks.changed_at.timestamp():.0f}"])
    return looks.logo_url


def harden(response: HttpResponse, nonce: str = "", image: str = "") -> HttpResponse:
    """Keep a page behind a secret address out of caches, search engines, frames and other sites' logs."""
    styles = f"'self' 'nonce-{nonce}'" if nonce else "'none'"
    parts = urlsplit(image)
    images = f"'self' {parts.scheme}://{parts.netloc}" if parts.netloc else "'self'"
    response["Content-Security-Policy"] = (
        f"default-src 'none'; style-src {styles}; img-src {images}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _chosen(request: HttpRequest) -> Chosen:
    """The form. Only what differs from what the page showed is a choice: another tab may have changed the rest."""
    posted = request.POST
    on = set(posted.getlist("on"))
    shown = {
        field: mark == "1" for mark, _colon, field in (each.partition(":") for each in posted.getlist("was"))
    }
    start, end = _clock(posted.get("quiet_from", "")), _clock(posted.get("quiet_to", ""))
    if (start is None) is not (end is None):
        raise FormError(_("Quiet hours need a beginning and an end."))
    if start is not None and start == end:
        raise FormError(_("Quiet hours must end at another time than they begin."))
    return Chosen(
        on=[field for field, was in shown.items() if field in on and not was],
        off=[field for field, was in shown.items() if field not in on and was],
        frequencies={
            name.removeprefix("frequency:"): posted[name] for name in posted if name.startswith("frequency:")
        },
        quiet_from=start,
        quiet_to=end,
        channel=posted.get("channel", ""),
        language=spoken(posted.get("language", "")),
    )


def _clock(text: str) -> time | None:
    if not text.strip():
        return None
    try:
        return time.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        raise FormError(_("Write times such as 21:30.")) from None


def _proof(request: HttpRequest) -> dict[str, str]:
    """The page without its token, which would let whoever reads the ledger act for the person."""
    agent = request.headers.get("User-Agent", "").replace("\x00", "")
    return opt_in.proof("", agent, translation.get_language() or "") | {"page": "preferences"}


def _address(profile: Profile) -> str:
    if profile.email:
        return masking.email(profile.email)
    return masking.phone(profile.phone) if profile.phone else ""
