"""Emails as Django's message objects, for backends that take those."""

from typing import Any

from django.core.mail import EmailMultiAlternatives

from delivery.email import mime
from delivery.email.content import EmailPayload


def email_message(payload: EmailPayload, connection: Any = None) -> EmailMultiAlternatives:
    """Return an addressed payload as Django's message."""
    message = EmailMultiAlternatives(
        subject=payload.subject,
        body=payload.text,
        from_email=_mailbox(payload.from_name, payload.from_address),
        to=[_mailbox(payload.to_name, payload.to)],
        reply_to=[payload.reply_to] if payload.reply_to else None,
        headers=dict(payload.headers),
        connection=connection,
    )
    message.attach_alternative(payload.html, "text/html")
    for file in payload.attachments:
        message.attach(file.name, file.data, file.kind)
    return message


def _mailbox(name: str, plain: str) -> str:
    """A name with its address, not encoded yet: Django and the services do that."""
    return mime.quoted(name, plain) if name else plain
