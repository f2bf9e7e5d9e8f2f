"""Run the plugin: ``kubectl vmext``, ``kubectl-vmext`` or ``python -m kubectl_vmext``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from kubectl_vmext import completion, errors, output, where
from kubectl_vmext.commands import convert, declare, doctor, extensions, identity, images, plan, views
from vmext_operator import __version__

_INTERRUPTED = 130


@click.group("vmext", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="kubectl vmext", message="%(prog)s %(version)s")
@where.options
def group() -> None:
    """VM extensions for Linux machines, beyond what kubectl itself can."""


@group.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_(shell: str) -> None:
    """Print the script that teaches a shell to complete kubectl-vmext."""
    print(completion.source(group, shell))


@group.command("__complete", hidden=True, context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def complete(words: tuple[str, ...]) -> None:
    """Answer kubectl_complete-vmext."""
    print(completion.for_kubectl(group, words), end="")


for _command in (
    images.group,
    declare.set_,
    extensions.list_,
    extensions.show,
    extensions.delete,
    extensions.remove_undeclared,
    extensions.wait,
    views.instance_view,
    views.logs,
    doctor.doctor,
    identity.enroll,
    identity.revoke,
    identity.encrypt,
    convert.convert,
    plan.plan,
):
    group.add_command(_command)
# As they who know the az command spell it.
group.add_command(views.instance_view, "get-instance-view")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit code, with the reason in one line on standard error."""
    try:
        group.main(list(sys.argv[1:] if arguments is None else arguments), "kubectl vmext", standalone_mode=False)
    except errors.PluginError as error:
        return _complain(str(error), error.code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return errors.USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "kubectl vmext"
        return _complain(f"{error.format_message().rstrip('.')}; see {command} --help", errors.USAGE)
    except click.ClickException as error:
        return _complain(error.format_message(), errors.FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("ended before it was done", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read it, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.FAILED
    except Exception as error:
        # Who types is shown no traceback unless he asks for it.
        if os.environ.get("VMEXT_TRACEBACK"):
            raise
        # What the error says may hold a secret; its type can't.
        return _complain(f"a fault of its own: {type(error).__name__}; VMEXT_TRACEBACK=1 shows where", errors.FAILED)
    return 0


def run() -> None:
    """Run as a program."""
    if completion.VARIABLE in os.environ:
        group.main(prog_name=completion.PROGRAM, complete_var=completion.VARIABLE)
    sys.exit(main())


def hook() -> None:
    """Answer kubectl that completes: the program ``kubectl_complete-vmext``."""
    sys.stdout.write(completion.for_kubectl(group, sys.argv[1:]))


def _complain(words: str, code: int) -> int:
    print(f"kubectl vmext: {output.printable(' '.join(words.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    run()
