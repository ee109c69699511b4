"""Cleans up after a lab whose owner was killed: waits for its pipe to close. Run by Lab."""

import os
import shutil
import signal
import sys


def main():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import procs                    # beside this file; -I keeps everything else out
    directory, home, uid, keep = sys.argv[1:5]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()         # the owner never writes: this is its death, or its close()
    procs.sweep(home, int(uid))
    if keep == "0":
        shutil.rmtree(directory, ignore_errors=True)


main()
