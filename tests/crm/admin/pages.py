"""Addresses and words of the connections' pages."""

import html
import re
from typing import Any

from django.urls import reverse


def page(name: str, *args: Any) -> str:
    return reverse(f"admin:crm_connection_{name}", args=args)


def text_of(response: Any) -> str:
    """What a reader sees, in one line."""
    body = response.content.decode()
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def form_of(response: Any, action: str = "") -> dict[str, Any]:
    """What a browser would send of the page's form: values of its inputs and drop-downs as they stand."""
    body = response.content.decode()
    data: dict[str, Any] = {}
    for name, options in re.findall(r'<select[^>]*name="([^"]+)"[^>]*>(.*?)</select>', body, re.S):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        data[html.unescape(name)] = html.unescape(chosen.group(1)) if chosen else ""
    for tag in re.findall(r"<input[^>]+>", body):
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        name = html.unescape(found.get("name", ""))
        if not name or name == "csrfmiddlewaretoken":
            continue
        if found.get("type") in ("checkbox", "radio"):
            if "checked" in tag:
                data.setdefault(name, []).append(html.unescape(found.get("value", "on")))
        elif name not in data:
            data[name] = html.unescape(found.get("value", ""))
    return data
