#!/usr/bin/env python3
"""Counts the server's instructions per request with valgrind's callgrind.

Unlike times, the count repeats to about one percent on any machine, busy or not: it shows a
regression that a stopwatch would miss. The server runs twice under callgrind, with loads of
different length; the difference of the instructions over the difference of the requests leaves
start and set-up out.

    python3 bench/instructions.py                          getData
    python3 bench/instructions.py --workload set
    python3 bench/instructions.py --profile /tmp/get.out   keep the longer run's profile
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

import run


class Counted(run.Server):
    """The server under callgrind."""

    name = "Aviary"
    START = ["valgrind", "--tool=callgrind"]

    def command(self, path):
        # Valgrind cannot read the debug information of Swift's compiler.
        binary = os.path.join(self.directory, "zkServer")
        subprocess.run(["strip", "--strip-debug", "-o", binary, self.options.server], check=True)
        self.profile = os.path.join(self.directory, "callgrind.out")
        return [*self.START, f"--callgrind-out-file={self.profile}", binary,
                "start-foreground", path]

    def instructions(self):
        """Of the whole process; after its end."""
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as log:
            return int(re.findall(r"Collected : (\d+)", log.read())[-1])


def count(options, directory, seconds):
    server = Counted(directory, options)
    load = run.Load(options)
    server.start()
    try:
        load.run(server, "load", znodes=1000, keep=True, sessions=options.sessions)
        report = load.run(
            server, options.workload, znodes=1000, reuse=True, sessions=options.sessions,
            depth=options.depth, warmup=0, duration=seconds)
    finally:
        server.stop()
    if options.profile:
        shutil.copy(server.profile, options.profile)
    return server.instructions(), report["requests"]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.path.join(run.ROOT, ".build", "release")
    parser.add_argument("--workload", default="get", choices=["get", "set", "mixed", "multi"])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4, help="length of the shorter run")
    parser.add_argument("--server", default=os.path.join(build, "zkServer"))
    parser.add_argument("--bench", default=os.path.join(build, "zkBench"))
    parser.add_argument("--profile", help="where to keep the profile of the longer run")
    options = parser.parse_args()
    for tool in "valgrind", "strip":
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not installed")
    with tempfile.TemporaryDirectory(prefix="instructions-") as directory:
        short_instructions, short_requests = count(options, directory, options.seconds)
        long_instructions, long_requests = count(options, directory, options.seconds * 3)
    more = long_requests - short_requests
    if more <= 0:
        raise SystemExit("the longer run answered no more requests: the machine is too busy")
    per_request = (long_instructions - short_instructions) / more
    print(f"{per_request:.0f} instructions per {options.workload} "
          f"({options.sessions} sessions, depth {options.depth}, {more:,} requests)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
