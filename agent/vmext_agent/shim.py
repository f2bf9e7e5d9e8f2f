"""The small shell around each command of a handler: it outlives the agent and puts on disk how the command ended.

It is a file, the same one for all commands. Its folder comes by an environment variable and the rest by a file in that
folder: whatever a handler looks for with ``pkill -f``, no command line of the agent's own has a user's words in it.
"""

from __future__ import annotations

import os

from vmext_agent import files

#: Exit code of a shell that could not leave its start record.
NO_ROOM = 75
#: Names the command's folder to the shell; the command itself does not get it.
VARIABLE = "VMEXT_COMMAND"
#: A command that is cancelled before it began ends as by SIGTERM.
NOT_BEGUN = 143
#: Room for all that the shell writes when the command has ended.
EXIT_BYTES = 48

# The command gets a session of its own, so that one which kills its own group leaves the shell alive. The start record
# is written before it runs. "exit.new" is there already, with room for what it will hold: a full disk can't lose it.
# Whoever stops a scope, a slice or the machine sends SIGTERM to the shell too, and only they do: it is noted.
SCRIPT = r"""# vmext: runs one command of a handler, and puts on disk how it ended.
umask 022
cd "$VMEXT_COMMAND" || exit 75
unset VMEXT_COMMAND
. ./order || exit 75
stopped=
trap 'stopped=stopped' TERM INT HUP
read -r line < /proc/$$/stat
set -- ${line##*) }
shift 19
set -C
{ printf '%s %s %s\n' $$ "$1" "$boot" > start; } 2>/dev/null || {
    # Another shell has just made it, and writes into it now; or there is no room.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -e start ] || exit 75
        [ -s start ] && exit 0
        sleep 0.1
    done
    exit 75
}
set +C
(
    exec 9>&-
    read -r line < /proc/self/stat
    set -- ${line##*) }
    shift 19
    { printf '%s %s\n' "${line%% *}" "$1" > session; } 2>/dev/null
    # In this order: the agent takes the one away and then reads the other.
    [ -e wanted ] || exit 143
    [ -z "$procs" ] || { echo 0 > "$procs"; } 2>/dev/null
    cd "$cwd" || exit 126
    exec setsid sh -c "$command"
)
code=$?
# Of those that are all stopped at once, this one may be the last to get its signal.
[ $code -le 128 ] || [ -n "$stopped" ] || [ ! -e wanted ] || sleep 0.3
trap '' TERM INT HUP
read -r uptime _ < /proc/uptime
printf '%-47s' "$code $uptime $stopped" 1<> exit.new
sync -f . / /etc /usr /var 2>/dev/null || sync
mv exit.new exit && sync .
"""


def install(path: str) -> None:
    """Put the script in its place, as a new file where it differs: shells that run keep theirs.

    Raises OSError.
    """
    script = SCRIPT.encode()
    try:
        if files.read(path, 1 << 16) == script:
            return
    except OSError:
        files.remove(path)
    files.write(path, script, 0o700, durable=False)


def order(*, command: str, cwd: str, boot: str, procs: str) -> bytes:
    """Return the file that tells a shell what to run: where, and in which control group."""
    values = {"command": command, "cwd": cwd, "boot": boot, "procs": procs}
    return b"".join(os.fsencode(f"{name}={_quoted(value)}\n") for name, value in values.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
