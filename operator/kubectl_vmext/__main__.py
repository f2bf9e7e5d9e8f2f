"""Run the plugin: ``kubectl vmext`` or ``python -m kubectl_vmext``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from kubectl_vmext import encryption, enrolment
from kubectl_vmext.cluster import Cluster
from kubectl_vmext.errors import PluginError


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; return the exit code: 1 where that failed, with the reason on standard error."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except PluginError as error:
        print(f"kubectl vmext: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kubeconfig", metavar="FILE")
    common.add_argument("--context", metavar="NAME")
    common.add_argument("-n", "--namespace", metavar="NAME")
    parser = argparse.ArgumentParser(prog="kubectl vmext", description="VM extensions beyond what kubectl itself can.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    enroll = commands.add_parser(
        "enroll", parents=[common], help="print the command that makes a machine known to the cluster"
    )
    _which(enroll)
    enroll.add_argument("--again", action="store_true", help="let go of the certificate that is pinned: a new machine")
    enroll.add_argument("--server", metavar="URL", help="how machines reach the API server (default: as you do)")
    enroll.add_argument("--minutes", type=int, default=60, help="how long the token lives at most (default: 60)")
    enroll.add_argument("-o", "--output", choices=["text", "json"], default="text")
    enroll.set_defaults(run=_enroll)

    encrypt = commands.add_parser(
        "encrypt", parents=[common], help="encrypt protected settings for a machine; what comes of it is safe in git"
    )
    whose = encrypt.add_mutually_exclusive_group(required=True)
    whose.add_argument("--vm", metavar="NAME", help="for this VirtualMachine's certificate")
    whose.add_argument("--certificate", metavar="FILE", help="for this one (PEM), without a cluster")
    encrypt.add_argument("--from-file", required=True, metavar="FILE", help="a JSON object; - for standard input")
    encrypt.set_defaults(run=_encrypt)

    revoke = commands.add_parser(
        "revoke", parents=[common], help="end a machine's tokens and let go of its certificate"
    )
    _which(revoke)
    revoke.set_defaults(run=_revoke)
    return parser


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="VM", help="names of VirtualMachines")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="those that have these labels instead")


def _chosen(cluster: Cluster, options: argparse.Namespace) -> list[str]:
    if bool(options.names) == (options.selector is not None):
        raise PluginError("name machines, or select them by -l, not both")
    return enrolment.machines(cluster, options.names, options.selector)


def _cluster(options: argparse.Namespace) -> Cluster:
    return Cluster(options.kubeconfig, options.context, options.namespace)


def _encrypt(options: argparse.Namespace) -> int:
    plain = sys.stdin.read() if options.from_file == "-" else encryption.read(options.from_file)
    if options.vm is not None:
        pem = encryption.certificate_of(_cluster(options), options.vm)
    else:
        pem = encryption.read(options.certificate)
    print(encryption.encrypted(plain, pem), end="")
    return 0


def _enroll(options: argparse.Namespace) -> int:
    if not 10 <= options.minutes <= 24 * 60:
        raise PluginError(f"--minutes {options.minutes} is not between 10 and 1440")
    cluster = _cluster(options)
    address = cluster.address(options.server)
    names = _chosen(cluster, options)
    made = []
    for name in names:
        bundle = enrolment.enrol(cluster, name, address, seconds=options.minutes * 60, again=options.again)
        if options.output == "json":
            made.append(bundle)
            continue
        print(f"# On {name}, as root; good for {options.minutes} minutes, or until the machine has another token.")
        print(enrolment.command(bundle))
        where = f"kubectl get xvm {name} -n {cluster.namespace} -o jsonpath='{{.status.credential.thumbprint}}'"
        print(f"then compare the thumbprint that it prints with: {where}", file=sys.stderr)
    if options.output == "json":
        print(json.dumps(made, indent=1))
    return 0


def _revoke(options: argparse.Namespace) -> int:
    cluster = _cluster(options)
    for name in _chosen(cluster, options):
        enrolment.revoke(cluster, name)
        print(f"{name}: its tokens end within 10 s, and no certificate is pinned for it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
