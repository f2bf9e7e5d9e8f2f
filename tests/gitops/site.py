"""A site that Flux keeps as a git repository has it: the examples' objects, with this test's address and namespace."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from development.api import ApiError, Object
from development.git_server import GitServer
from development.house import House
from support.waiting import eventually

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "gitops"
NAMESPACE = "flux-system"
_PATHS = {
    "Kustomization": f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/kustomizations",
    "GitRepository": f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/gitrepositories",
}


@dataclass(frozen=True)
class Site:
    """One repository, and the GitRepository and Kustomization that keep it applied.

    Attributes:
        name: of both, and of the site's folder in the examples.
        home: where it is applied.
        git: the repository.
        say: takes a line with a figure.
    """

    name: str
    home: House
    git: GitServer
    say: Callable[[str], None]

    def create(self) -> None:
        """Apply Flux's objects from the examples."""
        for file in ("gitrepository.yaml", "kustomization.yaml"):
            obj = yaml.safe_load((EXAMPLES / "flux" / file).read_text())
            obj["metadata"]["name"] = self.name
            if obj["kind"] == "GitRepository":
                obj["spec"]["url"] = self.git.url
            else:
                obj["spec"]["sourceRef"]["name"] = self.name
                obj["spec"]["targetNamespace"] = self.home.api.namespace
            self._request("PATCH", obj["kind"], "?fieldManager=user&force=true", obj)

    def delete(self) -> None:
        """Take the Kustomization away, which prunes what it applied, and then the GitRepository."""
        for kind in _PATHS:
            self._request("DELETE", kind)
            eventually(functools.partial(self._is_gone, kind), f"the {kind} is not gone", timeout_s=120)

    def get(self, kind: str) -> Object | None:
        """Return an object of Flux's."""
        try:
            return self._request("GET", kind)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def commit(self, message: str, files: Mapping[str, str | None]) -> str:
        """Commit to the site's folder, and tell Flux at once, as a webhook does; return the commit."""
        commit = self.git.commit(message, {f"site/{name}": text for name, text in files.items()})
        self.tell()
        return commit

    def tell(self) -> None:
        """Have Flux look at the repository now."""
        annotations = {"reconcile.fluxcd.io/requestedAt": str(time.time())}
        self._request("PATCH", "GitRepository", "", {"metadata": {"annotations": annotations}}, "merge-patch+json")

    def wait(self, commit: str, status: str, *, timeout_s: float = 120.0) -> tuple[str, str]:
        """Wait for what Flux says of a commit in the end; return reason and message.

        Args:
            commit: the one that it attempted last.
            status: of its Ready.
            timeout_s: the deadline.
        """
        said = {"message": "nothing"}

        def has() -> bool:
            obj = self.get("Kustomization")
            status_ = {} if obj is None else obj["status"]
            # Until it was Ready once, Flux does not set the generation that a Kustomization's conditions speak of.
            said.update(next((one for one in status_.get("conditions") or () if one["type"] == "Ready"), {}))
            attempted = str(status_.get("lastAttemptedRevision"))
            return attempted.endswith(commit) and said.get("status") == status

        try:
            eventually(has, f"the Kustomization is not {status} for {commit}", timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it says: {said['message']}") from error
        return said["reason"], said["message"]

    def _is_gone(self, kind: str) -> bool:
        return self.get(kind) is None

    def _request(
        self, method: str, kind: str, query: str = "", body: Any = None, form: str = "apply-patch+yaml"
    ) -> Object:
        return self.home.api.request(method, f"{_PATHS[kind]}/{self.name}{query}", body, f"application/{form}")
