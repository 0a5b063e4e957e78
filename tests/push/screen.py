"""A virtual screen and pictures of it, with no further tool: Xvfb keeps the screen in a file in XWD format."""

import os
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

from tests.push.loopthread import WAIT

DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]
"""Put before a command, it ends with the test run even when that is killed (Debian package util-linux)."""


class VirtualScreen:
    """Xvfb on a free display (Debian package xvfb); `display` is the value for DISPLAY."""

    def __init__(self, width: int = 1280, height: int = 800) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nudge-screen-")
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, "Xvfb", "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24",
             "-fbdir", self._folder.name, "-nolisten", "tcp"],
            pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(write)
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()  # written once the screen is ready; empty if Xvfb died
        if not number:
            self.close()
            raise RuntimeError("Xvfb did not start")
        self.display = f":{number}"

    def picture(self, path: Path | str) -> None:
        """Write what the screen shows now as a PNG file."""
        data = (Path(self._folder.name) / "Xvfb_screen0").read_bytes()
        Path(path).write_bytes(xwd_to_png(data))

    def close(self) -> None:
        """End Xvfb."""
        self._process.terminate()
        self._process.wait(WAIT)
        self._folder.cleanup()


def xwd_to_png(data: bytes) -> bytes:
    """Convert an X window dump (version 7, 32 bits per pixel, as Xvfb writes) to PNG.

    Formats: X11/XWDFile.h (25 big-endian words, name, colours, pixels) and the PNG specification.
    """
    head = struct.unpack(">25I", data[:100])
    width, height, byte_order, bits = head[4], head[5], head[7], head[11]
    row_size, colours = head[12], head[19]
    if head[1] != 7 or bits != 32 or byte_order != 0:
        raise ValueError("Not a little-endian X window dump of version 7 with 32 bits per pixel")
    start = head[0] + colours * 12
    rows = bytearray()
    for y in range(height):
        row = data[start + y * row_size : start + y * row_size + width * 4]
        rgb = bytearray(width * 3)
        rgb[0::3], rgb[1::3], rgb[2::3] = row[2::4], row[1::4], row[0::4]
        rows += b"\0" + rgb

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
