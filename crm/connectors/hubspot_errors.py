"""What HubSpot's refusals mean, as sentences for the operator, and which of them are worth another try."""

import json
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from crm import normalise
from crm.connectors.base import ConnectorError

DAILY_LIMIT_MINUTES = 60
SECONDS_BY_POLICY = {"SECONDLY": 1, "TEN_SECONDLY_ROLLING": 10}
# Locked by HubSpot while it processes many writes, or a request it did not get in time.
PASSING = (408, 423)
FIELD_CODES = ("PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE")


class RefusedError(ConnectorError):
    """HubSpot answered with an error.

    Args:
        status: HTTP's.
        said: HubSpot's own message.
        properties: the properties that no record can take, if it is about those.
    """

    def __init__(
        self,
        message: str,
        status: int,
        said: str = "",
        properties: frozenset[str] = frozenset(),
        retry_minutes: int | None = None,
    ):
        super().__init__(message, retry_minutes)
        self.status, self.said, self.properties = status, said, properties


class PassingError(Exception):
    """It may work at the next attempt; if not, `error` is what to tell.

    Args:
        wait: seconds to wait first, as HubSpot wishes; None: the longer, the more often it failed.
        steps: the same in units that grow with the attempts.
    """

    def __init__(self, error: ConnectorError, wait: float | None = None, steps: int | None = None):
        super().__init__(str(error))
        self.error, self.wait, self.steps = error, wait, steps


def read_refusal(status: int, body: Any, headers: Mapping[str, str], scope: str) -> Exception:
    """The RefusedError or PassingError of an answer that is an error.

    Args:
        scope: what the call needs, for the case that HubSpot does not tell.
    """
    answer = _object(body)
    said = normalise.shortened(str(answer.get("message") or status), 300)
    match status:
        case 401:
            return RefusedError(
                _(
                    "HubSpot refused the credentials. Enter those of an app that is still installed and has "
                    "the scope %s."
                )
                % scope,
                status,
                said,
            )
        case 403:
            return RefusedError(
                _("The access is not enough; give the app the scope %(scope)s. HubSpot says: %(said)s")
                % {"scope": _scopes(answer) or scope, "said": said},
                status,
                said,
            )
        case 414:
            return RefusedError(_("HubSpot can't read so many properties at once."), status, said)
        case 429:
            return _rate_limit(answer, headers)
        case _other if status >= 500 or status in PASSING:
            return PassingError(
                RefusedError(
                    _("HubSpot has trouble (error %d); the next run continues where this one stopped.")
                    % status,
                    status,
                    said,
                ),
                wait=_seconds(headers),
            )
    return RefusedError(_("HubSpot refused the request: %s") % said, status, said, _properties(answer))


def unreachable(url: str) -> ConnectorError:
    """Nothing came back."""
    return ConnectorError(
        _("No answer from %(url)s. Check the network; the next run continues where this one stopped.")
        % {"url": url}
    )


def untrusted(url: str) -> ConnectorError:
    """The certificate is not the server's."""
    return ConnectorError(
        _("The connection to %(url)s is not safe: its certificate is wrong. Is there a proxy in between?")
        % {"url": url}
    )


def garbled(url: str) -> ConnectorError:
    """What came back is not the API's."""
    return ConnectorError(
        _("%(url)s answered with something that is not HubSpot's API. Is there a proxy in between?")
        % {"url": url}
    )


def repeating() -> ConnectorError:
    """The same page again, or one that can't be the right one."""
    return ConnectorError(
        _("HubSpot keeps sending the same page or records out of order; the next run tries again.")
    )


def undated() -> ConnectorError:
    """Without HubSpot's own time nothing can be said about what has been read."""
    return ConnectorError(_("HubSpot's answers carry no date; is there a proxy in between?"))


def _rate_limit(answer: dict[str, Any], headers: Mapping[str, str]) -> Exception:
    policy = str(answer.get("policyName") or "").upper()
    if policy == "DAILY" or "daily" in str(answer.get("message") or "").lower():
        return RefusedError(
            _("The account's HubSpot calls for today are used up; the sync goes on later."),
            429,
            retry_minutes=DAILY_LIMIT_MINUTES,
        )
    error = RefusedError(
        _("HubSpot asks for fewer calls; the next run continues where this one stopped."), 429
    )
    return PassingError(error, _seconds(headers), SECONDS_BY_POLICY.get(policy))


def _seconds(headers: Mapping[str, str]) -> float | None:
    told = headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else None


def _object(body: Any) -> dict[str, Any]:
    try:
        found = json.loads(body or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _details(answer: dict[str, Any]) -> list[dict[str, Any]]:
    details = answer.get("errors")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _context(detail: dict[str, Any], key: str) -> list[str]:
    context = detail.get("context")
    values = context.get(key) if isinstance(context, dict) else None
    return [str(value) for value in values] if isinstance(values, list) else []


def _scopes(answer: dict[str, Any]) -> str:
    """The scopes that HubSpot names as missing."""
    found = [
        scope
        for detail in _details(answer)
        for key in ("requiredGranularScopes", "requiredScopes")
        for scope in _context(detail, key)
    ]
    return ", ".join(dict.fromkeys(found))


def _properties(answer: dict[str, Any]) -> frozenset[str]:
    """The properties that do not exist or take no values, if nothing else is wrong."""
    details = _details(answer)
    if not details or any(detail.get("code") not in FIELD_CODES for detail in details):
        return frozenset()
    return frozenset(name for detail in details for name in _context(detail, "propertyName"))
