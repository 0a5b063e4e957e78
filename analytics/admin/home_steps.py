"""What a new installation has to do first, on the home."""

from typing import Any

from django.db import connection
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _


def first_steps(request: HttpRequest) -> list[dict[str, Any]]:
    """What a new installation has to do, in order; empty once all is done."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (SELECT FROM crm_connection WHERE state <> 'draft'), EXISTS (SELECT FROM crm_device),
                EXISTS (SELECT FROM delivery_message),
                EXISTS (SELECT FROM campaigns_flow WHERE live_version_id IS NOT NULL)
            """
        )
        done = cursor.fetchone()
    if all(done):
        return []
    steps = [
        (
            _("Connect a CRM"),
            _("Contacts come in and stay up to date. Events and profiles can come by the API as well."),
            ("crm.add_connection", "admin:crm_connection_add", _("Connect")),
        ),
        (
            _("Put the SDK on your website"),
            _(
                "Make a key for browsers; visitors can then allow notifications. Done with the first who does."
            ),
            ("crm.add_apikey", "admin:crm_apikey_add", _("Make a key")),
        ),
        (
            _("Write a message"),
            _("With a live preview, in as many languages as your customers speak."),
            ("delivery.add_message", "admin:delivery_message_add", _("Write")),
        ),
        (
            _("Build a flow"),
            _("Such as a welcome series: it starts by itself when somebody allows notifications."),
            ("campaigns.add_flow", "admin:campaigns_flow_add", _("Build")),
        ),
    ]
    return [
        {
            "title": title,
            "text": text,
            "done": ready,
            "link": reverse(url) if request.user.has_perm(permission) else "",
            "verb": verb,
        }
        for ready, (title, text, (permission, url, verb)) in zip(done, steps, strict=True)
    ]
