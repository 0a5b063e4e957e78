"""Chromium's service-worker handlers, driven through the DevTools protocol by Playwright.

Chromium's real push service cannot be replaced, so messages are handed to the worker as plain text
(ServiceWorker.deliverPushMessage): this covers `push`, `notificationclick` and `notificationclose` handlers,
not encryption and delivery, which Firefox covers. Headless Chromium has no notification surface, hence clicks
are synthetic events.
"""

import json
import shutil
from pathlib import Path
from time import monotonic
from typing import Any, Self

from playwright.sync_api import CDPSession, Page, Worker, sync_playwright

from tests.push.loopthread import WAIT

_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

# A made-up event is not trusted, so the platform refuses waitUntil, and without a real click openWindow and
# focus. The three are replaced while the handler runs: what the handler asked for is the result.
_DISPATCH = """
async ({type, title, action}) => {
  const shown = await self.registration.getNotifications();
  const notification = shown.reverse().find(n => title === null || n.title === title);
  if (!notification)
    return {error: "no such notification; shown: " + JSON.stringify(shown.map(n => n.title))};
  const opened = [], focused = [], errors = [], waiting = [];
  const openWindow = self.clients.openWindow, focus = WindowClient.prototype.focus;
  self.clients.openWindow = async url => { opened.push(new URL(url, self.location).href); return null; };
  WindowClient.prototype.focus = async function () { focused.push(this.url); return this; };
  try {
    const event = new NotificationEvent(type, {notification, action: action || ""});
    Object.defineProperty(event, "waitUntil", {value: promise => waiting.push(promise)});
    if (type === "notificationclose") notification.close();
    self.dispatchEvent(event);
    for (const promise of waiting)  // a handler may add to the list while it is waited for
      await Promise.resolve(promise).catch(error => errors.push(String(error)));
  } finally {
    self.clients.openWindow = openWindow;
    WindowClient.prototype.focus = focus;
  }
  return {opened, focused, errors};
}
"""


class Chromium:
    """One headless Chromium: `with Chromium() as browser:`; `page` is a Playwright Page.

    `grant` lists origins that may show notifications. Playwright's blocking interface keeps an asyncio loop
    in this thread while the browser is open: code that refuses to run beside one (Django's ORM) belongs
    outside or into another thread.
    """

    def __init__(self, *, grant: list[str] | None = None, width: int = 1280, height: int = 800) -> None:
        self._grant = grant or []
        self._viewport = {"width": width, "height": height}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the browser; FileNotFoundError without Debian's chromium."""
        if not (binary := shutil.which("chromium")):
            raise FileNotFoundError("chromium")
        self._playwright = sync_playwright().start()
        try:
            self._browser = self._playwright.chromium.launch(executable_path=binary, args=_ARGUMENTS)
            self._context = self._browser.new_context(viewport=self._viewport)
            self._context.set_default_timeout(WAIT * 1000)
            for origin in self._grant:
                self._context.grant_permissions(["notifications"], origin=origin)
            self.page: Page = self._context.new_page()
        except BaseException:
            self._playwright.stop()
            raise

    def stop(self) -> None:
        """Close the browser."""
        self._browser.close()
        self._playwright.stop()

    def open(self, url: str) -> None:
        """Load `url` and wait until it is complete."""
        self.page.goto(url)

    def evaluate(self, script: str) -> Any:
        """Run JavaScript in the page and return its value as Python data."""
        return self.page.evaluate(script)

    def deliver_push(self, data: str | dict[str, Any], scope: str | None = None) -> None:
        """Hand a push message (text, or JSON) to the active service worker of `scope` (default: the page's).

        Returns when the message is handed over; wait for its effect with `notification`.
        """
        scope = scope or self.evaluate("navigator.serviceWorker.ready.then(r => r.scope)")
        session = self._context.new_cdp_session(self.page)
        try:
            registration = self._registration(session, scope)
            session.send(
                "ServiceWorker.deliverPushMessage",
                {
                    "origin": self.evaluate("location.origin") + "/",
                    "registrationId": registration,
                    "data": data if isinstance(data, str) else json.dumps(data),
                },
            )
        finally:
            session.detach()

    def _registration(self, session: CDPSession, scope: str) -> str:
        """DevTools' number of the registration with this scope URL."""
        found: list[str] = []

        def updated(event: dict[str, Any]) -> None:
            for registration in event["registrations"]:
                if registration["scopeURL"] == scope and not registration["isDeleted"]:
                    found.append(registration["registrationId"])

        session.on("ServiceWorker.workerRegistrationUpdated", updated)
        session.send("ServiceWorker.enable")
        deadline = monotonic() + WAIT
        while not found and monotonic() < deadline:
            self.page.wait_for_timeout(50)  # Playwright hands over events only while it is called
        if not found:
            raise LookupError(f"No service worker with scope {scope}")
        return found[0]

    def notifications(self) -> list[dict[str, Any]]:
        """What is shown now, oldest first: `title`, `body`, `icon`, `tag`, `data`, `actions`, …"""
        return self.evaluate(_NOTIFICATIONS)

    def notification(self, title: str | None = None, timeout: float = WAIT) -> dict[str, Any]:
        """Wait until a notification with this title (any, if None) is shown; return its parts."""
        found = self.page.evaluate(_WAIT_FOR, {"title": title, "timeout": timeout * 1000})
        if found is None:
            raise TimeoutError(f"No notification {title!r} within {timeout} s")
        return found

    def click_notification(self, title: str | None = None, action: str = "") -> dict[str, list[str]]:
        """Send the worker a synthetic `notificationclick`, `action` naming the button (empty: the text).

        Returns what the handler asked for: `opened` URLs (clients.openWindow), `focused` client URLs and
        `errors` (rejections of what it passed to waitUntil). LookupError when no such notification is shown.
        """
        return self._dispatch("notificationclick", title, action)

    def dismiss_notification(self, title: str | None = None) -> dict[str, list[str]]:
        """Close a notification and send the worker a synthetic `notificationclose`; result as for a click."""
        return self._dispatch("notificationclose", title, "")

    def _dispatch(self, kind: str, title: str | None, action: str) -> dict[str, list[str]]:
        result = self.worker().evaluate(_DISPATCH, {"type": kind, "title": title, "action": action})
        if "error" in result:
            raise LookupError(result["error"])
        return result

    def worker(self) -> Worker:
        """Playwright's handle on the service worker, waited for; `worker().evaluate(...)` runs code in it."""
        if self._context.service_workers:
            return self._context.service_workers[-1]
        return self._context.wait_for_event("serviceworker")

    def screenshot(self, path: Path | str, *, full_page: bool = False) -> None:
        """Write a PNG of the page."""
        self.page.screenshot(path=str(path), full_page=full_page)


_NOTIFICATIONS = """async () => {
  const registration = await navigator.serviceWorker.ready;
  return (await registration.getNotifications()).map(n => ({
    title: n.title, body: n.body, icon: n.icon, image: n.image, badge: n.badge, tag: n.tag, data: n.data,
    actions: n.actions.map(({action, title, icon}) => ({action, title, icon})),
    requireInteraction: n.requireInteraction, silent: n.silent, renotify: n.renotify,
  }));
}"""

# wait_for_function takes the promise of an asynchronous condition for a yes, so the page waits by itself.
_WAIT_FOR = f"""async ({{title, timeout}}) => {{
  const end = Date.now() + timeout;
  for (;;) {{
    const found = (await ({_NOTIFICATIONS})()).reverse().find(n => title === null || n.title === title);
    if (found || Date.now() > end) return found || null;
    await new Promise(resolve => setTimeout(resolve, 50));
  }}
}}"""
