"""Chromium at the admin, logged in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, sync_playwright

# The browser itself reports answers of these kinds: 409 is what a stale page gets. HTMX reports that it has given up a
# question for a newer one.
EXPECTED = re.compile(r"status of (404|409)|^htmx:(afterRequest|sendAbort)$")


@contextmanager
def opened(address: str, user: User, **options: Any) -> Iterator[Page]:
    """A page that belongs to `user`; the test fails on errors of scripts and on what the content policy refused."""
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        try:
            context = browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, **options})
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": address}])
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
            page.on(
                "console",
                lambda line: (
                    errors.append(line.text)
                    if line.type == "error" and not EXPECTED.search(line.text)
                    else None
                ),
            )
            yield page
        finally:
            browser.close()
    assert not errors, errors
