"""Salesforce's outbound messages: SOAP calls that tell of changed records (Salesforce, "Outbound Messaging").

They are not signed, arrive twice and out of order, and hold data that may be old by then: only the ids in
them are taken.
"""

import hmac
from urllib.parse import parse_qs, urlsplit
from xml.parsers import expat

from crm.connectors.base import HookRefused, HookRequest
from crm.connectors.salesforce_ids import long_form

OUTBOUND = "http://soap.sforce.com/2005/09/outbound"
TYPE = "http://www.w3.org/2001/XMLSchema-instance type"
SOBJECT = ("urn:sobject.enterprise.soap.sforce.com", "urn:sobject.partner.soap.sforce.com")
LARGEST = 4 * 1024 * 1024  # bytes; a hundred records
DEEPEST = 20
ACK = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    f'<notificationsResponse xmlns="{OUTBOUND}"><Ack>true</Ack></notificationsResponse>'
    "</soapenv:Body></soapenv:Envelope>"
).encode()


def keyed(url: str, key: str) -> bool:
    """Whether the called address carries the key."""
    given = parse_qs(urlsplit(url).query).get("key", [""])[0]
    return bool(key) and hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())


class Notifications:
    """What an outbound message says: the organisation's id, and (object, id) of each record, 18 characters.

    Raises:
        HookRefused: the body is none, or brings definitions of its own, as attacks with XML do.
    """

    def __init__(self, request: HookRequest):
        self.organization = ""
        self.records: list[tuple[str, str]] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._object = ""
        if request.method != "POST" or len(request.body) > LARGEST:
            raise HookRefused
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(request.body, True)
        except (expat.ExpatError, ValueError, LookupError):
            raise HookRefused from None
        if not self.organization:
            raise HookRefused

    def _refuse(self, *_declaration: object) -> None:
        raise HookRefused

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= DEEPEST:
            raise HookRefused
        self._path.append(name)
        self._text.clear()
        if name == f"{OUTBOUND} sObject":
            self._object = attributes.get(TYPE, "").rpartition(":")[2]

    def _end(self, name: str) -> None:
        self._path.pop()
        namespace, _space, local = name.rpartition(" ")
        if namespace == OUTBOUND and local == "OrganizationId":
            self.organization = long_form("".join(self._text).strip()) or ""
        elif namespace in SOBJECT and local == "Id" and self._path[-1:] == [f"{OUTBOUND} sObject"]:
            record_id = long_form("".join(self._text).strip())
            if record_id and (self._object, record_id) not in self.records:
                self.records.append((self._object, record_id))
        self._text.clear()
