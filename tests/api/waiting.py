"""Waiting for another process or thread without guessing how long it takes."""

import time


def wait_for(condition, timeout_s=30.0):
    """The first true value of `condition()`; fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
