"""The first lines of the one file: unpack it once, beside the user's other caches, and go on from there.

Python can't load compiled modules out of a zip. This runs on whatever Python there is, before anything is checked.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
import zipfile


def main() -> int:
    """Unpack what this file holds, unless that is done, and run it."""
    archive = os.path.abspath(sys.path[0])
    with zipfile.ZipFile(archive) as opened:
        built_for, digest = opened.read("BUILT").decode().split()
        here = f"{sys.version_info[0]}.{sys.version_info[1]}-{sysconfig.get_platform()}"
        if here != built_for:
            return _refuse(f"this file is for Python {built_for}, and this is {here}; build it here: make plugin")
        try:
            folder = _unpacked(opened, digest)
        except OSError as error:
            return _refuse(f"can't unpack itself: {error}; XDG_CACHE_HOME can name another place")
    sys.path[0] = folder
    from kubectl_vmext.__main__ import run

    run()
    return 0


def _unpacked(opened: zipfile.ZipFile, digest: str) -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    parent = os.path.join(home, "kubectl-vmext")
    os.makedirs(parent, mode=0o700, exist_ok=True)
    owner = os.stat(parent)
    # What is in there is run.
    if owner.st_uid != os.getuid() or owner.st_mode & 0o022:
        raise PermissionError(f"{parent} can be written by others")
    folder = os.path.join(parent, digest)
    if os.path.isdir(folder):
        return os.path.join(folder, "site")
    draft = tempfile.mkdtemp(prefix=".", dir=parent)
    try:
        opened.extractall(draft)
        os.rename(draft, folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        # Somebody else was quicker.
        if not os.path.isdir(folder):
            raise
    return os.path.join(folder, "site")


def _refuse(words: str) -> int:
    print(f"kubectl vmext: {words}", file=sys.stderr)
    return 1


sys.exit(main())
