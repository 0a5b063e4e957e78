"""Many HTTP requests at once from one thread, through libcurl, to hosts that outsiders may have named.

No redirects, no proxies, no cookies; addresses that are not public are refused after name resolution, when the
socket is opened, so that a name that changes its mind between check and use gains nothing.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any, Generic, TypeVar

import certifi
import msgspec
import pycurl

T = TypeVar("T")

MAX_IN_FLIGHT = 100
CONNECT_SECONDS = 5
TOTAL_SECONDS = 30
MAX_ANSWER = 2048  # bytes of a response body that are kept


class Request(msgspec.Struct, Generic[T]):
    """A request with a body. `tag` comes back in the response; `trusted` allows a private address and plain HTTP.

    Args:
        seconds: how long the whole of it may take.
        keep: bytes of the answer's body that are kept.
        once: never make it a second time. libcurl repeats a request by itself when a connection that was kept open
            ends without an answer, and then nobody knows whether the first one was acted on.
    """

    tag: T
    url: str
    headers: list[str]
    body: bytes
    trusted: bool = False
    method: str = "POST"
    seconds: int = TOTAL_SECONDS
    keep: int = MAX_ANSWER
    once: bool = False


class Response(msgspec.Struct, Generic[T]):
    """An answer. `status` is 0 when there was none, and `error` then says why; header names are lower-case.

    `begun`: some of the request may have reached the other side.
    """

    tag: T
    status: int
    headers: dict[str, str]
    body: bytes
    error: str = ""
    refused: bool = False  # by us: the address is not public, or the URL is none
    begun: bool = False


class Client:
    """Keeps connections open between batches; one per thread."""

    def __init__(self, public: Callable[[str], bool], max_in_flight: int = MAX_IN_FLIGHT):
        """Args: public: tells whether an IP address may be called without being trusted."""
        self._public = public
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAXCONNECTS, 2 * max_in_flight)
        self._free = [_Handle(self) for _ in range(max_in_flight)]
        self._size = max_in_flight

    def post(self, requests: Iterable[Request[T] | None]) -> Iterator[Response[T]]:
        """Make all `requests`, reading them as there is room, and yield each answer as it comes.

        None among them says that there is nothing for the moment: they are asked again while others are under way.
        """
        source = iter(requests)
        exhausted = False
        running: set[_Handle] = set()
        try:
            while running or not exhausted:
                while self._free and not exhausted:
                    try:
                        request = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    if request is None:
                        break
                    handle = self._free.pop()
                    problem = handle.begin(request)
                    if problem:
                        self._free.append(handle)
                        yield Response(request.tag, 0, {}, b"", problem, refused=True)
                        continue
                    running.add(handle)
                    self._multi.add_handle(handle.curl)
                if running:
                    yield from self._turn(running)
        finally:
            for handle in running:  # the reader gave up, or a request could not be made
                self._multi.remove_handle(handle.curl)
                self._free.append(handle)

    def _turn(self, running: set["_Handle"]) -> Iterator[Response[Any]]:
        """Move the transfers on and yield those that ended; wait for the network when none did."""
        status, _left = self._multi.perform()
        while status == pycurl.E_CALL_MULTI_PERFORM:
            status, _left = self._multi.perform()
        ended = self._ended()
        if not ended:
            self._multi.select(1.0)
        for curl, error in ended:
            handle = curl.handle
            self._multi.remove_handle(curl)
            running.discard(handle)
            response = handle.end(error)
            self._free.append(handle)
            yield response

    def _ended(self) -> list[tuple[Any, str]]:
        found: list[tuple[Any, str]] = []
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            found += [(curl, "") for curl in good]
            found += [(curl, message or pycurl_error(number)) for curl, number, message in bad]
        return found


class _Handle:
    """One reusable libcurl transfer."""

    def __init__(self, client: Client):
        self._public = client._public
        self._lines: list[bytes] = []
        self._way: tuple[Any, ...] = ()
        self.curl = curl = pycurl.Curl()
        curl.handle = self  # to get back from libcurl's list of ended transfers
        for option, value in {
            pycurl.NOSIGNAL: 1,
            pycurl.FOLLOWLOCATION: 0,
            pycurl.PROXY: "",
            pycurl.NOPROXY: "*",
            pycurl.NETRC: pycurl.NETRC_IGNORED,
            pycurl.CAINFO: certifi.where(),
            pycurl.CONNECTTIMEOUT_MS: CONNECT_SECONDS * 1000,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            pycurl.TCP_NODELAY: 1,
            pycurl.USERAGENT: "Nudge",
            # Endpoints carry percent escapes that mean something to their owner.
            pycurl.PATH_AS_IS: 1,
            pycurl.OPENSOCKETFUNCTION: self._open,
            pycurl.HEADERFUNCTION: self._lines.append,
            pycurl.WRITEFUNCTION: self._write,
        }.items():
            curl.setopt(option, value)

    def begin(self, request: Request[Any]) -> str:
        """Prepare the transfer; return what is wrong with the request, or ""."""
        self.request, self.body, self.blocked = request, bytearray(), False
        self._lines.clear()
        try:
            self._go(request)
            self.curl.setopt(pycurl.URL, request.url)
            self.curl.setopt(pycurl.HTTPHEADER, [*request.headers, "Expect:"])
            if request.once:
                # A body that is read from a function without a way back can't be sent anew: libcurl fails instead.
                self.curl.setopt(pycurl.INFILESIZE_LARGE, len(request.body))
                self.curl.setopt(pycurl.READFUNCTION, BytesIO(request.body).read)
            else:
                self.curl.setopt(pycurl.POSTFIELDS, request.body)
        except (pycurl.error, UnicodeError, ValueError, TypeError) as error:
            self._way = ()
            return f"the request can't be made: {error}"
        return ""

    def _go(self, request: Request[Any]) -> None:
        """Set what most requests of a handle have in common, where it is not so yet."""
        secure = request.url.startswith("https:")
        way = (request.trusted, secure, request.once, request.method, request.seconds)
        if way == self._way:
            return
        plain = pycurl.PROTO_HTTP if request.trusted else 0
        self.curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTPS | plain)
        # Over TLS the handshake tells at once whether one connection carries many requests, so wait for it; without
        # TLS only the first answer would, and everybody would wait for that.
        self.curl.setopt(pycurl.PIPEWAIT, int(secure))
        self.curl.setopt(pycurl.UPLOAD if request.once else pycurl.POST, 1)
        self.curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        self.curl.setopt(pycurl.TIMEOUT_MS, request.seconds * 1000)
        self._way = way

    def end(self, error: str) -> Response[Any]:
        status = 0 if error else self.curl.getinfo(pycurl.RESPONSE_CODE)
        if self.blocked:
            error = "the name leads to an address that is not public"
        begun = bool(status) or self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        headers: dict[str, str] = {}
        for line in self._lines:
            name, separator, value = line.decode("latin-1").partition(":")
            if separator:
                headers[name.strip().lower()] = value.strip()
        return Response(self.request.tag, status, headers, bytes(self.body), error, self.blocked, begun)

    def _open(self, _purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        host = where[0] if isinstance(where, tuple) else ""
        host = host.decode() if isinstance(host, bytes) else host
        if not self.request.trusted and not self._public(host):
            self.blocked = True
            return pycurl.SOCKET_BAD
        return socket.socket(family, kind, protocol)

    def _write(self, data: bytes) -> int:
        self.body += data[: max(0, self.request.keep - len(self.body))]
        return len(data)


def pycurl_error(number: int) -> str:
    """Return libcurl's number of a failure as text, where it gave none itself."""
    return f"libcurl error {number}"


_local = threading.local()


def client(public: Callable[[str], bool]) -> Client:
    """Return this thread's client. A forked process gets its own: connections can't be shared."""
    if getattr(_local, "process", None) != os.getpid():
        _local.process, _local.client = os.getpid(), Client(public)
    return _local.client
