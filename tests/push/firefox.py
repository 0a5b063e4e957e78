"""Firefox ESR as a person uses it: subscribe to push, see notifications, click or dismiss them.

Firefox draws its own notification windows (alerts.useSystemBackend=false). They are chrome windows, which
WebDriver BiDi reaches with --remote-allow-system-access, so their text is read and their buttons are clicked.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.push.bidi import BidiClient, BidiError
from tests.push.firefox_preferences import preferences
from tests.push.loopthread import WAIT
from tests.push.screen import DIE_WITH_PARENT, VirtualScreen
from tests.push.service import PushService

_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
_PAGE_GONE = {"no such frame", "unknown error", "no such node"}
_EVENTS = [
    "browsingContext.contextCreated",
    "browsingContext.contextDestroyed",
    "browsingContext.domContentLoaded",
    "browsingContext.fragmentNavigated",
    "browsingContext.load",
    "browsingContext.navigationStarted",
    "log.entryAdded",
]

# In chrome scope. `shown` describes a notification window, `find` is the newest with a title (null: any).
_ALERTS = """
const shown = w => ({
  title: w.document.getElementById("alertTitleLabel").getAttribute("value") || "",
  body: w.document.getElementById("alertTextLabel").textContent || "",
  source: w.document.getElementById("alertSourceLabel").getAttribute("value") || "",
  icon: w.document.getElementById("alertImage").getAttribute("src") || "",
});
const alerts = () => [...Services.wm.getEnumerator("alert:alert")].filter(w => w.gIsActive && !w.closed);
const find = title => alerts().reverse().find(w => title === null || shown(w).title === title);
"""
# A notification goes away by itself after twenty seconds, which a busy machine spends on other things.
_STAY = """(() => {
  const stay = opening => opening.addEventListener(
    "load", () => { opening.gRequireInteraction = true; }, {capture: true, once: true});
  Services.obs.addObserver({observe: stay}, "domwindowopened");
})()"""


class Firefox:
    """One Firefox with a fresh profile whose push service is `push_service`.

    `with Firefox(service) as ff:`. Headless, or on a virtual screen with `headful=True` or HEADFUL=1 in the
    environment, which `screenshot_screen` needs. `tab` is the current tab's context id. Each wait ends with
    TimeoutError after 60 seconds. Notifications stay until something is done with them.
    """

    def __init__(self, push_service: PushService, *, headful: bool | None = None) -> None:
        self.push_service = push_service
        self.headful = os.environ.get("HEADFUL") == "1" if headful is None else headful

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the browser; FileNotFoundError without firefox-esr, RuntimeError when it dies at once."""
        if not (binary := shutil.which("firefox-esr")):
            raise FileNotFoundError("firefox-esr")
        self._home = Path(tempfile.mkdtemp(prefix="nudge-firefox-"))
        profile = self._home / "profile"
        profile.mkdir()
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in preferences(self.push_service.websocket_url).items()
        ]
        (profile / "user.js").write_text("\n".join(lines))
        self._screen = VirtualScreen() if self.headful else None
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "MOZ_CRASHREPORTER_DISABLE": "1",
            "MOZ_DATA_REPORTING": "0",
            "MOZ_REMOTE_SETTINGS_DEVTOOLS": "1",  # else a release build ignores services.settings.server
            "NO_AT_BRIDGE": "1",
        }
        command = [
            *DIE_WITH_PARENT, binary, "--profile", str(profile), "--no-remote", "--new-instance",
            "--remote-debugging-port=0", "--remote-allow-system-access", "--width", "1280", "--height", "800",
        ]  # fmt: skip
        if self._screen:
            environment["DISPLAY"] = self._screen.display
        else:
            command.append("--headless")
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            self._bidi = BidiClient(f"{self._bidi_url()}/session")
            self._bidi.call("session.subscribe", {"events": _EVENTS})
            self.tab = self.tabs()[0]["context"]
            self._chrome(_STAY)
        except BaseException:
            self._end_process()
            raise

    def _bidi_url(self) -> str:
        """Read the error output until it names the port; a thread reads the rest, lest the pipe fill up."""
        assert self._process.stderr
        lines = []
        for line in self._process.stderr:
            lines.append(line)
            if match := _LISTENING.search(line):
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return match[1]
        raise RuntimeError(f"firefox-esr ended: {''.join(lines[-20:])}")

    def stop(self) -> None:
        """Close the browser and remove its profile."""
        with contextlib.suppress(BidiError, TimeoutError):  # the process group is ended below
            self._bidi.call("browser.close", timeout=10)
        self._bidi.close()
        self._end_process()

    def _end_process(self) -> None:
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own: this browser alone
            self._process.wait(WAIT)
        if self._screen:
            self._screen.close()
        shutil.rmtree(self._home, ignore_errors=True)

    # -- pages -----------------------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Load `url` in the current tab and wait until it is complete."""
        self._bidi.call("browsingContext.navigate", {"context": self.tab, "url": url, "wait": "complete"})

    def tabs(self) -> list[dict[str, Any]]:
        """All tabs as `{"context": id, "url": …}`."""
        return self._bidi.call("browsingContext.getTree", {"maxDepth": 0})["contexts"]

    def switch_to(self, url_part: str, timeout: float = WAIT) -> str:
        """Wait for a tab whose URL contains `url_part`, make it current, return its URL."""

        def tab() -> dict[str, Any] | None:
            return next((tab for tab in self.tabs() if url_part in tab["url"]), None)

        found = self.wait_for(tab, timeout)
        self.tab = found["context"]
        return found["url"]

    def evaluate(self, script: str, *, user_activation: bool = False, timeout: float = WAIT) -> Any:
        """Run JavaScript in the current page, await a promise, return plain data; BidiError when it throws.

        `user_activation` runs it as if the person had just clicked (permission prompts need that).
        """
        return self._bidi.evaluate(self.tab, script, user_activation=user_activation, timeout=timeout)

    def wait_for(self, condition: str | Callable[[], Any], timeout: float = WAIT) -> Any:
        """Wait until a JavaScript expression or a Python function gives something true; return that.

        JavaScript is tried again on each change of the document, a function on each event of the browser;
        both also each second. Survives navigation.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            seen = self._bidi.events.total
            try:
                value = self._wait_in_page(condition, left) if isinstance(condition, str) else condition()
            except BidiError as error:
                if error.code not in _PAGE_GONE:
                    raise
                value = None
            if value:
                return value
            self._bidi.events.wait_for_news(seen, min(1.0, left))
        raise TimeoutError(
            f"{condition} did not come true in {timeout} s; console: {self.console_lines()[-5:]}"
        )

    def _wait_in_page(self, expression: str, seconds: float) -> Any:
        return self.evaluate(
            f"""new Promise((resolve, reject) => {{
              const end = Date.now() + {int(seconds * 1000)};
              let timer;
              const check = async () => {{
                clearTimeout(timer);
                try {{
                  const value = await ({expression});
                  clearTimeout(timer);
                  if (value || Date.now() > end) {{ watcher.disconnect(); resolve(value); }}
                  else timer = setTimeout(check, 1000);
                }} catch (error) {{ watcher.disconnect(); reject(error); }}
              }};
              const watcher = new MutationObserver(check);
              const all = {{subtree: true, childList: true, attributes: true, characterData: true}};
              watcher.observe(document, all);
              check();
            }})""",
            timeout=seconds + 5,
        )

    def click(self, css: str) -> None:
        """Scroll to the element and click its middle with a real pointer event."""
        element = self.wait_for(f"document.querySelector({json.dumps(css)})")
        self.evaluate(f"document.querySelector({json.dumps(css)}).scrollIntoView({{block: 'center'}})")
        origin = {"type": "element", "element": element}
        actions = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        source = {"type": "pointer", "id": "mouse", "actions": actions}
        self._bidi.call("input.performActions", {"context": self.tab, "actions": [source]})

    def fill(self, css: str, text: str) -> None:
        """Click an input field, clear it and type `text`."""
        self.click(css)
        self.evaluate(f"document.querySelector({json.dumps(css)}).select()")
        keys = [{"type": kind, "value": char} for char in text for kind in ("keyDown", "keyUp")]
        source = {"type": "key", "id": "keyboard", "actions": keys}
        self._bidi.call("input.performActions", {"context": self.tab, "actions": [source]})

    def text(self, css: str) -> str:
        """Visible text of the element, once it is there."""
        self.wait_for(f"document.querySelector({json.dumps(css)})")
        return self.evaluate(f"document.querySelector({json.dumps(css)}).innerText")

    def console_lines(self) -> list[str]:
        """Console messages and uncaught errors of all pages so far."""
        entries = [params for method, params in self._bidi.events if method == "log.entryAdded"]
        return [f"{entry['level']}: {entry['text']}" for entry in entries]

    # -- permission ------------------------------------------------------------------------------------------

    def set_notifications(self, origin: str, state: str) -> None:
        """Set the origin's notification permission: "granted", "denied" or "prompt"."""
        self._bidi.call(
            "permissions.setPermission",
            {"descriptor": {"name": "notifications"}, "state": state, "origin": origin},
        )

    def grant_notifications(self, origin: str) -> None:
        """Allow notifications, as by the site's permission panel."""
        self.set_notifications(origin, "granted")

    def revoke_notifications(self, origin: str) -> None:
        """Block notifications: Firefox ends the subscription with code 202 and the endpoint answers 410."""
        self.set_notifications(origin, "denied")

    def answer_permission_prompt(self, allow: bool = True) -> None:
        """Wait for the panel in which Firefox asks about notifications; click its Allow or Block button."""
        self._chrome(
            f"""new Promise(resolve => {{
              const panel = PopupNotifications.panel;
              const press = () => {{
                const prompt = document.getElementById("web-notifications-notification");
                if (panel.state !== "open" || !prompt) return;
                panel.removeEventListener("popupshown", press);
                panel.addEventListener("popuphidden", () => resolve(), {{once: true}});
                prompt[{json.dumps("button" if allow else "secondaryButton")}].click();
              }};
              panel.addEventListener("popupshown", press);
              press();
            }})"""
        )

    # -- notifications ---------------------------------------------------------------------------------------

    def notifications(self) -> list[dict[str, str]]:
        """All notifications on the screen as `{"title", "body", "source", "icon"}`."""
        return self._chrome(f"(() => {{ {_ALERTS} return alerts().map(shown); }})()")

    def notification(self, title: str | None = None, timeout: float = WAIT) -> dict[str, str]:
        """Wait until a notification with this title (any, if None) is on the screen; return its texts.

        `source` names the site, `icon` is a data URL or empty. These windows have no image and no actions.
        """
        return self._chrome(
            f"""new Promise((resolve, reject) => {{ {_ALERTS}
              const title = {json.dumps(title)};
              const check = () => {{ if (find(title)) finish(() => resolve(shown(find(title)))); }};
              const opened = {{observe: opening => opening.addEventListener("AlertActive", check)}};
              const finish = act => {{
                Services.obs.removeObserver(opened, "domwindowopened");
                clearTimeout(timer);
                act();
              }};
              Services.obs.addObserver(opened, "domwindowopened");
              for (const loading of Services.wm.getEnumerator(null)) opened.observe(loading);
              const late = () =>
                reject(new Error("no such notification; shown: " + JSON.stringify(alerts().map(shown))));
              const timer = setTimeout(() => finish(late), {int(timeout * 1000)});
              check();
            }})""",
            timeout,
        )

    def click_notification(self, title: str | None = None) -> None:
        """Click the notification itself; returns when its window has closed."""
        self._press(title, "alertTitleLabel")

    def dismiss_notification(self, title: str | None = None) -> None:
        """Click the notification's close button; returns when its window has closed."""
        self._press(title, "alert-close")

    def _press(self, title: str | None, element_id: str) -> None:
        self.notification(title)
        self._chrome(
            f"""new Promise(resolve => {{ {_ALERTS}
              const target = find({json.dumps(title)});
              target.addEventListener("unload", () => resolve(), {{once: true}});
              const box = target.document.getElementById("{element_id}").getBoundingClientRect();
              for (const type of ["mousemove", "mousedown", "mouseup"])
                target.synthesizeMouseEvent(type, box.x + box.width / 2, box.y + box.height / 2,
                  {{button: 0, clickCount: type === "mousemove" ? 0 : 1}});
            }})"""
        )

    def _chrome(self, script: str, timeout: float = WAIT) -> Any:
        """Run a script in the scope of the browser's own window."""
        tree = self._bidi.call("browsingContext.getTree", {"moz:scope": "chrome", "maxDepth": 0})
        window = next(c["context"] for c in tree["contexts"] if c["url"].endswith("browser.xhtml"))
        try:
            return self._bidi.evaluate(window, script, timeout=timeout + 5)
        except BidiError as error:
            if "no such notification" in str(error):
                raise TimeoutError(f"{error}; console: {self.console_lines()[-5:]}") from None
            raise

    # -- pictures --------------------------------------------------------------------------------------------

    def screenshot(self, path: Path | str) -> None:
        """Write a PNG of the current page."""
        data = self._bidi.call("browsingContext.captureScreenshot", {"context": self.tab})["data"]
        Path(path).write_bytes(b64decode(data))

    def screenshot_screen(self, path: Path | str) -> None:
        """Write a PNG of the whole screen, notifications included; RuntimeError when headless."""
        if not self._screen:
            raise RuntimeError("A headless browser has no screen: use headful=True or HEADFUL=1")
        self._screen.picture(path)
