"""multiprocessing.Manager, with its default: a server process behind a Unix socket.

manager.py PART: says `ready`, then does its part as often as it reads, line by line, after it has said `begin`, and says the nanoseconds.
"""

import copy
import sys
import time
from multiprocessing.managers import SyncManager


class Magnifier:
    def __init__(self, factor):
        self.factor = factor

    def scale(self, x):
        return self.factor * x


class Manager(SyncManager):
    pass


Manager.register("Magnifier", Magnifier)


def parts(manager):
    held = manager.Value("d", 1.0)
    lens = manager.Magnifier(2.0)

    def clone():
        copy.copy(held)

    def create():
        value = manager.Value(bytes, b"\7" * 64)
        assert value.value[63] == 7

    def call():
        assert lens.scale(1.5) == 3.0

    def make():
        manager.Magnifier(2.0)

    return {"clone": clone, "create": create, "call": call, "make": make}


def main():
    with Manager() as manager:
        part = parts(manager)[sys.argv[1]]
        print("ready", flush=True)
        for line in sys.stdin:
            print("begin", flush=True)
            started = time.perf_counter_ns()
            for _ in range(int(line)):
                part()
            print(time.perf_counter_ns() - started, flush=True)


if __name__ == "__main__":
    main()
