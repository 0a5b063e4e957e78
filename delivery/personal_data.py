"""What the delivery layer knows about one person, for `crm.portability`."""

from django.db.models import F, Value
from django.db.models.functions import Coalesce, NullIf
from django.utils.translation import gettext_lazy as _

from crm.portability import Rows, register, rows
from delivery.models import (
    Attempt,
    CouponCode,
    Delivery,
    Exposure,
    InAppMessage,
    InboundMessage,
    LinkHit,
    ProviderReport,
    SandboxItem,
)


def connect() -> None:
    """Called once when the app is ready."""
    register(
        "deliveries",
        _("Messages to this person with their content as sent, and why others were not sent."),
        _deliveries,
        "delivery.delivery",
    )
    register(
        "delivery_attempts", _("Calls to the services that deliver them."), _attempts, "delivery.attempt"
    )
    register(
        "provider_reports",
        _("What the services told about them later."),
        _reports,
        "delivery.providerreport",
    )
    register(
        "sandbox",
        _("Messages that the sandbox kept instead of sending them."),
        _sandbox,
        "delivery.sandboxitem",
    )
    register("coupons", _("Coupon codes, and when they were used."), _coupons, "delivery.couponcode")
    register("written_to_us", _("What this person wrote to us."), _inbound, "delivery.inboundmessage")
    register(
        "link_hits",
        _("When links in messages were followed, and by what program."),
        _hits,
        "delivery.linkhit",
    )
    register(
        "experiments",
        _("What this person was part of for comparison, and on which side."),
        _exposures,
        "delivery.exposure",
    )
    register("in_app", _("Messages inside the site or app."), _in_app, "delivery.inappmessage")


def _deliveries(profile_id: int) -> Rows:
    found = Delivery.objects.filter(profile_id=profile_id).order_by("queued_at", "pk")
    return rows(
        found.annotate(number=F("pk")),
        *("number", "message__slug", "message__name", "channel", "variant", "locale", "state", "reason"),
        *("origin_type", "origin_step", "queued_at", "sent_at", "delivered_at", "expires_at"),
        *("context", "content", "links"),
    )


def _attempts(profile_id: int) -> Rows:
    found = Attempt.objects.filter(delivery__profile_id=profile_id).order_by("pk")
    return rows(
        found,
        *(
            "delivery_id",
            "outcome",
            "status_code",
            "detail",
            "address",
            "account__name",
            "provider_id",
            "cost",
        ),
        *("started_at", "finished_at"),
    )


def _reports(profile_id: int) -> Rows:
    found = ProviderReport.objects.filter(delivery__profile_id=profile_id).order_by("pk")
    return rows(found, "delivery_id", "account__name", "provider_id", "kind", "detail", "at", "received_at")


def _sandbox(profile_id: int) -> Rows:
    found = SandboxItem.objects.filter(delivery__profile_id=profile_id).order_by("pk")
    return rows(found, "delivery_id", "address", "payload", "received_at")


def _coupons(profile_id: int) -> Rows:
    found = (
        CouponCode.objects.filter(profile_id=profile_id)
        .order_by("pk")
        .annotate(coupon=Coalesce(NullIf("code", Value("")), "pool__code"))
    )
    return rows(found, "pool__slug", "pool__name", "coupon", "given_at", "redeemed_at", "cause")


def _inbound(profile_id: int) -> Rows:
    found = InboundMessage.objects.filter(profile_id=profile_id).order_by("at", "pk")
    return rows(found, "channel", "address", "text", "meaning", "at", "reply", "reply_text")


def _hits(profile_id: int) -> Rows:
    found = LinkHit.objects.filter(delivery__profile_id=profile_id).order_by("at", "pk")
    return rows(found, "delivery_id", "link", "at", "user_agent", "purpose", "verdict", "reason")


def _in_app(profile_id: int) -> Rows:
    found = InAppMessage.objects.filter(delivery__profile_id=profile_id).order_by("pk")
    return rows(found, "delivery_id", "state", "expires_at", "answered_at")


def _exposures(profile_id: int) -> Rows:
    found = Exposure.objects.filter(profile_id=profile_id).order_by("at", "pk")
    return rows(found, "experiment", "arm", "at")
