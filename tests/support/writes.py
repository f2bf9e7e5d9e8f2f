"""How many writes of our own kinds an API server has taken, by what it counts itself."""

from __future__ import annotations

import re

import control_plane

_LINE = re.compile(r"apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>[0-9.e+]+)")
_WRITES = ("APPLY", "PATCH", "POST", "PUT")


def count(cluster: control_plane.Cluster) -> int:
    """Return how many objects of our kinds were written until now, their statuses among them, refused ones too."""
    found = 0.0
    for line in cluster.kubectl("get", "--raw", "/metrics").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        if labels.get("group") == "vmext.dev" and labels.get("verb") in _WRITES:
            found += float(match["count"])
    return int(found)
