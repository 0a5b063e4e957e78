from delivery.models.coupons import CouponCode, CouponPool
from delivery.models.deliveries import Attempt, Delivery
from delivery.models.inapp import InAppMessage
from delivery.models.keys import VapidKey
from delivery.models.messages import Message, MessageContent
from delivery.models.preferences import PreferencePage
from delivery.models.providers import Account, ProviderReport, SandboxItem
from delivery.models.slots import Slot

__all__ = [
    "Account",
    "Attempt",
    "CouponCode",
    "CouponPool",
    "Delivery",
    "InAppMessage",
    "Message",
    "MessageContent",
    "PreferencePage",
    "ProviderReport",
    "SandboxItem",
    "Slot",
    "VapidKey",
]
