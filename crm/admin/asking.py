"""Asking a CRM while somebody waits for the page: an answer within seconds, or a sentence."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connections
from django.utils import translation
from django.utils.translation import gettext as _

from crm.connectors.base import ConnectorError

T = TypeVar("T")

PATIENCE = 10.0  # seconds
AT_ONCE = 8  # questions of this process that CRMs may leave unanswered
_places = threading.BoundedSemaphore(AT_ONCE)


def ask(question: Callable[[], T], seconds: float | None = None) -> T:
    """What `question`, which talks to a CRM, returns.

    A connector waits and repeats as long as a background run may; a page must not. The question is asked in
    a thread, which is left to its own time limits if the answer takes too long.

    Args:
        seconds: default PATIENCE.

    Raises:
        ConnectorError: the CRM refused, or gave no answer in time.
    """
    seconds = PATIENCE if seconds is None else seconds
    places = _places
    if not places.acquire(blocking=False):
        raise ConnectorError(_("Several CRMs have not answered yet. Try again in a minute."))
    answer: Future[T] = Future()
    language = translation.get_language()

    def work() -> None:
        try:
            with translation.override(language):
                answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)
        finally:
            connections.close_all()  # this thread's own
            places.release()

    threading.Thread(target=work, name="ask-crm", daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        raise ConnectorError(
            _("The CRM gave no answer within %d seconds. Check the network, or try again in a minute.")
            % seconds
        ) from None
