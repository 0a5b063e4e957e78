"""What devices and links tell outlives processes and databases that die, counts once, and fits into its room."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from crm.models import Alert, Event
from delivery import spool, spool_drain
from delivery import tokens as device_tokens
from delivery.links import hits, targets, tokens
from delivery.models import Delivery, LinkHit
from tests.delivery import world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("spooled")]
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def sent() -> Delivery:
    [delivery] = world.queue(world.message(), [world.person(1)])
    Delivery.objects.filter(pk=delivery.pk).update(
        links=["https://shop.example.com/tea", "https://shop.example.com/pot"],
        content={"text": "x"},
        sent_at=delivery.queued_at,
        state="sent",
    )
    return delivery


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No statement reaches the database until this is undone."""

    def refused(*_args: Any, **_more: Any) -> None:
        raise OperationalError("connection refused")

    for name in ("cursor", "set_autocommit", "ensure_connection"):
        monkeypatch.setattr(connection, name, refused)
    return monkeypatch


def click(client: Any, sent: Delivery, link: int = 0, **more: Any) -> Any:
    return client.get(f"/l/{tokens.make(sent.pk, link)}", HTTP_USER_AGENT=PHONE, **more)


def append(delivery_id: int, count: int = 1) -> list[hits.Fetched]:
    made = [hits.fetched(delivery_id, 0, PHONE, "") for _number in range(count)]
    spool.current().append(hits.KIND, *made)
    return made


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("language", "words"), [("en", "One moment"), ("ar", "لحظة من فضلك"), ("pl", "Chwileczkę")]
)
def test_while_the_database_is_down_a_click_waits_with_the_person(
    client: Any, sent: Delivery, down: pytest.MonkeyPatch, language: str, words: str
) -> None:
    answer = click(client, sent, HTTP_ACCEPT_LANGUAGE=language)
    page = answer.content.decode()
    again = f"/l/{tokens.make(sent.pk)}?again"
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    assert words in page
    assert f'lang="{language}"' in page
    assert f'http-equiv="refresh" content="10; url={again}"' in page
    device = {"token": device_tokens.make(sent.pk), "kind": "shown"}
    assert client.post("/t/push/", device, content_type="application/json").status_code == 204
    assert client.get(f"/o/{tokens.make(sent.pk, kind='open')}.gif").status_code == 200
    with pytest.raises(spool_drain.Away):
        spool_drain.run()
    down.undo()
    targets.forget()
    assert client.get(again, HTTP_USER_AGENT=PHONE)["Location"] == "https://shop.example.com/tea"
    spool_drain.run()
    assert sorted(LinkHit.objects.values_list("link", flat=True), key=str) == [0, None], (
        "again counts nothing"
    )
    assert Event.objects.filter(name="message_delivered").count() == 1


def test_what_browsers_fetch_ahead_is_kept_as_that(client: Any, sent: Delivery) -> None:
    for told in (
        {"HTTP_SEC_PURPOSE": "prefetch;prerender"},
        {"HTTP_X_MOZ": "prefetch"},
        {"HTTP_PURPOSE": "landed"},
    ):
        assert click(client, sent, **told).status_code == 302
    assert client.head(f"/l/{tokens.make(sent.pk)}", HTTP_USER_AGENT=PHONE).status_code == 302
    spool_drain.run()
    kept = list(LinkHit.objects.order_by("at", "pk").values_list("purpose", flat=True))
    assert kept == ["prefetch;prerender", "prefetch", "", "HEAD"]
    hits.settle(timezone.now() + timedelta(hours=1))
    assert LinkHit.objects.exclude(verdict="machine").get().purpose == "", (
        "nobody else says that somebody came"
    )


