"""A tiny site with a service worker, to prove the drivers on something other than the product."""

import base64
import json
from typing import Any, Self

from aiohttp import web

from tests.push.journal import Journal
from tests.push.loopthread import LoopThread

_ICON = base64.b64decode(  # one red pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)

_PAGE = """<!doctype html><meta charset="utf-8"><title>Site</title>
<button id="subscribe">Subscribe</button> <input id="name"> <p id="state"></p>
<script>
const key = new URLSearchParams(location.search).get("key");
const raw = text => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), c => c.charCodeAt(0));
navigator.serviceWorker.register("/worker.js");
document.querySelector("#subscribe").onclick = async () => {
  try {
    const permission = await Notification.requestPermission();
    const registration = await navigator.serviceWorker.ready;
    const options = {userVisibleOnly: true, applicationServerKey: raw(key)};
    const subscription = await registration.pushManager.subscribe(options);
    window.subscription = subscription.toJSON();
    document.querySelector("#state").textContent = permission;
  } catch (error) { document.querySelector("#state").textContent = String(error); }
};
</script>"""

_WORKER = """
const report = (kind, detail) => fetch("/report", {method: "POST", body: JSON.stringify({kind, ...detail})});
self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));
self.addEventListener("push", event => {
  const message = event.data ? event.data.json() : {};
  if (message.fail) { event.waitUntil(Promise.reject(new Error("told to fail"))); return; }
  event.waitUntil((async () => {
    await self.registration.showNotification(message.title || "(empty)", {
      body: message.body, tag: message.tag, icon: message.icon, data: message, actions: message.actions,
      requireInteraction: true,
    });
    await report("shown", {title: message.title || ""});
  })());
});
self.addEventListener("notificationclick", event => {
  event.notification.close();
  event.waitUntil(Promise.all([
    self.clients.openWindow(event.notification.data.url || "/landing"),
    report("clicked", {title: event.notification.title, action: event.action}),
  ]));
});
self.addEventListener("notificationclose", event => {
  event.waitUntil(report("dismissed", {title: event.notification.title}));
});
self.addEventListener("pushsubscriptionchange", event => {
  const old = event.oldSubscription && event.oldSubscription.endpoint;
  event.waitUntil(report("changed", {old, renewed: Boolean(event.newSubscription)}));
});
"""


class Site:
    """Serves the page at `origin`; `reports` is the journal of what its service worker said."""

    def __init__(self) -> None:
        self.reports: Journal[dict[str, Any]] = Journal()

    def __enter__(self) -> Self:
        self._thread = LoopThread("site")
        self._thread.run(self._serve())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.run(self._runner.cleanup())
        self._thread.stop()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._text(_PAGE, "text/html"))
        app.router.add_get("/worker.js", self._text(_WORKER, "text/javascript"))
        app.router.add_get("/icon.png", self._icon)
        app.router.add_get(
            "/landing", self._text("<!doctype html><title>Landing</title><h1>Landed</h1>", "text/html")
        )
        app.router.add_post("/report", self._report)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.origin = f"http://localhost:{self._runner.addresses[0][1]}"

    @staticmethod
    def _text(text: str, content_type: str) -> Any:
        async def serve(request: web.Request) -> web.Response:
            return web.Response(text=text, content_type=content_type)

        return serve

    async def _icon(self, request: web.Request) -> web.Response:
        return web.Response(body=_ICON, content_type="image/png")

    async def _report(self, request: web.Request) -> web.Response:
        self.reports.append(json.loads(await request.text()))
        return web.Response(status=204)
