"""A handler of the older kind, which knows ``openssl smime`` alone: it writes down what it opened, and by which key."""

from __future__ import annotations

import json
from pathlib import Path

from development.house import House

_SCRIPT = """\
#!/bin/sh
[ "$1" = enable ] || exit 0
file=config/$ConfigSequenceNumber.settings
name=$(sed 's/.*"protectedSettingsCertThumbprint": "\\([^"]*\\)".*/\\1/' $file)
sed 's/.*"protectedSettings": "\\([^"]*\\)".*/\\1/' $file | base64 -d |
    openssl smime -decrypt -inform DER -recip ../$name.crt -inkey ../$name.prv > /root/opened || exit 1
echo "$name $(cat /root/opened)" >> /root/TYPE
echo '[{"version": 1, "status": {"status": "success", "code": 0}}]' > status/$ConfigSequenceNumber.status
"""
_COMMANDS = ("install", "enable", "disable", "uninstall", "update")


def add(home: House, folder: Path, type_: str) -> None:
    """Enter ``Test.<type>`` 1.0.0 into the catalog; a line for each envelope goes to ``/root/<type>``."""
    (folder / "handler").write_text(_SCRIPT.replace("TYPE", type_))
    commands = {f"{name}Command": f"handler {name}" for name in _COMMANDS}
    (folder / "HandlerManifest.json").write_text(json.dumps([{"handlerManifest": commands}]))
    (folder / "extension.yaml").write_text(f"publisher: Test\ntype: {type_}\nversion: 1.0.0\n")
    home.add_packages(folder)
