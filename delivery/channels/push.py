"""Mobile push: notifications of apps, and data for them that nobody sees."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from crm.models import Device
from crm.rules.sql import Sql, sql
from crm.subscriptions import APPS
from delivery import push, tokens
from delivery.channels import register
from delivery.channels.base import Address, Parcel, Result
from delivery.channels.provided import ProvidedChannel
from delivery.channels.whatsapp import LinesField
from delivery.content import ContentError, Link
from delivery.models import Delivery
from delivery.notifications import NotificationForm, action_fields

Text = Annotated[str, msgspec.Meta(min_length=1)]


class AppAction(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A button of a notification. `url` may be an address inside the app."""

    title: Text
    url: str = ""


class PushContent(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A notification, or with `silent` only `data` for the app."""

    title: str = ""
    body: str = ""
    app_url: str = ""
    url: Link = ""
    image: Link = ""
    badge: Annotated[int, msgspec.Meta(ge=0, le=9999)] | None = None
    sound: str = "default"
    tag: str = ""
    urgency: Literal["normal", "high"] = "normal"
    ttl_hours: Annotated[int, msgspec.Meta(ge=0, le=672)] = 0
    actions: Annotated[list[AppAction], msgspec.Meta(max_length=3)] = []
    silent: bool = False
    data: dict[str, str] = {}


class PushForm(NotificationForm):
    buttons = 3
    main = ("title", "body", "app_url", "url", "image")
    more = (*action_fields(3), "badge", "sound", "tag", "urgency", "ttl_hours", "silent", "data")
    app_url = forms.CharField(
        label=gettext_lazy("Opens in the app"),
        required=False,
        widget=forms.TextInput(attrs={"dir": "ltr"}),
        help_text=gettext_lazy("A deep link that your app understands, such as shop://cart."),
    )
    url = forms.CharField(
        label=gettext_lazy("Opens on the web"),
        required=False,
        widget=forms.TextInput(attrs={"dir": "ltr"}),
        help_text=gettext_lazy("Where there is no deep link: an address that begins with https://."),
    )
    image = forms.CharField(
        label=gettext_lazy("Picture"),
        required=False,
        widget=forms.TextInput(attrs={"dir": "ltr"}),
        help_text=gettext_lazy("Address of a wide picture, 2:1. iPhones need an app that fetches it."),
    )
    action_3_title = forms.CharField(label=gettext_lazy("Third button"), required=False)
    action_3_url = forms.CharField(
        label=gettext_lazy("Third button opens"),
        required=False,
        help_text=gettext_lazy("Buttons come up in apps that are made for them."),
    )
    badge = forms.IntegerField(
        label=gettext_lazy("Number on the app's icon"),
        required=False,
        min_value=0,
        max_value=9999,
        help_text=gettext_lazy("0 takes it away; empty leaves it as it is."),
    )
    sound = forms.CharField(
        label=gettext_lazy("Sound"),
        required=False,
        initial="default",
        help_text=gettext_lazy("“default”, a sound file of your app, or “none”."),
    )
    silent = forms.BooleanField(
        label=gettext_lazy("Show nothing"),
        required=False,
        help_text=gettext_lazy("Only hands the data below to the app, so that it can refresh itself."),
    )
    data = LinesField(  # type: ignore[assignment] # a form's own `data` is its instances', this goes to base_fields
        label=gettext_lazy("Data for the app"),
        required=False,
        help_text=gettext_lazy("One a line: coupon = {{ coupon }}"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["title"].required = False  # a text alone will do, and data needs none

    def content(self) -> dict[str, Any]:
        """The authored JSON as entered."""
        values = super().content()
        if not values.get("silent"):
            values.pop("silent", None)
        return values


@register
class MobilePush(ProvidedChannel):
    """Sends to every app of a person, by the account that carries to its kind of device.

    The tag makes the device replace what it shows, so that a push without an answer is sent again.
    """

    kind = "push"
    label = gettext_lazy("Mobile push")
    position = 20
    Config = PushContent
    Form = PushForm
    Payload = push.PushPayload
    preview = "admin/delivery/push.html"
    mock = "admin/delivery/mock/push.html"
    repeatable = True
    address_fields = ("devices",)

    def addresses(self, profile_ids: Collection[int]) -> dict[int, list[Address]]:
        """Return the apps that are still there."""
        found: dict[int, list[Address]] = {}
        for device in Device.objects.filter(
            profile_id__in=profile_ids, kind__in=APPS, state=Device.State.ACTIVE
        ).order_by("pk"):
            found.setdefault(device.profile_id, []).append(Address(device.endpoint, device))
        return found

    def address_rows(self) -> Sql:
        """Return the same as a set."""
        return sql(
            "SELECT profile_id, endpoint AS value FROM crm_device WHERE kind = ANY({}) AND state = 'active'",
            list(APPS),
        )

    def relink(self, content: PushContent, change: Callable[[str], str]) -> PushContent:
        """Return the notification with the web addresses changed that it opens; those in the app stay."""
        actions = [msgspec.structs.replace(action, url=change(action.url)) for action in content.actions]
        return msgspec.structs.replace(content, url=change(content.url), actions=actions)

    def compose(self, delivery: Delivery, content: PushContent) -> push.PushPayload:
        """Return what goes to the service.

        Raises:
            ContentError: there is nothing to show, or it is larger than a push may be.
        """
        if found := _faults(content):
            raise found[0]
        return _payload(content, delivery.pk)

    def problems(self, content: dict[str, Any]) -> list[ContentError]:
        """Return what is wrong with authored content; variables count with their source."""
        found = super().problems(content)
        return found or _faults(msgspec.convert(content, PushContent))

    def carrier(self, account_id: int | None) -> Callable[[Iterable[Parcel], datetime], Iterator[Result]]:
        """Return what sends by one account, and to devices of another kind by the account that carries to those.

        Raises:
            ProviderError: the account can't be used as it is set up.
        """
        from delivery.push_routes import Routes

        return Routes(account_id).send


PushForm.channel = MobilePush


def _payload(content: PushContent, delivery_id: int) -> push.PushPayload:
    words: dict[str, Any] = {}
    if not content.silent:
        words = {
            "title": content.title,
            "body": content.body,
            "image": content.image,
            "sound": "" if content.sound == "none" else content.sound,
            "actions": tuple(push.Button(action.title, action.url) for action in content.actions),
        }
    return push.PushPayload(
        tag=content.tag or f"nudge-{delivery_id}",
        collapse=bool(content.tag),
        ttl=min(content.ttl_hours * 3600 or push.MAX_TTL, push.MAX_TTL),
        url=content.url,
        app_url=content.app_url,
        badge=content.badge,
        urgency=content.urgency,
        silent=content.silent,
        data=content.data,
        token=tokens.make(delivery_id),
        track=f"{settings.NUDGE_PUBLIC_URL}/t/push/",
        **words,
    )


def _faults(content: PushContent) -> list[ContentError]:
    found = []
    if not content.silent and not (content.title or content.body):
        found.append(ContentError("title", _("This must not be empty.")))
    if content.silent and not content.data:
        found.append(ContentError("data", _("A push that shows nothing must hold data.")))
    if content.app_url and ":" not in content.app_url and "{" not in content.app_url:
        found.append(ContentError("app_url", _("A deep link looks like shop://cart.")))
    for name in content.data:
        if push.RESERVED.match(name):
            found.append(ContentError("data", _("“%s” is a word that phones keep for themselves.") % name))
    size = push.size(_payload(content, 1_000_000_000))
    if not found and size > push.MAX_SIZE:
        told = _("too big: %(size)d bytes, a push carries %(limit)d")
        found.append(ContentError("body", told % {"size": size, "limit": push.MAX_SIZE}))
    return found
