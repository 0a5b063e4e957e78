"""A new message out of another one: a draft to write on, while the first one stays as it is."""

from typing import Any

from django.db import IntegrityError, transaction

from crm import slugs
from delivery import authoring, versions
from delivery.models import Message, MessageVariant

TRIES = 5


def duplicate(message: Message, name: str, by: Any = None) -> Message:
    """Make a message with a copy of this one's words, variants and fields; neither its approval nor its sending rules.

    Args:
        by: the user who asks for it.

    Raises:
        authoring.Refused: its words can't be sent any more, e.g. because a snippet is gone.
    """
    fields = {each: getattr(message, each) for each in authoring.EDITED} | {"name": name}
    words = [
        authoring.Words(each.channel, each.variant, each.locale, each.content)
        for each in message.contents.order_by("channel", "variant", "locale")
    ]
    variants = [
        authoring.Variant(each.key, each.name, each.weight)
        for each in MessageVariant.objects.filter(message=message).order_by("key")
    ]
    for attempt in range(TRIES):
        try:
            with transaction.atomic():
                copy = Message(slug=slugs.of_name(Message, name, "message"))
                authoring.write(copy, fields, words, variants)
                versions.keep(copy, by)
                return copy
        except IntegrityError:  # somebody else took the short name meanwhile
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")
