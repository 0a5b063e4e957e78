"""HubSpot's HTTP API, spoken by HubSpot's own client library.

The client signs, addresses and retries the requests. Replies are read from the raw body, because the
client's models are slow and make an empty object of an HTML page.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
import urllib3
from django.utils.translation import gettext as _
from hubspot import HubSpot
from hubspot.crm.contacts import ApiException as ContactsError
from hubspot.crm.properties import ApiException as PropertiesError
from urllib3.util.retry import Retry

from crm import normalise
from crm.connectors.base import ConnectorError, FieldKind

T = TypeVar("T")

CONTACTS = "contacts"
CONNECT_SECONDS = 5
PAGE = 100
BATCH = 100
READ_ATTEMPTS = 3
LONGEST_WAIT = 30  # seconds, whatever Retry-After says
DAILY_LIMIT_MINUTES = 60


class Contact(msgspec.Struct, rename="camel"):
    id: str
    updated_at: datetime
    properties: dict[str, Any] = {}
    archived: bool = False
    archived_at: datetime | None = None


class _Next(msgspec.Struct):
    after: str


class _Paging(msgspec.Struct):
    next: _Next | None = None


class Contacts(msgspec.Struct):
    results: list[Contact]
    paging: _Paging | None = None
    total: int | None = None

    @property
    def after(self) -> str | None:
        return self.paging.next.after if self.paging and self.paging.next else None


class Property(msgspec.Struct, rename="camel"):
    name: str
    label: str
    type: str
    field_type: str = ""
    hidden: bool = False
    hubspot_defined: bool = False

    def kind(self) -> FieldKind:
        if self.type == "bool" or self.field_type == "booleancheckbox":
            return "boolean"
        if self.type == "enumeration":
            return "list" if self.field_type == "checkbox" else "choice"
        kinds: dict[str, FieldKind] = {"number": "number", "date": "date", "datetime": "datetime"}
        return kinds.get(self.type, "text")


class Properties(msgspec.Struct):
    results: list[Property]


class Api:
    """The calls a sync needs, with one account's token.

    Every method raises ConnectorError with a sentence for the operator.

    Args:
        url: scheme and host of the API.
        retries: how often a failed call is repeated.
        backoff: seconds before the second repetition; doubled each time.
        patience: seconds to wait for the next byte.
    """

    def __init__(self, url: str, access_token: str, retries: int, backoff: float, patience: float):
        retry = Retry(
            total=retries,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # searches are POSTs, and by default no POST is repeated
            backoff_factor=backoff,
            redirect=0,  # another host must not get the token
            raise_on_redirect=False,
            raise_on_status=False,
            retry_after_max=LONGEST_WAIT,
        )
        client = HubSpot(access_token=access_token, host=url, retry=retry)
        self.url = url
        self._timeout = (CONNECT_SECONDS, patience)
        self.server_time: datetime | None = None  # of the last answer, by HubSpot's clock
        self._list = client.crm.contacts.basic_api.get_page
        self._search = client.crm.contacts.search_api.do_search
        self._read = client.crm.contacts.batch_api.read
        self._describe = client.crm.properties.core_api.get_all

    def properties(self) -> list[Property]:
        """The definitions of contact properties."""
        return self._ask(Properties, self._describe, CONTACTS, archived=False).results

    def page(self, after: str | None, names: Sequence[str], archived: bool) -> Contacts:
        """One page of the list by id; `after` comes from the page before."""
        place = {} if after is None else {"after": after}
        found = self._ask(
            Contacts, self._list, limit=PAGE, properties=list(names), archived=archived, **place
        )
        if found.after is not None and found.after == after:
            raise ConnectorError(_("HubSpot keeps sending the same page; the next run tries again."))
        return found

    def search(self, body: dict[str, Any]) -> Contacts:
        """One page of a search."""
        return self._ask(Contacts, self._search, body)

    def read(self, ids: Sequence[str], names: Sequence[str]) -> list[Contact]:
        """Those of up to BATCH contacts that exist."""
        body = {
            "inputs": [{"id": record_id} for record_id in ids],
            "properties": list(names),
            "propertiesWithHistory": [],
        }
        return self._ask(Contacts, self._read, body, archived=False).results

    def _ask(self, reply: type[T], call: Callable[..., Any], *args: Any, **kwargs: Any) -> T:
        """Call the client and read its answer as `reply`; a body that breaks off is asked for again."""
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                response = call(*args, **kwargs, _preload_content=False, _request_timeout=self._timeout)
                body = response.data
                break
            except (ContactsError, PropertiesError) as error:
                raise _refused(error) from None
            except urllib3.exceptions.MaxRetryError:
                raise self._unreachable() from None
            except urllib3.exceptions.HTTPError:
                if attempt == READ_ATTEMPTS:
                    raise self._unreachable() from None
            except UnicodeDecodeError:
                raise self._garbled() from None  # the client stumbles over an error page that is no UTF-8
        date = response.headers.get("Date")
        if date:
            self.server_time = parsedate_to_datetime(date)
        try:
            return msgspec.json.decode(body, type=reply)
        except msgspec.MsgspecError:
            pass
        try:
            # Slower, but one contact with half a character or a stray byte does not cost the whole page.
            return msgspec.convert(json.loads(body.decode("utf-8", "replace")), reply)
        except (ValueError, msgspec.MsgspecError):
            raise self._garbled() from None

    def _unreachable(self) -> ConnectorError:
        return ConnectorError(
            _("No answer from %(url)s. Check the network; the next run continues where this one stopped.")
            % {"url": self.url}
        )

    def _garbled(self) -> ConnectorError:
        return ConnectorError(
            _("%(url)s answered with something that is not HubSpot's API. Is there a proxy in between?")
            % {"url": self.url}
        )


def _refused(error: Any) -> ConnectorError:
    try:
        said = json.loads(error.body or "{}")
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    message = normalise.shortened(str(said.get("message") or error.reason or error.status), 300)
    match error.status:
        case 401:
            return ConnectorError(
                _(
                    "HubSpot refused the access token. Enter the token of a private app that has the scope "
                    "crm.objects.contacts.read."
                )
            )
        case 403:
            return ConnectorError(
                _(
                    "The access token may not read contacts; give its private app the scope "
                    "crm.objects.contacts.read. HubSpot says: %s"
                )
                % message
            )
        case 429 if said.get("policyName") == "DAILY":
            return ConnectorError(
                _("The account's HubSpot calls for today are used up; the sync goes on later."),
                retry_minutes=DAILY_LIMIT_MINUTES,
            )
        case 429:
            return ConnectorError(
                _("HubSpot asks for fewer calls; the next run continues where this one stopped.")
            )
        case status if status and status >= 500:
            return ConnectorError(
                _("HubSpot has trouble (error %d); the next run continues where this one stopped.") % status
            )
        case _other:
            return ConnectorError(_("HubSpot refused the request: %s") % message)
