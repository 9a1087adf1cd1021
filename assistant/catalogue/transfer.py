"""One file on its way from a server: resumed where it stopped, checked before it counts.

It grows as `<name>.part` and takes its name only when its size and SHA-256 are right and it is on the disk.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from assistant.catalogue.disk import damage, growing
from assistant.catalogue.read import ModelFile
from assistant.errors import DownloadError, one_line

TIMEOUT_S = 30.0
SLOWEST_BYTES_S = 1000
"""A connection that brings less, over `TIMEOUT_S`, is given up for a new one."""
LONGEST_WAIT_S = 120.0
"""What of a busy server's Retry-After is heeded."""
ATTEMPTS = 5
BLOCK_BYTES = 256 * 1024
ENOUGH_BYTES = 1024 * 1024
"""An attempt that brought this much was no failure: only fruitless ones in a row are counted."""

NOBODY_THERE = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]{1,18}|\*)")  # RFC 9110, 14.4


class UnsafeAddress(Exception):
    """What comes from there, or who asks for it, could be anybody's."""


def require_safe(address: str, http_too: bool = False) -> None:
    """Raise `UnsafeAddress` unless `address` is of https, this machine's, or of http if that will do."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and (http_too or parts.hostname in LOOPBACK)):
        raise UnsafeAddress


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where it is sent if that is safe."""

    def __init__(self, http_too: bool = False) -> None:
        self.http_too = http_too

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        try:
            require_safe(newurl, self.http_too)
        except UnsafeAddress:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Progress(Protocol):
    """Who wants to know how far a download is."""

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        """So much of `file` is on disk."""

    def note(self, sentence: str) -> None:
        """Something happened that a person should read."""


class _Hiccup(Exception):
    """This attempt failed, the next one may not; it should be `after_s` seconds away."""

    def __init__(self, why: str, after_s: float = 0.0) -> None:
        super().__init__(why)
        self.after_s = after_s


class _Offline(_Hiccup):
    """Nobody was there: unless somebody has been in this run, that is no passing fault."""


