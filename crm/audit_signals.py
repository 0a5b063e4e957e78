"""What is written into the audit log by itself: logging in and out, and who may do what."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed
from django.http import HttpRequest

from crm import audit


def connect() -> None:
    """Called once when the app is ready."""
    user = get_user_model()
    user_logged_in.connect(logged_in, dispatch_uid="crm.audit.logged_in")
    user_logged_out.connect(logged_out, dispatch_uid="crm.audit.logged_out")
    user_login_failed.connect(login_failed, dispatch_uid="crm.audit.login_failed")
    for through, action in (
        (user.groups.through, "user.roles_changed"),
        (user.user_permissions.through, "user.roles_changed"),
        (Group.permissions.through, "role.permissions_changed"),
    ):
        m2m_changed.connect(
            Granted(action), sender=through, weak=False, dispatch_uid=f"crm.audit.{through.__name__}"
        )


def logged_in(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Somebody came in."""
    audit.record(_with(request, user), "user.logged_in", user)


def logged_out(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Somebody left; nobody, if the session had ended already."""
    if user is not None:
        audit.record(_with(request, user), "user.logged_out", user)


def login_failed(sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
    """A wrong password. What was typed as a name is kept only if it is one: it may be a password."""
    name = str(credentials.get("username", ""))
    user = get_user_model()._default_manager.filter(username=name).first() if "\x00" not in name else None
    audit.record(request, "user.login_failed", user)


class Granted:
    """Receiver of changes to who may do what. Which permissions it were is in `detail`, by their names or numbers."""

    def __init__(self, action: str):
        self.action = action

    def __call__(
        self, sender: Any, instance: Any, action: str, pk_set: set[int] | None, model: Any, **kwargs: Any
    ) -> None:
        """After something was given or taken away."""
        if action not in ("post_add", "post_remove", "post_clear") or (not pk_set and action != "post_clear"):
            return
        named = [str(each) for each in model._default_manager.filter(pk__in=pk_set or ())]
        audit.record(
            None, self.action, instance, change=action.removeprefix("post_"), names=sorted(named)[:200]
        )


def _with(request: HttpRequest | None, user: Any) -> Any:
    """The request, seen as this user's."""
    if request is None:
        return user
    request.user = user
    return request