def test_what_was_looked_up_before_is_remembered(
    client: Any, sent: Delivery, down: pytest.MonkeyPatch
) -> None:
    down.undo()
    click(client, sent)
    known = targets._known[sent.pk]
    targets._known[sent.pk] = msgspec.structs.replace(known, at=known.at - targets.FRESH - 1)
    asked = []

    def ask(*_args: Any) -> None:
        asked.append(1)
        raise OperationalError("gone")

    down.setattr(targets, "RESTS", 600.0)
    down.setattr(targets, "_ask", ask)
    assert click(client, sent, link=1)["Location"] == "https://shop.example.com/pot"
    assert click(client, sent)["Location"] == "https://shop.example.com/tea"
    assert len(asked) == 1, "the database is left in peace for a while"
    targets.forget()
    assert click(client, sent).status_code == 503


def test_a_locked_table_holds_no_thread(sent: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "PATIENCE_MS", 20)
    monkeypatch.setattr(
        targets, "_FIND", targets._FIND.replace("SELECT d.links", "SELECT pg_sleep(5), d.links")
    )
    with pytest.raises(targets.Unreachable), transaction.atomic():
        targets.find(sent.pk, 0)


def test_a_server_that_hangs_holds_no_thread(sent: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "SILENCE_SECONDS", 0.2)
    targets.forget()

    def ask() -> float:
        connection.ensure_connection()
        process = connection.connection.info.backend_pid
        started = time.monotonic()
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(targets.Unreachable):
                targets.find(sent.pk, 0)
            return time.monotonic() - started
        finally:
            os.kill(process, signal.SIGCONT)
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask).result(timeout=30) < 5
    targets.forget()


def test_a_file_that_comes_twice_counts_once(sent: Delivery, spooled: Path) -> None:
    append(sent.pk, 3)
    spool.current().seal()
    [path] = spool.current().files()
    content = path.read_bytes()
    assert spool_drain.run() == 3
    assert files(spooled) == []
    path.write_bytes(content + content)
    assert spool_drain.run() == 6
    assert LinkHit.objects.count() == 3


def test_damaged_lines_are_set_aside_and_the_rest_goes_through(sent: Delivery, spooled: Path) -> None:
    append(sent.pk, 5)
    spool.current().seal()
    [path] = spool.current().files()
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"iPhone", b"iPhony")
    lines[3] = b"\x00\xff"
    unknown = spool.line("nothing", hits.fetched(sent.pk, 0, "", ""))
    unstorable = spool.line("hit", hits.fetched(2**70, 0, "", ""))
    path.write_bytes(b"\n".join(lines) + unknown + unstorable + lines[0][:40])
    spool_drain.run()
    assert LinkHit.objects.count() == 3
    [aside] = files(spooled)
    assert aside.read_bytes().count(b"\n") == 4
    assert "4 records" in Alert.objects.get(key="spool:damaged").title


def test_where_there_is_no_room_it_says_so_and_tells_a_person(
    client: Any, sent: Delivery, settings: Any, down: pytest.MonkeyPatch
) -> None:
    settings.NUDGE_SPOOL_MB = 0
    report = {"token": device_tokens.make(sent.pk), "kind": "shown"}
    answer = client.post("/t/push/", report, content_type="application/json")
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    down.setattr(spool_drain, "_stored", None)  # it is not asked again at once
    picture = client.get(f"/o/{tokens.make(sent.pk, kind='open')}.gif", HTTP_USER_AGENT=PHONE)
    assert (picture.status_code, picture["Content-Type"]) == (503, "image/gif")
    down.undo()
    down.setattr(spool_drain, "_rests_until", 0.0)
    spool_drain._tell_of_refused()
    assert Alert.objects.get(key="spool:full").title.startswith("2 opens")
    assert spool.current().refused == 0
    assert client.post("/t/push/", report, content_type="application/json").status_code == 204
    assert Event.objects.filter(name="message_delivered").exists(), "straight into the database"
    assert click(client, sent).status_code == 302