class Transfer:
    """One file on its way from `source` to `place`."""

    def __init__(
        self, source: str, file: ModelFile, place: Path, progress: Progress, wait: Callable[[float], None]
    ) -> None:
        self.source, self.file, self.place, self.progress, self.wait = source, file, place, progress, wait
        self.answered = False

    def run(self) -> None:
        """Fetch it.  Raises `DownloadError`, or `OSError` if the disk takes no more; the .part stays."""
        with growing(self.place) as out:
            self._complete(out)

    def _complete(self, out: IO[bytes]) -> None:
        """Leave the whole, right file in `out`."""
        for last in (False, True):
            self._fill(out)
            reason = damage(self.file, Path(out.name))
            if not reason:
                return
            out.truncate(0)
            if not last:
                self.progress.note(f"{self.file.name} came and {reason}; fetching it again.")
        raise self._error(
            "the server gave a file whose SHA-256 is wrong, twice",
            "try later, or another mirror in HF_ENDPOINT",
        )

    def _fill(self, out: IO[bytes]) -> None:
        """Bring `out` to the file's size, in as many attempts as it takes while they bring something."""
        fruitless = 0
        while (had := _length(out)) != self.file.size_bytes:
            try:
                self._attempt(out, had if had < self.file.size_bytes else 0)
            except _Hiccup as hiccup:
                fruitless = 0 if _length(out) - had >= ENOUGH_BYTES else fruitless + 1
                most = 1 if isinstance(hiccup, _Offline) and not self.answered else ATTEMPTS
                if fruitless >= most:
                    raise self._error(
                        str(hiccup) if most == 1 else f"{hiccup} ({most} attempts)",
                        "check the network and run the same command again, it goes on where it stopped",
                    ) from None
                wait_s = max(2.0**fruitless, hiccup.after_s)
                self.progress.note(f"{self.file.name}: {hiccup}; trying again in {wait_s:.0f} s.")
                self.wait(wait_s)

    def _attempt(self, out: IO[bytes], start: int) -> None:
        """Ask for the bytes from `start` on and write what comes.  Raises `_Hiccup` or `DownloadError`."""
        headers = {"User-Agent": "raspberry-assistant", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            # Who names a mirror by http has chosen to trust the way there.
            opener = urllib.request.build_opener(Redirects(http_too=self.source.startswith("http://")))
            response = opener.open(urllib.request.Request(self.source, headers=headers), timeout=TIMEOUT_S)
        except UnsafeAddress:
            raise self._error(
                "the server sent us on to an address without https", "try another mirror in HF_ENDPOINT"
            ) from None
        except urllib.error.HTTPError as error:
            error.close()
            answer = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
            if error.code == 416:
                # What is there is more than the server has: it cannot be the file's beginning.
                out.truncate(0)
            elif error.code < 500 and error.code not in (408, 425, 429):
                raise self._error(answer, "try a mirror in HF_ENDPOINT") from None
            raise _Hiccup(answer, _retry_after_s(error.headers.get("Retry-After", ""))) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        except ValueError:
            raise self._error(
                "its address, or one that the server sent us on to, is none",
                "see whether HF_ENDPOINT is right",
            ) from None
        self.answered = True
        with response:
            start = self._agreed_start(response, start)
            out.truncate(start)
            self._copy(response, out, start)

    def _agreed_start(self, response: http.client.HTTPResponse, start: int) -> int:
        """The offset that `response` begins at; refuses one that cannot be the file."""
        kind = response.headers.get_content_type()
        if kind == "text/html":
            raise self._error(
                "a web page came instead of it",
                "see whether the network wants a log-in or HF_ENDPOINT is wrong",
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._error("it came compressed", "try another mirror in HF_ENDPOINT")
        if response.status == 206:
            given = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if given is None or int(given[1]) != start:
                raise _Hiccup("the server sent another part than was asked for")
            total = given[2]
        else:
            start = 0
            length = response.headers.get("Content-Length", "")
            total = length if re.fullmatch("[0-9]{1,18}", length) else "*"
        if total not in ("*", str(self.file.size_bytes)):
            raise self._error(
                f"the server has a file of {total} bytes instead of {self.file.size_bytes}",
                "try later, or another mirror in HF_ENDPOINT",
            )
        return start

    def _copy(self, response: http.client.HTTPResponse, out: IO[bytes], done: int) -> None:
        """Write what `response` brings behind the `done` bytes of `out`; never more than the file has."""
        looked_at_s, had = time.monotonic(), done
        while done < self.file.size_bytes:
            try:
                block = response.read1(min(BLOCK_BYTES, self.file.size_bytes - done))
            except (OSError, http.client.HTTPException) as error:
                raise self._lost(error) from None
            if not block:
                raise _Hiccup("the connection broke off")
            out.write(block)
            out.flush()
            done += len(block)
            self.progress.reached(self.file, done)
            if time.monotonic() - looked_at_s >= TIMEOUT_S:
                if done - had < SLOWEST_BYTES_S * TIMEOUT_S:
                    raise _Hiccup("the server sends hardly anything")
                looked_at_s, had = time.monotonic(), done

    def _lost(self, error: Exception) -> _Hiccup | DownloadError:
        """What a failure of the network means."""
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            # A Raspberry Pi without network time starts in the past, where no certificate is valid yet.
            return self._error("the server's certificate is not valid", "check this machine's date and time")
        if isinstance(cause, TimeoutError):
            return _Hiccup("the server did not answer in time")
        nobody = isinstance(cause, socket.gaierror) or getattr(cause, "errno", None) in NOBODY_THERE
        # What else the error says may be the server's own words.
        why = one_line(getattr(cause, "strerror", None) or type(cause).__name__)
        return (_Offline if nobody else _Hiccup)(f"the connection failed ({why})")

    def _error(self, why: str, remedy: str) -> DownloadError:
        return DownloadError(f"{self.file.name} could not be fetched: {why}; {remedy}.")


def _retry_after_s(text: str) -> float:
    """The seconds that a Retry-After asks for; 0 if it is none, or a date."""
    return min(float(text), LONGEST_WAIT_S) if re.fullmatch("[0-9]{1,9}", text) else 0.0


def _length(out: IO[bytes]) -> int:
    return os.fstat(out.fileno()).st_size
