"""SOAP as far as the sandbox speaks it: login replies, faults, and outbound messages.

An outbound message is what Salesforce posts to a subscriber when records change: at most 100
notifications, repeated until the answer holds `<Ack>true</Ack>`, in no certain order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

from crm.sandbox.salesforce_ids import ORGANIZATION, USER, make
from crm.sandbox.salesforce_ids import long_form as id18
from crm.sandbox.salesforce_schema import SObject
from crm.sandbox.salesforce_store import Record

ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"{}>'
    "<soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"
)
MOST_NOTIFICATIONS = 100
# XML 1.0 has no way to write these.
UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
ACKNOWLEDGED = re.compile(rb"<(?:\w+:)?Ack>\s*(?:true|1)\s*</")


def fault(code: str, message: str) -> web.Response:
    """A SOAP fault, which comes with status 500."""
    body = (
        f"<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{_text(message)}</faultstring>"
        f'<detail><sf:LoginFault xsi:type="sf:LoginFault"><sf:exceptionCode>{code}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{_text(message.partition(': ')[2] or message)}</sf:exceptionMessage>"
        "</sf:LoginFault></detail></soapenv:Fault>"
    )
    text = ENVELOPE.format(' xmlns:sf="urn:fault.partner.soap.sforce.com"', body)
    return web.Response(text=text, status=500, content_type="text/xml")


def logged_in(token: str, instance: str, version: str) -> web.Response:
    """The reply to a login: the session and where to go on."""
    user = {
        "accessibilityMode": "false",
        "currencySymbol": "€",
        "orgDefaultCurrencyIsoCode": "EUR",
        "orgHasPersonAccounts": "false",
        "organizationId": id18(ORGANIZATION),
        "organizationMultiCurrency": "true",
        "organizationName": "Sandbox",
        "profileId": make("00e", 1),
        "userEmail": "integration@sandbox.example",
        "userFullName": "Integration User",
        "userId": id18(USER),
        "userLanguage": "en_US",
        "userLocale": "en_GB",
        "userName": "integration@sandbox.example",
        "userTimeZone": "Europe/Warsaw",
        "userType": "Standard",
        "userUiSkin": "Theme3",
    }
    values = {
        "metadataServerUrl": f"{instance}/services/Soap/m/{version}/{ORGANIZATION}",
        "passwordExpired": "false",
        "sandbox": "true",
        "serverUrl": f"{instance}/services/Soap/u/{version}/{ORGANIZATION}",
        "sessionId": token,
        "userId": id18(USER),
    }
    inner = _elements(values) + f"<userInfo>{_elements(user)}</userInfo>"
    body = f"<loginResponse><result>{inner}</result></loginResponse>"
    text = ENVELOPE.format(' xmlns="urn:partner.soap.sforce.com"', body)
    return web.Response(text=text, content_type="text/xml", charset="utf-8")


def outbound_message(item: SObject, records: Iterable[Record], instance: str, number: int) -> str:
    """The message that tells a subscriber of changed records of one object.

    `number` makes the notifications' ids: a message sent again has the number of the first time.
    """
    notifications = "".join(
        f"<Notification><Id>{make('04l', number * MOST_NOTIFICATIONS + index)}</Id>"
        f'<sObject xsi:type="sf:{item.name}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
        f"{_fields(item, record)}</sObject></Notification>"
        for index, record in enumerate(records)
    )
    body = (
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{id18(ORGANIZATION)}</OrganizationId><ActionId>{make('04k', 1)}</ActionId>"
        '<SessionId xsi:nil="true"/>'
        f"<EnterpriseUrl>{_text(instance)}/services/Soap/c/59.0/{ORGANIZATION}</EnterpriseUrl>"
        f"<PartnerUrl>{_text(instance)}/services/Soap/u/59.0/{ORGANIZATION}</PartnerUrl>"
        f"{notifications}</notifications>"
    )
    return ENVELOPE.format("", body)


def acknowledged(answer: bytes) -> bool:
    """Whether a subscriber's answer says that the message need not be sent again."""
    return ACKNOWLEDGED.search(answer) is not None


def _fields(item: SObject, record: Record) -> str:
    texts = []
    for field in item.fields:
        value = item.getter(field)(record)
        if value is None or field.type == "address":
            continue
        texts.append(f"<sf:{field.name}>{_text(field.shown_in_csv(value))}</sf:{field.name}>")
    return "".join(texts)


def _elements(values: dict[str, Any]) -> str:
    return "".join(f"<{name}>{_text(value)}</{name}>" for name, value in values.items())


def _text(value: str) -> str:
    return escape(UNWRITABLE.sub("", value))
