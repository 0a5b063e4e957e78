import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from campaigns.flows import editing
from campaigns.models import Flow
from delivery.models import Message, MessageContent


def client_with(*permissions: str) -> Client:
    """Somebody of the staff with these permissions, such as "campaigns.view_flow", logged in."""
    user = User.objects.create_user(f"user {User.objects.count()}", is_staff=True)
    wanted = [permission.split(".") for permission in permissions]
    found = Permission.objects.filter(
        content_type__app_label__in=[app for app, _name in wanted],
        codename__in=[name for _app, name in wanted],
    )
    assert len(found) == len(set(permissions))
    user.user_permissions.set(found)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer(db) -> Client:
    return client_with("campaigns.view_flow", "campaigns.view_broadcast")


@pytest.fixture
def editor(db) -> Client:
    return client_with(
        "campaigns.view_flow", "campaigns.add_flow", "campaigns.change_flow", "campaigns.delete_flow",
        "campaigns.view_broadcast", "campaigns.add_broadcast", "campaigns.change_broadcast",
    )  # fmt: skip


@pytest.fixture
def publisher(db) -> Client:
    return client_with(
        "campaigns.view_flow", "campaigns.change_flow", "campaigns.publish_flow",
        "campaigns.view_broadcast", "campaigns.change_broadcast", "campaigns.launch_broadcast",
    )  # fmt: skip


@pytest.fixture
def message(db) -> Message:
    message = Message.objects.create(slug="hello", name="Hello")
    MessageContent.objects.create(
        message=message, channel="webpush", content={"title": "Hello there", "body": "Welcome"}
    )
    return message


STEPS = [
    {"key": "w1", "kind": "wait", "config": {"amount": 1, "unit": "minutes"}},
    {"key": "m1", "kind": "message", "config": {"message": "hello", "channel": "webpush"}},
    {
        "key": "q1",
        "kind": "split",
        "config": {"name": "Bought?"},
        "branches": [
            {
                "name": "Yes",
                "rule": {"all": [{"kind": "event", "name": "purchase"}]},
                "steps": [{"key": "x1", "kind": "exit", "config": {"reason": "has ordered"}}],
            },
            {
                "name": "No",
                "steps": [
                    {"key": "m2", "kind": "message", "config": {"message": "hello", "channel": "webpush"}}
                ],
            },
        ],
    },
]


@pytest.fixture
def flow(message) -> Flow:
    """A complete draft."""
    return Flow.objects.create(
        slug="welcome",
        name="Welcome",
        draft={**editing.empty(), "trigger": {"kind": "event", "name": "push_subscribed"}, "steps": STEPS},
    )
