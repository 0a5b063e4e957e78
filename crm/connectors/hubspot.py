"""HubSpot: contacts as people, deals as purchases, products.

Facts about HubSpot that shape this connector:

- A search sees at most 10,000 rows of one query and its order by time is not stable, so a fixed window of
  modified times is walked by ascending id, never by offset.
- The search index lags behind writes, and late writes appear below the newest time seen: a window ends
  a few seconds before HubSpot's own clock and starts ten minutes before the end of the one before.
- Archiving does not touch the modified time and takes the record out of search: deletions come from the
  list of archived records, by `archivedAt`. Restoring does not touch it either: webhooks and the comparison
  of all ids tell that.
- A merged record disappears; the winner lists its id in a property. Whoever asks for it gets the winner.
- Long lists of properties do not fit into a URL: then the list gives ids and a batch gives the values.
- A deal's contacts are no property of it, and changing them does not touch its modified time: they are read
  with every deal that is read, and completely in full mode. Webhooks (`deal.associationChange`) tell sooner.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from crm.connectors import hubspot_hooks as hooks
from crm.connectors import hubspot_settings, hubspot_values, hubspot_writing, register
from crm.connectors.base import (
    Activity,
    Change,
    Connector,
    ConnectorError,
    Field,
    FieldKind,
    HookAnswer,
    HookRequest,
    Mode,
    Page,
    Record,
    Suggestion,
)
from crm.connectors.hubspot_api import BATCH, Api
from crm.connectors.hubspot_errors import RefusedError
from crm.connectors.hubspot_reading import Reader, count
from crm.connectors.hubspot_settings import HubSpotConfig, HubSpotCredentials, HubSpotForm
from crm.connectors.hubspot_values import CONTACTS, KINDS, OBJECTS
from crm.connectors.tokens import Token, Tokens

API = "https://api.hubapi.com"
HURRIED_SECONDS = 9
HURRIED_PATIENCE = 4.0


@register
class HubSpot(Connector):
    """One HubSpot account."""

    kind, label = "hubspot", "HubSpot"
    objects = OBJECTS
    Config, Credentials, Form = HubSpotConfig, HubSpotCredentials, HubSpotForm
    config: HubSpotConfig
    credentials: HubSpotCredentials
    identity_fields = ("server",)
    write_batch = BATCH
    erase_batch = BATCH
    takes_activities = True
    hook_help = gettext_lazy(
        "In HubSpot, open the app → Webhooks, enter this address as the target URL, and subscribe to contacts, "
        "deals and products: created, deleted, deleted for privacy, merged, restored, association changed, and "
        "the properties that you map. Enter the app's client secret here: HubSpot signs the calls with it."
    )
    retries = 5
    backoff_seconds = 1.0  # doubled with every further attempt
    patience_seconds = 30.0  # for the next byte
    slowest_seconds = 60.0  # for a whole answer

    def __init__(self, config: dict[str, Any], credentials: dict[str, Any], tokens: Tokens | None = None):
        super().__init__(config, credentials, tokens)
        hubspot_settings.check(self.config, self.credentials)
        self._api = self._connect()
        self._kinds: dict[str, dict[str, FieldKind]] = {}
        self._portal_id = ""

    def _connect(self) -> Api:
        return Api(
            self.url,
            self,
            self,
            self.retries,
            self.backoff_seconds,
            self.patience_seconds,
            self.slowest_seconds,
        )

    def _hurried(self, access: "HubSpot | None", retries: int) -> Api:
        """For when somebody waits for the answer."""
        patience = min(HURRIED_PATIENCE, self.patience_seconds)
        return Api(self.url, access, self, retries, self.backoff_seconds, patience, patience, HURRIED_SECONDS)

    @property
    def url(self) -> str:
        """Where the API is."""
        return settings.NUDGE_SANDBOX_URL if self.config.server == "sandbox" else API

    def token(self, refused: str | None = None) -> str:
        """The access token to use; another than `refused` if there can be one."""
        if self.config.access == "private":
            return self.credentials.access_token.strip()
        return self.tokens.get(self._fetch, refused).value

    def _fetch(self, old: Token | None) -> Token:
        asked = timezone.now()
        api = self._hurried(None, retries=3)
        known = self.credentials
        try:
            made = api.issue(
                known.client_id.strip(), known.client_secret.strip(), known.refresh_token.strip()
            )
        except RefusedError as error:
            if error.status not in (400, 401, 403):
                raise
            raise ConnectorError(
                _(
                    "HubSpot refused the refresh token. Install the app in HubSpot again and enter the client "
                    "ID, client secret and refresh token anew. HubSpot says: %s"
                )
                % error.said
            ) from None
        return Token(made.access_token, asked + timedelta(seconds=made.expires_in))

    # What the engine asks

    def test(self) -> str:
        """See Connector. Without deals or products it works, too, so what is missing is only said."""
        api = self._hurried(self, retries=1)
        total = count(api, KINDS[CONTACTS])
        said = [
            ngettext(
                "HubSpot answers: %d contact can be read.", "HubSpot answers: %d contacts can be read.", total
            )
            % total
        ]
        for kind in list(KINDS.values())[1:]:
            try:
                number = count(api, kind)
            except RefusedError as error:
                if error.status != 403:
                    raise
                said.append(
                    _("%(object)s can't be read: the app lacks the scope %(scope)s.")
                    % {"object": kind.type.label, "scope": kind.scope}
                )
            else:
                said.append(f"{kind.type.label}: {number}.")
        return " ".join(said)

    def account(self) -> str:
        """See Connector. An app may lack the right to ask."""
        try:
            return self._portal()
        except RefusedError as error:
            if error.status != 403:
                raise
            return ""

    def _portal(self) -> str:
        self._portal_id = self._portal_id or self._api.portal_id()
        return self._portal_id

    def fields(self, object_name: str) -> list[Field]:
        """See Connector."""
        properties = self._api.properties(KINDS[object_name])
        self._kinds[object_name] = {found.name: found.kind() for found in properties}
        return [found.field() for found in properties if not found.hidden]

    def suggest(self, object_name: str, fields: Sequence[Field]) -> Suggestion:
        """See Connector. Custom properties become attributes."""
        return hubspot_values.suggestion(KINDS[object_name], fields)

    def pages(
        self, object_name: str, cursor: dict[str, Any], mode: Mode, names: Sequence[str]
    ) -> Iterator[Page]:
        """See Connector; the cursor is explained in `hubspot_reading`."""
        every = timedelta(minutes=self.config.deletions_every_minutes)
        yield from self._reader(object_name, names).pages(cursor, mode, every)

    def read(self, object_name: str, ids: Sequence[str], names: Sequence[str]) -> list[Record]:
        """See Connector. A merged-away id gives the record it went into, under that record's id."""
        return self._reader(object_name, names).read(ids)

    def ids(self, object_name: str) -> Iterator[list[str]]:
        """See Connector."""
        yield from Reader(self._api, KINDS[object_name], {}, ()).ids()

    def write(self, object_name: str, changes: Sequence[Change]) -> list[str | None]:
        """See Connector."""
        kinds = self._properties(object_name)
        return hubspot_writing.Writer(self._api, KINDS[object_name], kinds).write(changes)

    def send(self, object_name: str, activities: Sequence[Activity]) -> list[str | None]:
        """See Connector. The events must be defined in HubSpot, with the activities' names."""
        return hubspot_writing.send(self._api, self._portal() if activities else "", activities)

    def erase(self, object_name: str, ids: Sequence[str]) -> list[str | None]:
        """See Connector."""
        return hubspot_writing.erase(self._api, KINDS[object_name], ids)

    def hook(self, request: HookRequest) -> HookAnswer:
        """See Connector."""
        hooks.check(request, self.credentials.client_secret.strip())
        return HookAnswer(hooks.hints(request.body, self.config.portal_id))

    def _reader(self, object_name: str, names: Sequence[str]) -> Reader:
        return Reader(self._api, KINDS[object_name], self._properties(object_name), names)

    def _properties(self, object_name: str) -> dict[str, FieldKind]:
        if object_name not in self._kinds:
            self.fields(object_name)
        return self._kinds[object_name]
