"""What a Python does first in the environment of tests: a worker of Ray is handed to the process that forks workers.

It costs other programs one look at their command line, and a worker that cannot be forked starts as Ray starts it. The
folder stands in ``PYTHONPATH``, see :mod:`tests.harness.forking`.
"""

import os
import sys

STEPS = ("setup_worker.py", "default_worker.py")
"""The first prepares what a job's runtime environment says, and then becomes the second."""

LOADED = ("numpy", "pandas", "pyarrow", "PIL", "torch")
"""Modules that the forking process has before it knows a worker's paths."""


def handed_over() -> bool:
    """Whether somebody else goes on as the worker that this process was to become.

    Only where a fork is the same: no interpreter of its own, and no other modules than those that are loaded.
    """
    import json
    import socket

    arguments, context = sys.orig_argv[1:], {}
    if os.path.basename(arguments[0]) == STEPS[0]:
        mark = "--serialized-runtime-env-context="
        told = [argument for argument in arguments if argument.startswith(mark)]
        arguments = [argument for argument in arguments[1:] if argument not in (*told, "--language=PYTHON")]
        context = json.loads(told[-1].removeprefix(mark)) if told else {}
    variables, folder = context.get("env_vars") or {}, os.getcwd()
    # That of a job that brings a folder along.
    prefix = context.get("command_prefix") or []
    if prefix[:1] == ["cd"] and prefix[2:] == ["&&"] and os.path.isdir(prefix[1]):
        prefix, folder = [], prefix[1]
    if (
        prefix
        or os.path.basename(arguments[0]) != STEPS[1]
        or context.get("override_worker_entrypoint")
        or (context.get("py_executable") or sys.executable) != sys.executable
        # Ray would put other variables' values there.
        or any("$" in value for value in variables.values())
    ):
        return False
    environment = dict(os.environ) | variables
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    for path in set(paths) - set(json.loads(os.environ["PAGER_RAY_TESTS_PATHS"])):
        if any(os.path.exists(os.path.join(path, name + end)) for name in LOADED for end in ("", ".py")):
            return False
    told = {"arguments": arguments, "environment": environment, "folder": folder, "paths": paths}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        try:
            server.connect(os.environ["PAGER_RAY_TESTS_WORKERS"])
            socket.send_fds(server, [b"."], [0, 1, 2])
            server.sendall(json.dumps(told).encode())
            server.shutdown(socket.SHUT_WR)
            return server.recv(1) == b"."
        except OSError:
            # The tests have ended, and the process that forks with them.
            return False


def is_worker() -> bool:
    """Whether this process is to be one of Ray's workers, and somebody forks them."""
    program = os.path.basename(sys.orig_argv[1]) if len(sys.orig_argv) > 1 else ""
    return "PAGER_RAY_TESTS_WORKERS" in os.environ and program in STEPS


if is_worker() and handed_over():
    os._exit(0)
