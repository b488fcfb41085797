"""Functions and classes that other processes import."""

import os
import signal
import threading

import numpy

import sharehold


class Rank(int):
    """What looks like a number, and is one only in Python."""


class Magnifier:
    """Scales numbers."""

    def __init__(self, factor=1.0):
        if factor == 0:
            raise Unusable("nothing is to be seen", factor)
        self.factor = factor
        self.held = None

    def scale(self, x: float) -> float:
        return x * self.factor

    def same(self, thing):
        return thing

    def grow(self, by=1, *, twice=False):
        self.factor += by * (2 if twice else 1)
        return self.factor

    def fail(self):
        return self._deeper()

    def _deeper(self):
        raise Unusable("it is broken", self.factor)

    def unpicklable(self):
        class Local(Exception):
            pass

        raise Local("nobody can load this")

    @property
    def power(self):
        return self.factor

    @power.setter
    def power(self, value):
        self.factor = value

    def hold(self, proxy):
        self.held = proxy

    def give(self):
        return {"held": self.held, "tuple": (1, {2})}

    def ask(self, other, x):
        return other.scale(x) + self.factor

    def ask_to_fail(self, other):
        try:
            other.fail()
        except Unusable as error:
            raise LookupError("asked in vain") from error

    def make(self, factor):
        return sharehold.host(Magnifier(factor))

    def where(self):
        return os.getpid(), sharehold.caller(), sharehold.current().name

    def total(self, array):
        with array.read() as view:
            return float(numpy.asarray(view).sum())

    def __repr__(self):
        return f"Magnifier({self.factor})"


class Unusable(ValueError):
    def __init__(self, why, factor):
        super().__init__(why, factor)
        self.factor = factor


class Gate:
    """Waits in one call until another one comes."""

    def __init__(self):
        self._open = threading.Event()
        self.count = 0

    @sharehold.shared
    def wait(self, seconds):
        return self._open.wait(seconds)

    @sharehold.shared
    def open(self):
        self._open.set()

    @sharehold.shared
    def counted(self):
        return self.count

    def count_slowly(self):
        count = self.count
        threading.Event().wait(0.001)
        self.count = count + 1
        return self.count


def get_and_put(todo, done):
    """Passes on what comes, after a change in place."""
    while True:
        item = todo.get()
        if item is None:
            return
        view = numpy.asarray(item)
        view[0] += 1
        done.put((item, int(view[0]), os.getpid()))


def produce(name, queue, count):
    """Puts arrays into a queue, and forgets each at once."""
    manager = sharehold.Manager.connect(name)
    for number in range(count):
        queue.put(manager.array(numpy.full(4, number)))


def double(array):
    numpy.asarray(array)[:] *= 2
    return array


def address_and_memory(pipe, array):
    """Looks at a large array, and tells what that has cost."""
    before = private_memory()
    view = numpy.asarray(array)
    view[-1] = 77
    pipe.send((int(view[0]), private_memory() - before, inode_at(array.address)))
    pipe.recv()
    view[0] = 78
    pipe.send("done")


def private_memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


def inode_at(address):
    """The file that is mapped at an address."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if start <= address < end:
                return tuple(line.split()[3:5])
    return None


def lock_and_say(pipe, array):
    with array.write() as view:
        view[0] = 1
        pipe.send("locked")
        pipe.recv()


def hold_and_say(pipe, *proxies):
    pipe.send("held")
    pipe.recv()


def start_and_say(pipe):
    manager = sharehold.Manager(capacity=1 << 20).start()
    pipe.send((manager.child_pid, manager.name))
    pipe.recv()


def receive_and_say(pipe):
    kept = []
    while True:
        kept.append(pipe.recv())
        pipe.send(type(kept[-1]).__name__)


def double_all(there, back):
    with back.sender() as sender:
        for array in there.receiver():
            view = numpy.asarray(array)
            view *= 2
            sender.send(array, timeout=30)


def send_and_wait(pipe, channel):
    with channel.sender() as sender:
        sender.send(sharehold_value(channel, 5))
        pipe.send("sent")
        pipe.recv()


def sharehold_value(proxy, number):
    """A value beside another object, in a process that has nothing but its proxy."""
    with sharehold.Manager.connect(proxy.ticket().rpartition("/")[0]) as manager:
        return manager.value(number)


def receive_and_tell(pipe, channel):
    with channel.receiver() as receiver:
        try:
            pipe.send("waits")
            receiver.receive()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            pipe.send("KeyboardInterrupt")


def call_and_tell(pipe, gate, calls_before):
    for _ in range(calls_before):
        gate.count_slowly()
    try:
        pipe.send("waits")
        gate.wait(60)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The next call does not get the answer of the one that was given up.
        assert gate.counted() == calls_before
        pipe.send("KeyboardInterrupt")