def test_half_a_line_is_none_on_a_full_disk(sent: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    append(sent.pk)
    write = os.write
    monkeypatch.setattr(spool.os, "write", lambda file, data: write(file, data[:20]))
    with pytest.raises(spool.Full):
        append(sent.pk)
    monkeypatch.undo()
    append(sent.pk)
    spool_drain.run()
    assert LinkHit.objects.count() == 2
    assert not Alert.objects.exists()


def test_a_full_disk_gets_no_empty_files(spooled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool.os, "write", full)
    for _number in range(3):
        with pytest.raises(spool.Full):
            append(1)
    assert files(spooled) == []


def test_a_child_of_a_fork_holds_no_file_of_its_parent(sent: Delivery) -> None:
    append(sent.pk)
    stays, told = os.pipe()
    child = os.fork()
    if not child:
        os.write(told, b"x")
        signal.pause()
    try:
        os.read(stays, 1)
        assert spool_drain.run() == 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(stays)
        os.close(told)
    append(sent.pk)
    assert spool_drain.run() == 1
    assert LinkHit.objects.count() == 2


def test_a_file_that_cannot_be_read_holds_up_no_other(sent: Delivery, spooled: Path) -> None:
    append(sent.pk)
    (spooled / "0.spool").mkdir()
    with pytest.raises(IsADirectoryError):
        spool_drain.run()
    assert LinkHit.objects.count() == 1


def test_a_database_that_is_being_upgraded_is_waited_for(
    sent: Delivery, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(sent.pk)
    monkeypatch.setattr(hits, "_STORE", hits._STORE.replace("delivery_linkhit", "delivery_later"))
    with pytest.raises(spool_drain.Away):
        spool_drain.run()
    monkeypatch.undo()
    assert spool_drain.run() == 1
    assert not Alert.objects.exists()


def test_only_its_owner_reads_it(spooled: Path) -> None:
    append(1)
    assert spooled.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in files(spooled)] == [0o600]


def test_ids_are_of_version_7() -> None:
    made = [spool.number() for _ in range(3)]
    assert {number.version for number in made} == {7}
    assert {number.variant for number in made} == {uuid.RFC_4122}
    assert len(set(made)) == 3


_WRITER = """
import os, sys, threading, uuid
from datetime import datetime, UTC
from pathlib import Path
from delivery import spool

class Fetched(spool.Record):
    delivery: int
    link: int
    at: datetime
    agent: str
    purpose: str

there = spool.Spool(Path(sys.argv[1]), 2**30)
def write():
    while True:
        made = Fetched(uuid.uuid4(), int(sys.argv[2]), 0, datetime.now(UTC), "Safari", "")
        there.append("hit", made)
        os.write(1, b"%s\\n" % str(made.record).encode())
for _ in range(4):
    threading.Thread(target=write).start()
"""


def test_what_was_accepted_outlives_kill_9_and_is_stored_once_by_several_at_once(
    sent: Delivery, spooled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hits, "KEPT", 10**9)
    command = [sys.executable, "-c", _WRITER, str(spooled), str(sent.pk)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    told = [writer.stdout.readline() for _number in range(300)]
    assert spool_drain.run() == 0, "a living process's file is its own"
    writer.send_signal(signal.SIGKILL)
    told += writer.stdout.read().splitlines()[:-1]
    writer.wait()
    [path] = spool.current().files()
    with path.open("ab") as file:
        file.write(b"00000000 hit {half")
    accepted = {uuid.UUID(line.strip()) for line in told}
    spool_drain.run()
    stored = set(LinkHit.objects.values_list("record", flat=True))
    assert accepted <= stored
    assert LinkHit.objects.count() == len(stored)
    assert not Alert.objects.exists()
    assert files(spooled) == []


def test_threads_share_a_file_line_by_line(sent: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEALED_AT", 2000)
    monkeypatch.setattr(hits, "KEPT", 10**9)
    threads = [threading.Thread(target=append, args=(sent.pk, 5)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spool.current().files()) > 3
    assert spool_drain.run() == 100
    assert LinkHit.objects.count() == 100
    assert timezone.now() >= LinkHit.objects.latest("at").at
