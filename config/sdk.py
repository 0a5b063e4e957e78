"""Serves the web SDK at /sdk/nudge.js and its service worker at /nudge-sw.js, without what only readers need.

Both have fixed addresses that customers write into their pages, so they are not part of the hashed static files.
A worker's scope is the folder it is served from, hence the address at the root.
"""

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import condition, require_safe

from config import minify

app_name = "sdk"

_FOLDER = Path(settings.BASE_DIR) / "static" / "nudge"
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)


@dataclass(frozen=True)
class Script:
    """A script as it is served: `changed` is when its source did (ns), `etag` the hash of its text."""

    changed: int
    text: bytes
    compressed: bytes
    etag: str


_scripts: dict[str, Script] = {}


def script(name: str) -> Script:
    """The script, made again only when its file has changed."""
    source = _FOLDER / name
    changed = source.stat().st_mtime_ns
    if name not in _scripts or _scripts[name].changed != changed:
        text = minify.script(source.read_text()).encode()
        compressed = gzip.compress(text, 9, mtime=0)
        _scripts[name] = Script(changed, text, compressed, sha256(text).hexdigest()[:32])
    return _scripts[name]


def _compressed(request: HttpRequest) -> bool:
    return bool(_GZIP.search(request.headers.get("Accept-Encoding", "")))


def _view(name: str, cache_control: str, **headers: str) -> Callable[..., HttpResponse]:
    def etag(request: HttpRequest) -> str:
        return f'"{script(name).etag}{"-gzip" if _compressed(request) else ""}"'

    @require_safe
    @condition(etag_func=etag)
    def serve(request: HttpRequest) -> HttpResponse:
        made, small = script(name), _compressed(request)
        body = made.compressed if small else made.text
        response = HttpResponse(body, content_type="text/javascript; charset=utf-8")
        if small:
            response["Content-Encoding"] = "gzip"
        patch_vary_headers(response, ["Accept-Encoding"])
        response["Cache-Control"] = cache_control
        for header, value in headers.items():
            response[header.replace("_", "-")] = value
        return response

    return serve


#: Loaded by other sites: they may read it (for `crossorigin` and subresource integrity), and embed it.
nudge_js = _view(
    "sdk.js",
    "public, max-age=300, stale-while-revalidate=86400",
    Access_Control_Allow_Origin="*",
    Cross_Origin_Resource_Policy="cross-origin",
)
#: Never from a cache: a broken worker must be replaceable at once.
service_worker = _view("sw.js", "no-cache", Service_Worker_Allowed="/")

urlpatterns = [
    path("sdk/nudge.js", nudge_js, name="nudge_js"),
    path("nudge-sw.js", service_worker, name="service_worker"),
]
