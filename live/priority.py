"""Which threads may wait: a picture that must be shown now comes before one that is still being made."""

from __future__ import annotations

import os
import sys
import threading

_NICENESS = 7
_LEAST = 19


def step_back() -> None:
    """Lets the calling thread, and every thread it starts from now on, wait for the others.

    Linux alone has a priority for each thread; elsewhere this does nothing.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def step_aside() -> bool:
    """Lets the calling thread, and every thread it starts from now on, run only while no other wants to.

    Returns:
        False = this system cannot do that for a single thread.
    """
    if sys.platform != "linux":
        return False
    try:
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
    except PermissionError:  # a container may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST)
    return True
