"""What Zoho's refusals mean, as sentences for the operator."""

from typing import Any

from django.utils.translation import gettext as _

from crm import normalise
from crm.connectors.base import ConnectorError

Json = dict[str, Any]

LIMIT_MINUTES = 60
REFRESH_LIMIT_MINUTES = 10


class RefusedError(ConnectorError):
    """Zoho understood the request and refused it; `code` is its word for why."""

    def __init__(self, message: str, code: str):
        super().__init__(message)
        self.code = code


def too_many(remaining: str, said: Json | None) -> ConnectorError:
    """The credits of the day are used up, or too many calls ran at once; `remaining`: the header's credits."""
    if remaining == "0" or "credit" in str((said or {}).get("message", "")).lower():
        return ConnectorError(
            _("The account's Zoho API credits for today are used up; the sync goes on later."),
            retry_minutes=LIMIT_MINUTES,
        )
    return ConnectorError(_("Zoho asks for fewer calls; the next run continues where this one stopped."))


def refused(said: Json) -> RefusedError:
    """A request that Zoho understood and refused."""
    code = str(said.get("code") or said.get("error") or "")
    message = normalise.shortened(str(said.get("message") or code), 300)
    match code:
        case "OAUTH_SCOPE_MISMATCH":
            text = _(
                "The Zoho grant lacks a scope. Make the refresh token anew with the scopes "
                "ZohoCRM.modules.ALL, ZohoCRM.settings.fields.READ, ZohoCRM.coql.READ and "
                "ZohoCRM.notifications.ALL."
            )
        case "NO_PERMISSION" | "NOT_ALLOWED":
            text = (
                _("The Zoho user may not do this; give the user's profile access. Zoho says: %s.") % message
            )
        case _other:
            text = _("Zoho refused the request: %s.") % message.rstrip(".")
    return RefusedError(text, code)


def no_token(said: Json) -> ConnectorError:
    """A refresh that gave no access token."""
    error = str(said.get("error", ""))
    match error:
        case "invalid_client" | "invalid_client_secret":
            return ConnectorError(
                _("Zoho does not know this client ID and secret in this data centre. Check all three.")
            )
        case "invalid_code" | "invalid_grant" | "invalid_token":
            return ConnectorError(
                _(
                    "Zoho refused the refresh token. It was revoked or belongs to another client; make a new one."
                )
            )
        case "Access Denied":
            return ConnectorError(
                _("Zoho gives no more access tokens for some minutes; the sync goes on later."),
                retry_minutes=REFRESH_LIMIT_MINUTES,
            )
    return ConnectorError(
        _("Zoho gave no access token (%s). Check the client and the refresh token.")
        % (normalise.shortened(error, 80) or _("no reason told"))
    )
