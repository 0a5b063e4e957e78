"""Web pushes per second and core, beside `pywebpush.webpush()` in a loop on the same subscriptions."""

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.table import Row, row

NPM = "web-push@3.6.7"
ROOT = Path(__file__).resolve().parent.parent


def rows() -> list[Row]:
    """Measure on a database of its own against a stub that answers 201 to everything."""
    with tempfile.TemporaryDirectory(prefix="nudge-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        plain = stack.enter_context(_service([sys.executable, "-m", "benchmarks.push_stub"]))
        services = {"plain": f"http://{plain}"}
        if node := shutil.which("node"):
            pem = _certificate(folder)
            for version in ("h1", "h2"):
                script = [node, str(ROOT / "benchmarks" / "push_tls_stub.js"), str(pem), version]
                services[version] = f"https://{stack.enter_context(_service(script))}"
        rates = _measure(folder, services)
        npm = _npm(folder, services["h1"]) if "h1" in services else None
    cpu, wall = rates["cpu"], rates["wall"]
    unit = "msg/s per core"
    found = [
        row(
            "web push, claimed row to recorded result",
            cpu["stage"],
            unit,
            "webpush() in a loop",
            cpu["webpush"],
        ),
        row(
            "web push, claimed row to recorded result",
            cpu["stage"],
            unit,
            "webpush() with one session",
            cpu["webpush_session"],
        ),
        row(
            "web push, claimed row to recorded result",
            cpu["stage"],
            unit,
            "webpush_async, 100 at once",
            cpu["webpush_async"],
        ),
        row(
            "web push, channel alone",
            cpu["channel"],
            unit,
            "webpush() with one session",
            cpu["webpush_session"],
        ),
        row("web push, channel alone", cpu["channel"], unit, "limit: its encryption alone", cpu["encrypt"]),
        row(
            "web push, one sender by the clock",
            wall["stage"],
            "msg/s",
            "webpush() with one session",
            wall["webpush_session"],
        ),
    ]
    for version, words in (("h1", "HTTP/1.1"), ("h2", "HTTP/2")):
        if version in cpu:
            workload = f"web push, channel alone over TLS, {words}"
            found.append(row(workload, cpu[version], unit, "limit: its encryption alone", cpu["encrypt"]))
    if npm:
        workload = "web push, channel alone over TLS, HTTP/1.1"
        found.append(row(workload, cpu["h1"], unit, "npm web-push, 100 at once", npm))
    return found


def _npm(folder: Path, origin: str) -> float | None:
    """The rate of npm's web-push against the same service; None where it can't be installed."""
    target = folder / "npm"
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(target), NPM]
    if not shutil.which("npm") or subprocess.run(install, check=False, capture_output=True).returncode:
        return None
    script = ["node", str(ROOT / "benchmarks" / "push_npm.js"), origin, "2000", str(target)]
    env = os.environ | {"NODE_EXTRA_CA_CERTS": str(folder / "push.pem")}
    return float(subprocess.run(script, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextmanager
def _service(command: list[str]) -> Iterator[str]:
    """Start what prints its port first; yield its host."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def _certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(here, False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, SHA256())
    )
    path = folder / "push.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def _measure(folder: Path, services: dict[str, str]) -> dict[str, dict[str, float]]:
    env = os.environ | {
        "NUDGE_DATA": str(folder),
        "NUDGE_DEMO": "0",
        "NUDGE_LOG_LEVEL": "ERROR",
        "NUDGE_PUSH_HOSTS": ",".join(origin.partition("://")[2] for origin in services.values()),
        "BENCHMARK_CERTIFICATE": str(folder / "push.pem"),
        "BROKER_URL": "memory://",
    }
    env.pop("DATABASE_URL", None)
    try:
        subprocess.run(
            [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.push_sender", json.dumps(services)],
            cwd=ROOT,
            env=env,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(found.stdout.strip().splitlines()[-1])
    finally:
        stop = "import sys, pathlib; from config import embedded; embedded.stop(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", stop, str(folder)], cwd=ROOT, check=False)
