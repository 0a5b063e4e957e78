"""What happens in the shop of these tests."""

import uuid
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.utils import timezone

from crm import log


def happened(profile_id: int, name: str, at: datetime | None = None, **properties: Any) -> None:
    """Record an event, and let forms see it at once."""
    log.append([log.NewEvent(uuid.uuid4(), profile_id, name, at or timezone.now(), properties, "test")])
    cache.clear()
