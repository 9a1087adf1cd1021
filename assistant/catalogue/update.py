"""A newer catalogue, from a file or an address, put in force only when it has proved to be one."""

from __future__ import annotations

import datetime
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from assistant.catalogue.disk import disk_error, growing
from assistant.catalogue.read import MOST_BYTES, UPDATED_NAME, Catalogue, current, parse
from assistant.catalogue.transfer import Redirects, UnsafeAddress, require_safe
from assistant.errors import DownloadError, ModelError

TIMEOUT_S = 30.0


def update(source: str, folder: Path, today: datetime.date | None = None) -> Catalogue | None:
    """Put the catalogue from `source`, a file or an address, in force; None if it is the present one.

    It lands in the models' `folder`, from where `current` takes it.  Raises `ModelError` if it is none, older
    than the present one, or of a day still to come (`today` is the clock's unless given), and `DownloadError`
    if it cannot be fetched or written.
    """
    text = _fetched(source) if "://" in source else _file(Path(source).expanduser())
    new, present = parse(text, source), current(folder)
    if new == present:
        return None
    if new.updated < present.updated:
        raise ModelError(
            f"The model catalogue {source} is of {new.updated}, older than the present one of "
            f"{present.updated}, which stays; give a newer one."
        )
    # A clock may be slow, and elsewhere it is tomorrow; one of years ahead would keep out all that follow.
    if new.updated > max(today or datetime.date.today(), present.updated) + datetime.timedelta(days=1):
        raise ModelError(
            f"The model catalogue {source} is of {new.updated}, which is still to come; check this machine's "
            "date, or give another."
        )
    place = folder / UPDATED_NAME
    try:
        with growing(place) as out:
            out.truncate(0)
            out.write(text)
    except DownloadError:
        raise
    except OSError as error:
        raise disk_error(place, error) from None
    return new


def _file(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # to open a pipe would wait for ever
        raise ModelError(f"{path} is not a file; give the path or the address of a catalogue.toml.")
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ModelError(
            f"The model catalogue {path} cannot be read: {error.strerror}; check the path."
        ) from None


def _fetched(address: str) -> bytes:
    """At most `MOST_BYTES` + 1 of what `address` gives.

    Each answer, and then all that follows it, may take about `TIMEOUT_S`.
    """
    try:
        require_safe(address)
        opener = urllib.request.build_opener(Redirects)
        request = urllib.request.Request(address, headers={"User-Agent": "raspberry-assistant"})
        with opener.open(request, timeout=TIMEOUT_S) as response:
            text = _body(response)
            stated = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        error.close()
        raise _error(address, f"the server answered {error.code}") from None
    except UnsafeAddress:  # no hash of a catalogue is known: it must come from whom the address names
        raise _error(address, "only https can be trusted with it") from None
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _error(
            address, f"the connection failed ({getattr(cause, 'strerror', None) or type(cause).__name__})"
        ) from None
    except ValueError:
        raise _error(address, "that is no address") from None
    if stated not in (None, str(len(text))) and len(text) <= MOST_BYTES:
        # What is cut off at the right place reads as a catalogue with fewer models.
        raise _error(address, "the connection broke off")
    return text


def _body(response: http.client.HTTPResponse) -> bytes:
    text, began_s = b"", time.monotonic()
    while len(text) <= MOST_BYTES and (block := response.read1(MOST_BYTES + 1 - len(text))):
        text += block
        if time.monotonic() - began_s > TIMEOUT_S:
            raise TimeoutError
    return text


def _error(address: str, why: str) -> DownloadError:
    return DownloadError(
        f"The model catalogue {address} could not be fetched: {why}; check the address, or give a file."
    )
