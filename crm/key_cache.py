"""API keys, remembered for a few seconds by each process: a site's visitors all send the same one."""

import hashlib
import threading
import time
from collections import OrderedDict
from typing import Any

from django.conf import settings
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from crm import api_keys
from crm.models import ApiKey

MAX_KEYS = 1_000
_found: OrderedDict[bytes, tuple[float, ApiKey]] = OrderedDict()
_lock = threading.Lock()


def find(text: str) -> ApiKey | None:
    """As `api_keys.find`, but a change of the key may be seen settings.NUDGE_KEY_CACHE_SECONDS later."""
    now = time.monotonic()
    digest = hashlib.sha256(text.encode()).digest()
    held = _found.get(digest)
    if held is not None and held[0] > now:
        return held[1]
    key = api_keys.find(text)
    with _lock:
        _found.pop(digest, None)
        # Not whom nobody knows: anybody can think up more texts than there is memory.
        if key is not None and settings.NUDGE_KEY_CACHE_SECONDS:
            _found[digest] = now + settings.NUDGE_KEY_CACHE_SECONDS, key
            while len(_found) > MAX_KEYS:
                _found.popitem(last=False)
    return key


@receiver([post_save, post_delete], sender=ApiKey)
def forget(**_change: Any) -> None:
    """Ask the database again, here; other processes do within the seconds."""
    with _lock:
        _found.clear()
