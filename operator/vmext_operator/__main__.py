"""Run the operator: ``python -m vmext_operator``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import re
import secrets
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from vmext_operator import __version__
from vmext_operator.control import logs, runtime
from vmext_operator.control.reconcile import Settings
from vmext_operator.control.writer import Clock
from vmext_operator.core import signature
from vmext_operator.errors import ConfigurationError, OperatorError, ParseError

logger = logging.getLogger("vmext_operator")

#: By how many more objects there have to be before the interpreter looks for cycles among the new ones (its own: 700).
#: A list makes a hundred thousand, all of which are in use, and those of a fleet are gone through again and again
#: meanwhile. There are no cycles in them, and few elsewhere (decision 21).
_NEW_OBJECTS = 50_000


def main() -> None:
    """Read the command line and run until a signal ends it."""
    parser = argparse.ArgumentParser(prog="vmext-operator", description="Turns declared extensions into goal states.")
    parser.add_argument(
        "--kubeconfig",
        default=os.environ.get("KUBECONFIG"),
        help="kubeconfig file (default: $KUBECONFIG, else the Pod's ServiceAccount)",
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument(
        "--namespace",
        metavar="NAME",
        help="the operator's own namespace, for what it keeps to itself (default: the Pod's, else vmext-system)",
    )
    parser.add_argument(
        "--identity",
        metavar="NAME",
        default=os.environ.get("POD_NAME"),
        help="by which this process holds the Lease vmext-operator; no two may run by one name at once "
        "(default: $POD_NAME, else the host's name and a random part)",
    )
    parser.add_argument(
        "--token-days",
        default=30.0,
        type=_days,
        metavar="DAYS",
        help="for how long machines' tokens are asked for (default: 30); the API server may grant less",
    )
    parser.add_argument(
        "--credential-mode",
        default="Renewed",
        choices=["Renewed", "LongLived"],
        help="LongLived gives each machine a token that does not end, for where the API server grants short ones and "
        "machines are switched off for long; whoever steals one can use it until it is revoked (default: Renewed)",
    )
    parser.add_argument(
        "--publisher-keys",
        type=Path,
        metavar="FILE",
        help="JSON: for each publisher a list of public keys (Ed25519, PEM or base64); what is in the catalog of "
        "those publishers has to be signed by one of them. Read once, at the start",
    )
    parser.add_argument(
        "--probe-address",
        default=":8080",
        metavar="HOST:PORT",
        help="where /livez, /readyz and /metrics are served (default: :8080, on every address); off for nowhere",
    )
    parser.add_argument(
        "--watch-namespaces",
        default=(),
        type=_namespaces,
        metavar="NAME,NAME",
        help="watch and manage what is in these namespaces, and nothing else (default: every namespace); it needs a "
        "Role in each, and waits for one that is not there",
    )
    parser.add_argument(
        "--resync-seconds",
        default=300.0,
        type=_interval,
        metavar="SECONDS",
        help="how often everything is listed in full, for what no watch told (default: 300); less often, at most by a "
        "factor of four, where a list takes longer than a twentieth of that",
    )
    parser.add_argument(
        "--leases-every",
        default=60.0,
        type=_interval,
        metavar="SECONDS",
        help="how often machines' Leases are read (default: 60): so much later than unreachableAfter it may be noticed",
    )
    parser.add_argument(
        "--watch-secrets",
        action="store_true",
        help="watch the metadata of Secrets, so that a changed one is read at once; it takes the rights to list and "
        "watch them, by which all of them can be read (default: those that extensions name are looked at in turns)",
    )
    parser.add_argument(
        "--paused",
        action="store_true",
        help="leave what machines are told of their extensions as it is; statuses and credentials go on",
    )
    parser.add_argument("--version", action="version", version=f"vmext-operator {__version__}")
    arguments = parser.parse_args()

    logs.configure(arguments.log_level)
    gc.set_threshold(_NEW_OBJECTS)
    clock = Clock(now=lambda: datetime.now(UTC), monotonic=time.monotonic)
    try:
        asyncio.run(
            runtime.run(
                runtime.Options(
                    kubeconfig=arguments.kubeconfig,
                    identity=arguments.identity or f"{socket.gethostname()}-{secrets.token_hex(4)}",
                    probe_address="" if arguments.probe_address == "off" else arguments.probe_address,
                    resync_s=arguments.resync_seconds,
                    watch_secrets=arguments.watch_secrets,
                    namespaces=arguments.watch_namespaces,
                ),
                clock,
                random.Random(),  # noqa: S311 - it spreads retries, it guards nothing
                Settings(
                    arguments.namespace or _own_namespace(),
                    int(arguments.token_days * 86_400),
                    long_lived=arguments.credential_mode == "LongLived",
                    publisher_keys=_publisher_keys(arguments.publisher_keys),
                    leases_every_s=arguments.leases_every,
                    paused=arguments.paused,
                ),
                # At once, and whatever hangs: not one instruction more than can be helped.
                lost=lambda: os._exit(1),
            )
        )
    except ConfigurationError as error:
        sys.exit(f"vmext-operator: {error}")
    except OperatorError as error:
        logger.error("ending error=%s", error)
        sys.exit(1)
    except Exception:
        # In the form of all its lines.
        logger.exception("ending unexpectedly")
        sys.exit(1)


def _publisher_keys(path: Path | None) -> signature.Keys:
    """Read the publishers' keys. Raises ConfigurationError."""
    if path is None:
        return {}
    try:
        return signature.parse_keys(json.loads(path.read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"--publisher-keys {path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"--publisher-keys {path} is not JSON: {error}") from None
    except ParseError as error:
        raise ConfigurationError(f"--publisher-keys {path}: {error}") from None


def _own_namespace() -> str:
    try:
        return Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read_text().strip()
    except OSError:
        return "vmext-system"


def _days(text: str) -> float:
    days = float(text)
    # The API server takes nothing below ten minutes.
    if not 600 / 86_400 <= days <= 3650:
        raise argparse.ArgumentTypeError(f"{text} is not between 10 minutes (0.007) and 10 years (3650)")
    return days


def _interval(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 86400 seconds")
    return seconds


def _namespaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        # An empty one is an error, too: who forgot to say which ones has not said every one.
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise argparse.ArgumentTypeError(f"{name!r} is not a namespace's name; leave the option out for every one")
    return names


if __name__ == "__main__":
    main()
