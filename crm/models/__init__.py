from crm.models.alerts import Alert
from crm.models.api_keys import ApiKey
from crm.models.changes import AttributeWatch, Change, Watch
from crm.models.computed import ComputedAttribute, ComputedValue
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
from crm.models.consent import (
    ChannelTerms,
    Consent,
    ConsentChange,
    LegalBasis,
    ListImport,
    Preference,
    Suppression,
    Topic,
)
from crm.models.devices import Device
from crm.models.event_files import EventFile, EventFileReject
from crm.models.events import ClosedMonth, Event, LogCursor, UndatedEvent
from crm.models.idempotency import IdempotentAnswer
from crm.models.identity import IdentityConflict, IdentityRules
from crm.models.indexed import IndexedAttribute
from crm.models.places import LastLocation, PersonPlace, Place
from crm.models.privacy import AuditEntry, CrmErasure, ErasedName, EventRetention, Removal, Role
from crm.models.products import CatalogueSettings, Product, ProductChange, ProductInterest
from crm.models.profiles import Identifier, Profile, ProfileMerge
from crm.models.uploads import Upload, UploadPart

__all__ = [
    "AccessToken",
    "Alert",
    "ApiKey",
    "AttributeWatch",
    "AuditEntry",
    "CatalogueSettings",
    "Change",
    "ChannelTerms",
    "ClosedMonth",
    "ComputedAttribute",
    "ComputedValue",
    "Connection",
    "Consent",
    "ConsentChange",
    "CrmErasure",
    "CrmPurchase",
    "Device",
    "ErasedName",
    "Event",
    "EventFile",
    "EventFileReject",
    "EventRetention",
    "IdempotentAnswer",
    "Identifier",
    "IdentityConflict",
    "IdentityRules",
    "IndexedAttribute",
    "LastLocation",
    "LegalBasis",
    "ListImport",
    "LogCursor",
    "OutgoingActivity",
    "PersonPlace",
    "Place",
    "Preference",
    "Product",
    "ProductChange",
    "ProductInterest",
    "Profile",
    "ProfileMerge",
    "Removal",
    "Role",
    "SourceRecord",
    "Suppression",
    "SyncHint",
    "SyncReject",
    "SyncRun",
    "Topic",
    "UndatedEvent",
    "Upload",
    "UploadPart",
    "Watch",
    "WrittenRecord",
]
