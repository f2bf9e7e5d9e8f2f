"""The kubectl plugin as one who types runs it: arguments in; exit code, output and complaint out."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import control_plane
from development.api import Api
from kubectl_vmext import __main__ as plugin


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what it printed, as JSON."""
        return json.loads(self.out)


class Plugin:
    """The plugin with a kubeconfig and a namespace."""

    def __init__(self, kubeconfig: Path | str, namespace: str) -> None:
        self.where = ["--kubeconfig", str(kubeconfig), "-n", namespace]

    def run(self, *arguments: str, given: str = "") -> Ended:
        """Run a command, with something on its standard input."""
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(given)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = plugin.main([*self.where, *arguments])
        finally:
            sys.stdin = before
        return Ended(code, out.getvalue(), err.getvalue())

    def good(self, *arguments: str, given: str = "") -> Ended:
        """Run a command that has to end well."""
        ended = self.run(*arguments, given=given)
        assert ended.code == 0, ended.err
        return ended

    def refused(self, code: int, words: str, *arguments: str, given: str = "") -> None:
        """Run a command that has to be refused: in one line that holds these words, by this exit code."""
        ended = self.run(*arguments, given=given)
        assert words in ended.err, (arguments, ended)
        assert ended.code == code, (arguments, ended)
        assert ended.err.startswith("kubectl vmext: "), ended.err
        assert ended.err.count("\n") == 1, ended.err
        assert "Traceback" not in ended.err


def nobody(cluster: control_plane.Cluster, api: Api, folder: Path) -> Path:
    """Return the kubeconfig of somebody who is known, and may do nothing."""
    accounts = f"/api/v1/namespaces/{api.namespace}/serviceaccounts"
    api.request("POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}})
    token = api.request("POST", f"{accounts}/nobody/token", {"spec": {"expirationSeconds": 600}})["status"]["token"]
    named = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": cluster.server, "certificate-authority": str(cluster.ca_file)}}
        ],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "nobody.kubeconfig"
    path.write_text(yaml.safe_dump(named))
    return path
