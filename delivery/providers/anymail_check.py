"""Asking a mail service whether it knows our key, by a call that sends nothing."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urljoin

import msgspec
import requests
from django.utils.translation import gettext as _

from delivery.providers.base import ProviderError

TIMEOUT = (8, 10)  # seconds to connect, and to answer


class Question(msgspec.Struct, frozen=True):
    """Where to ask, below the address of the API, and how we say who we are: by headers, or by user and password.

    In `path`, `{domain}` stands for the sending domain; one that begins with a slash is from the service's root.
    """

    path: str
    headers: Mapping[str, str] = {}
    user: str = ""


# In headers, {key} stands for the API key. Sources: the services' API references, each at "authentication".
QUESTIONS = {
    "brevo": Question("account", {"api-key": "{key}"}),
    "mailgun": Question("domains/{domain}", user="api"),
    "mailjet": Question("/v3/REST/user"),
    "postmark": Question("server", {"X-Postmark-Server-Token": "{key}"}),
    "sparkpost": Question("account", {"Authorization": "{key}"}),
}


def ask(
    session: requests.Session, kind: str, label: str, url: str, keys: tuple[str, str], domain: str
) -> str:
    """Return what the service says of us, in a sentence.

    Args:
        session: one that follows no redirects and calls nothing inside.
        url: of the API, as messages are sent to.
        keys: the API key, and Mailjet's secret key.
        domain: the one that messages come from.

    Raises:
        ProviderError: it does not know the key or the domain, or does not answer.
    """
    question, (key, second) = QUESTIONS[kind], keys
    address = urljoin(f"{url.rstrip('/')}/", question.path.format(domain=quote(domain, safe="")))
    sent: dict[str, Any] = {
        "headers": {name: text.format(key=key) for name, text in question.headers.items()}
    }
    if question.user or second:
        sent["auth"] = (question.user, key) if question.user else (key, second)
    try:
        with session.get(address, timeout=TIMEOUT, allow_redirects=False, stream=True, **sent) as answer:
            status = answer.status_code
    except requests.exceptions.InvalidHeader as error:
        raise ProviderError(_("The key has characters that no key has.")) from error
    except (requests.exceptions.RequestException, UnicodeError) as error:  # its text may hold the key
        raise ProviderError(
            _("%(service)s can't be reached: %(problem)s.")
            % {"service": label, "problem": type(error).__name__}
        ) from None
    told = {"service": label, "status": status, "domain": domain}
    if status == 200:
        return (
            _("%(service)s knows the key. Send a test to see that it takes your sender's address, too.")
            % told
        )
    if status == 403 or (kind == "mailgun" and status == 401):
        text = _(
            "%(service)s does not let this key look at the account (status %(status)d): it is wrong, or one that may "
            "only send. Send a test to find out."
        )
    elif status in (401, 422):
        text = _("%(service)s does not know this key (status %(status)d).")
    elif status == 404 and "{domain}" in question.path:
        text = _("%(service)s knows the key, but not the domain %(domain)s.")
    else:
        text = _("%(service)s can't tell just now (status %(status)d). Try again later, or send a test.")
    raise ProviderError(text % told)
