"""What a sent file says, whether it was packed by gzip or written in UTF-16; in pieces, however large it is."""

import codecs
import zlib
from collections.abc import Iterable, Iterator

from django.utils.translation import gettext as _

from crm import uploads

_PIECE = 256 * 1024  # bytes


def plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content unpacked, and in UTF-8 if it was in UTF-16.

    Raises:
        uploads.UploadError: it was packed by gzip, and is damaged.
    """
    return _utf8(_unpacked(chunks))


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content, in bounded pieces, of what may have been packed by gzip (RFC 1952), also in several members."""
    chunks = iter(chunks)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= 2:
            break
    if not head.startswith(b"\x1f\x8b"):
        yield head
        yield from chunks
        return
    unpacker, begun = zlib.decompressobj(wbits=31), False
    try:
        for chunk in _chained(head, chunks):
            while chunk:
                begun = True
                yield unpacker.decompress(chunk, _PIECE)
                chunk = unpacker.unconsumed_tail
                if unpacker.eof:
                    chunk = unpacker.unused_data.lstrip(b"\0")
                    unpacker, begun = zlib.decompressobj(wbits=31), False
        if begun:
            yield unpacker.flush()
            if not unpacker.eof:
                raise zlib.error("It ends early.")
    except zlib.error as error:
        raise uploads.UploadError(_("The file is packed by gzip, but damaged.")) from error


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """UTF-16 with its mark as UTF-8, anything else as it is."""
    head = next(chunks, b"")
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield head
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder("utf-16")("replace")
    for chunk in _chained(head, chunks):
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()
