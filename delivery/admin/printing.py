"""The links of a message as QR codes for paper and screens, offered beside its preview."""

from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from delivery import links
from delivery.channels.base import Channel
from delivery.content.addresses import is_web
from delivery.email import keeping
from delivery.email import links as email_links
from delivery.email.content import FilledEmail
from delivery.links import qr, utm

OFFERED = 12
CHANNEL = "qr"  # what {channel} stands for in the words for the sites' own analytics


class Offer(NamedTuple):
    """A link: where it leads, and the address of its picture."""

    target: str
    picture: str


def offers(channel: Channel, filled: Any, message: str) -> list[Offer]:
    """Return the web addresses of a filled-in content, in their order, each once, up to OFFERED; own pages, on which
    somebody chooses or leaves, are of this person alone and left out.

    What is on paper is nobody's: the codes are not tracked for a person, but carry the account's words for analytics.

    Args:
        message: its short name, for these words.
    """
    found: list[str] = []

    def note(address: str) -> str:
        found.append(address)
        return address

    channel.relink(filled, note)
    if isinstance(filled, FilledEmail):
        email_links.rewrite(keeping.html(msgspec.to_builtins(filled)), note)
    rules = links.current()
    values = {"message": message, "channel": CHANNEL, "variant": ""}
    words = {name: utm.filled(pattern, values) for name, pattern in rules.words.items()}
    made = []
    for address in dict.fromkeys(found):
        if not is_web(address) or address.startswith(rules.ours):
            continue
        target = utm.tagged(address, words) if utm.belongs(utm.host_of(address), rules.sites) else address
        made.append(Offer(target, f"{reverse('admin:delivery_message_qr')}?{urlencode({'to': target})}"))
    return made[:OFFERED]


def picture(request: HttpRequest) -> HttpResponse:
    """The QR code of the web address `to`, to be downloaded.

    Raises:
        Http404: it is none, or too long for a code.
    """
    target = request.GET.get("to", "")
    if not is_web(target):
        raise Http404
    try:
        made = qr.svg(target)
    except ValueError:
        raise Http404 from None
    response = HttpResponse(made, content_type="image/svg+xml")
    response["Content-Disposition"] = 'attachment; filename="link.svg"'
    return response
