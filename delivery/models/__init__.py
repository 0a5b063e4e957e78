from delivery.models.brand import BrandKit
from delivery.models.coupons import CouponCode, CouponPool
from delivery.models.deliveries import Attempt, Delivery
from delivery.models.inapp import InAppMessage
from delivery.models.keys import VapidKey
from delivery.models.messages import Message, MessageContent
from delivery.models.preferences import PreferencePage
from delivery.models.providers import Account, ProviderReport, SandboxItem
from delivery.models.slots import Slot
from delivery.models.snippets import Snippet, SnippetText
from delivery.models.versions import MessageVariant, MessageVersion

__all__ = [
    "Account",
    "Attempt",
    "BrandKit",
    "CouponCode",
    "CouponPool",
    "Delivery",
    "InAppMessage",
    "Message",
    "MessageContent",
    "MessageVariant",
    "MessageVersion",
    "PreferencePage",
    "ProviderReport",
    "SandboxItem",
    "Slot",
    "Snippet",
    "SnippetText",
    "VapidKey",
]
