from delivery.models.brand import BrandKit
from delivery.models.coupons import CouponCode, CouponPool
from delivery.models.deliveries import Attempt, Delivery
from delivery.models.email import EmailImage, EmailLayout
from delivery.models.exposures import Exposure, HoldoutMonth
from delivery.models.inapp import InAppMessage
from delivery.models.keys import VapidKey
from delivery.models.links import LinkHit, LinkSettings
from delivery.models.messages import Message, MessageContent
from delivery.models.policies import EmergencyStop, FrequencyCap, Place, PlaceLock, SendingHours, SendingRules
from delivery.models.preferences import PreferencePage
from delivery.models.providers import Account, ProviderReport, SandboxItem
from delivery.models.slots import Slot
from delivery.models.snippets import Snippet, SnippetText
from delivery.models.streams import EventStream, StreamCall
from delivery.models.texts import InboundMessage, Keywords, WhatsAppTemplate
from delivery.models.versions import MessageVariant, MessageVersion

__all__ = [
    "Account",
    "Attempt",
    "BrandKit",
    "CouponCode",
    "CouponPool",
    "Delivery",
    "EmailImage",
    "EmailLayout",
    "EmergencyStop",
    "EventStream",
    "Exposure",
    "FrequencyCap",
    "HoldoutMonth",
    "InAppMessage",
    "InboundMessage",
    "Keywords",
    "LinkHit",
    "LinkSettings",
    "Message",
    "MessageContent",
    "MessageVariant",
    "MessageVersion",
    "Place",
    "PlaceLock",
    "PreferencePage",
    "ProviderReport",
    "SandboxItem",
    "SendingHours",
    "SendingRules",
    "Slot",
    "Snippet",
    "SnippetText",
    "StreamCall",
    "VapidKey",
    "WhatsAppTemplate",
]
