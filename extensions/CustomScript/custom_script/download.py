"""Downloading the files that the script needs."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from . import content_coding, unix_text
from .content_coding import CodingError, Decoder, Limits
from .errors import ScriptError
from .journal import Journal
from .settings import RemoteFile, Settings

# For each step of a request: connecting, and each wait for the next piece.
_TIMEOUT_SECONDS = 30.0
_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0)
_CHUNK_BYTES = 1 << 16
# Statuses that another try may change; all others from 400 on are final.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_FILE_MODE = 0o500


class _TryError(Exception):
    """Why one try failed, in words that hold nothing of the address: it may be protected, or end in a token."""

    def __init__(self, reason: str, passing: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing


class Downloader(NamedTuple):
    """Downloads files by http and https, through the proxy of the environment if it names one."""

    journal: Journal
    sleep: Callable[[float], None] = time.sleep

    def fetch_all(self, settings: Settings, folder: Path) -> None:
        """Download each file of the settings into the folder, as mode 0500. Raises ScriptError."""
        for index, file in enumerate(settings.files):
            if file in settings.files[:index]:
                continue
            self.journal.write("download-start", file=index)
            self._fetch(index, file, folder, settings.convert_text)
            self.journal.write("download-complete", file=index)

    def _fetch(self, index: int, file: RemoteFile, folder: Path, convert_text: bool) -> None:
        partial = folder / f".{index}.partial"
        try:
            for number, pause in enumerate((*_PAUSES_SECONDS, None), start=1):
                failure = _try(file, partial)
                if failure is None:
                    _put_in_place(partial, folder / file.name, convert_text)
                    return
                self.journal.write("download-failed", file=index, attempt=number, reason=failure.reason)
                if not failure.passing or pause is None:
                    raise ScriptError(
                        f"processing file downloads failed: failed to download file[{index}] of fileUris: "
                        f"{failure.reason} (attempts: {number})"
                    )
                self.sleep(pause)
        except OSError as error:
            raise ScriptError(
                f"processing file downloads failed: failed to save file[{index}] of fileUris: {error.strerror}"
            ) from None
        finally:
            partial.unlink(missing_ok=True)


def _try(file: RemoteFile, path: Path) -> _TryError | None:
    """Download once; return what failed and is none of the disk's."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        try:
            _save(file, target)
        except _TryError as failure:
            return failure
    return None


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows 308 too, which Python knows from 3.11 on."""

    def http_error_308(
        self, req: urllib.request.Request, fp: IO[bytes], _code: int, msg: str, headers: http.client.HTTPMessage
    ) -> urllib.request._UrlopenRet | None:
        """Follow it as 307, which differs only in how long a client may remember it."""
        return self.http_error_302(req, fp, 307, msg, headers)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener(): that one also opens file: and ftp: addresses, which a redirect could lead to.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _RedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _save(file: RemoteFile, target: BinaryIO) -> None:
    with _open(file.url) as response:
        expected = response.headers.get("Content-Length")
        received = 0
        try:
            decode = _decoder(response, file.name)
            for chunk in iter(lambda: _read(response), b""):
                received += len(chunk)
                target.writelines(decode.decode(chunk) if decode else (chunk,))
            # A connection that ends early is an empty read to http.client and no error.
            if expected is not None and expected.isdigit() and received != int(expected):
                raise _TryError(f"the answer was cut short: {received} of {expected} bytes")
            target.writelines(decode.end() if decode else ())
        except CodingError as error:
            raise _TryError(str(error), passing=error.is_cut) from None


def _decoder(response: http.client.HTTPResponse, name: str) -> Decoder | None:
    # http.client asks for `identity` by itself: what comes compressed is stored so.
    headers = response.headers.get_all("Content-Encoding", [])
    coding = content_coding.coding_of(headers, response.headers.get("Content-Type", ""), name)
    return Decoder(coding, Limits()) if coding else None


def _open(url: str) -> http.client.HTTPResponse:
    try:
        response = _opener().open(url, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
            raise _TryError(reason, passing=error.code in _PASSING) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, OSError):
            raise _TryError(f"can't reach the server: {_words(error.reason)}") from None
        raise _TryError("the server redirects to what is neither http nor https", passing=False) from None
    except (OSError, http.client.HTTPException) as error:
        raise _TryError(f"the server gave no answer in HTTP: {_words(error)}") from None
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        # Told apart from errors of the disk, which another try would not change.
        raise _TryError(f"the answer broke off: {_words(error)}") from None


def _words(error: Exception) -> str:
    # Not str(): some exceptions quote the address.
    return getattr(error, "strerror", None) or type(error).__name__


def _put_in_place(source: Path, target: Path, convert_text: bool) -> None:
    with source.open("rb") as file:
        beginning = file.read(8)
    if convert_text and unix_text.is_script(target.name, beginning):
        converted = source.with_name(f"{source.name}.unix")
        try:
            with source.open("rb") as file, converted.open("wb") as out:
                for piece in unix_text.convert(_chunks(file)):
                    out.write(piece)
            os.replace(converted, source)
        finally:
            converted.unlink(missing_ok=True)
    source.chmod(_FILE_MODE)
    os.replace(source, target)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")
