"""Serves the web SDK at /sdk/nudge.js and its service worker at /nudge-sw.js, without what only readers need.

Both have fixed addresses that customers write into their pages, so they are not part of the hashed static files.
A worker's scope is the folder it is served from, hence the address at the root.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.http import condition, require_safe

from config import minify

app_name = "sdk"

_FOLDER = Path(settings.BASE_DIR) / "static" / "nudge"
_files: dict[str, tuple[int, bytes, str]] = {}


def content(name: str) -> tuple[bytes, str]:
    """Content and ETag of a script as it is served, made again only when the file has changed."""
    source = _FOLDER / name
    changed = source.stat().st_mtime_ns
    if name not in _files or _files[name][0] != changed:
        text = minify.script(source.read_text()).encode()
        _files[name] = (changed, text, f'"{sha256(text).hexdigest()[:32]}"')
    _, text, etag = _files[name]
    return text, etag


def _script(name: str, cache_control: str, **headers: str) -> Callable[..., HttpResponse]:
    @require_safe
    @condition(etag_func=lambda request: content(name)[1])
    def serve(request: HttpRequest) -> HttpResponse:
        response = HttpResponse(content(name)[0], content_type="text/javascript; charset=utf-8")
        response["Cache-Control"] = cache_control
        for header, value in headers.items():
            response[header.replace("_", "-")] = value
        return response

    return serve


#: Loaded by other sites: they may read it (for `crossorigin` and subresource integrity), and embed it.
nudge_js = _script(
    "sdk.js",
    "public, max-age=300, stale-while-revalidate=86400",
    Access_Control_Allow_Origin="*",
    Cross_Origin_Resource_Policy="cross-origin",
)
#: Never from a cache: a broken worker must be replaceable at once.
service_worker = _script("sw.js", "no-cache", Service_Worker_Allowed="/")

urlpatterns = [
    path("sdk/nudge.js", nudge_js, name="nudge_js"),
    path("nudge-sw.js", service_worker, name="service_worker"),
]
