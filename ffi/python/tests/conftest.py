"""Brokers of tests are in a folder of their own. Each test leaves nothing there, and no child."""

import gc
import multiprocessing
import os
import signal
import tempfile
import time

import pytest

import sharehold

PATIENCE = 30.0


def eventually(what, holds):
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"in vain: {what}"
        time.sleep(0.002)


def alive(pid):
    """Whether a process runs: one that has ended and was not waited for yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


#: Of all tests: a fork server has the environment that it was started with.
FOLDER = tempfile.TemporaryDirectory(prefix="sharehold-py-")
os.chmod(FOLDER.name, 0o700)
os.environ["SHAREHOLD_DIR"] = FOLDER.name


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(os.listdir(FOLDER.name))
    yield
    gc.collect()
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    eventually("the brokers are gone", lambda: not set(os.listdir(FOLDER.name)) - before)


@pytest.fixture
def manager():
    with sharehold.Manager(capacity=1 << 28) as manager:
        yield manager


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def context(request):
    return multiprocessing.get_context(request.param)


class Child:
    """A process that runs a function with a pipe, and is killed at the end."""

    def __init__(self, function, *args, context=multiprocessing.get_context("spawn")):
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=function, args=(theirs, *args), daemon=True)
        self.process.start()
        theirs.close()

    def hear(self):
        assert self.pipe.poll(PATIENCE), "the child says nothing"
        return self.pipe.recv()

    def interrupt(self):
        """Presses Ctrl-C until the child says something. It says that it waits before it does, so it may be told more than once."""
        eventually("it is interrupted", lambda: os.kill(self.process.pid, signal.SIGINT) or self.pipe.poll(0.05))

    def kill(self):
        self.process.kill()
        self.process.join()

    def end(self):
        self.process.join(PATIENCE)
        assert self.process.exitcode == 0


@pytest.fixture
def child():
    children = []

    def start(*args, **kwargs):
        children.append(Child(*args, **kwargs))
        return children[-1]

    yield start
    for one in children:
        one.kill()
        one.pipe.close()
