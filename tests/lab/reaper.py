"""Runs a daemon and reaps what it leaves orphaned. Run by Libvirtd: reaper.py COMMAND...

libvirt daemonises QEMU and swtpm and believes them alive until somebody has reaped them. That
is PID 1's duty, and in a container PID 1 may not know it; so the orphans come here.

SIGTERM ends the daemon and then us; SIGUSR1 ends the daemon alone, SIGHUP at once (kill -9); SIGUSR2 starts it again.
"""

import ctypes
import os
import signal
import subprocess
import sys

SIGNALS = {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGCHLD}


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)     # PR_SET_CHILD_SUBREAPER
    command = ["setpriv", "--pdeathsig", "KILL", "--", *sys.argv[1:]]

    def start():
        return subprocess.Popen(command, preexec_fn=lambda: signal.pthread_sigmask(
            signal.SIG_UNBLOCK, SIGNALS)).pid
    daemon, stopping, wanted = start(), False, True
    while True:
        number = signal.sigwait(SIGNALS)
        if number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            stopping, wanted = number == signal.SIGTERM, False
            if daemon:
                os.kill(daemon, signal.SIGKILL if number == signal.SIGHUP else signal.SIGTERM)
        elif number == signal.SIGUSR2 and not daemon:
            daemon, wanted = start(), True
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == daemon:
                daemon = 0
                print(f"reaper: daemon ended, status {status}", flush=True)
                if wanted:
                    return os.waitstatus_to_exitcode(status) or 1
        if stopping and not daemon:
            return 0


sys.exit(main())
