"""A git repository that is served over HTTP on loopback; a commit is there for others at once."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

BRANCH = "main"
_GIT_S = 60
_LARGEST_REQUEST = 16 << 20


class GitServer:
    """One repository at ``url``, until it is closed.

    Args:
        folder: of the repository's work tree, which is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._git("init", "--quiet", f"--initial-branch={BRANCH}")
        handler = type("Handler", (_Handler,), {"repository": folder / ".git"})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{folder.name}.git"

    def commit(self, message: str, files: Mapping[str, str | None]) -> str:
        """Write files, or remove those whose text is None, and commit; return the commit."""
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        return self.head()

    def revert(self) -> str:
        """Revert the last commit; return the commit that does."""
        self._git("revert", "--no-edit", "HEAD")
        return self.head()

    def head(self) -> str:
        """Return the newest commit."""
        return self._git("rev-parse", "HEAD").strip()

    def everything(self) -> str:
        """Return all that was ever committed."""
        return self._git("log", "--patch", "--all")

    def __enter__(self) -> GitServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), *arguments]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True, timeout=_GIT_S)
        return done.stdout


def _environment() -> dict[str, str]:
    # Nobody's settings have a say: no hooks, no signatures, no aliases.
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _WHO.items()}
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **who,
    }


_WHO = {"NAME": "A user", "EMAIL": "user@example.com"}


class _Handler(http.server.BaseHTTPRequestHandler):
    """Hands requests to git's own program for the smart protocol, by CGI."""

    repository: Path

    def do_GET(self) -> None:
        """Answer what refs there are."""
        self._serve(b"")

    def do_POST(self) -> None:
        """Answer with a pack."""
        size = int(self.headers.get("Content-Length", -1))
        if not 0 <= size <= _LARGEST_REQUEST:
            self.send_error(411 if size < 0 else 413)
            return
        self._serve(self.rfile.read(size))

    def log_message(self, *_: Any) -> None:
        """Say nothing of single requests."""

    def _serve(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        _, _, inside = path.partition(".git/")
        environment = _environment() | {
            "GIT_PROJECT_ROOT": str(self.repository),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{inside}",
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=True, timeout=_GIT_S
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
