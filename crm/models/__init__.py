from crm.models.alerts import Alert
from crm.models.api_keys import ApiKey
from crm.models.connections import (
    AccessToken,
    Connection,
    CrmPurchase,
    OutgoingActivity,
    SourceRecord,
    SyncHint,
    SyncReject,
    SyncRun,
    WrittenRecord,
)
from crm.models.consent import Consent, ConsentChange, Suppression
from crm.models.devices import Device
from crm.models.events import Event, LogCursor, UndatedEvent
from crm.models.privacy import AuditEntry, CrmErasure, ErasedName, EventRetention, Removal
from crm.models.products import Product
from crm.models.profiles import Identifier, Profile, ProfileMerge
from crm.models.uploads import Upload, UploadPart

__all__ = [
    "AccessToken",
    "Alert",
    "ApiKey",
    "AuditEntry",
    "Connection",
    "Consent",
    "ConsentChange",
    "CrmErasure",
    "CrmPurchase",
    "Device",
    "ErasedName",
    "Event",
    "EventRetention",
    "Identifier",
    "LogCursor",
    "OutgoingActivity",
    "Product",
    "Profile",
    "ProfileMerge",
    "Removal",
    "SourceRecord",
    "Suppression",
    "SyncHint",
    "SyncReject",
    "SyncRun",
    "UndatedEvent",
    "Upload",
    "UploadPart",
    "WrittenRecord",
]
