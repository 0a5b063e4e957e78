from crm.models.alerts import Alert
from crm.models.api_keys import ApiKey
from crm.models.connections import Connection, SourceRecord, SyncReject, SyncRun
from crm.models.consent import Consent, ConsentChange, Suppression
from crm.models.devices import Device
from crm.models.events import Event, LogCursor, UndatedEvent
from crm.models.profiles import Identifier, Profile, ProfileMerge

__all__ = [
    "Alert",
    "ApiKey",
    "Connection",
    "Consent",
    "ConsentChange",
    "Device",
    "Event",
    "Identifier",
    "LogCursor",
    "Profile",
    "ProfileMerge",
    "SourceRecord",
    "Suppression",
    "SyncReject",
    "SyncRun",
    "UndatedEvent",
]
