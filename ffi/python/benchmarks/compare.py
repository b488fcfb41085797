"""What sharehold costs beside `multiprocessing.Manager`, `multiprocessing.shared_memory` and a pickle through a pipe.

    python ffi/python/benchmarks/compare.py [--rounds N] [--json FILE]

All of them do the same thing in turn, one piece each in a round, so that whatever else the machine does meets all of them. The tables have medians over the rounds; a ratio is the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import pickle
import platform
import statistics
import time
from multiprocessing import shared_memory
from multiprocessing.managers import BaseManager

import numpy

import sharehold

SIZES = {"1 KB": 1 << 10, "1 MB": 1 << 20, "64 MB": 1 << 26}


class Magnifier:
    def __init__(self, factor):
        self.factor = factor

    def scale(self, x):
        return x * self.factor


class Cell:
    def __init__(self, number):
        self.number = number

    def get(self):
        return self.number

    def set(self, number):
        self.number = number


class Rival(BaseManager):
    pass


Rival.register("Magnifier", Magnifier)
Rival.register("Cell", Cell)


def answer(pipe):
    """The other process: takes an array in whatever form it comes, reads its last element, changes its first one, and answers."""
    while True:
        form, thing = pipe.recv()
        if form == "end":
            return
        if form == "sharehold":
            view = numpy.asarray(thing)
        elif form == "shared_memory":
            name, length = thing
            memory = shared_memory.SharedMemory(name=name)
            view = numpy.ndarray(length, dtype="u1", buffer=memory.buf)
        elif form == "manager":
            view = thing.get()
        else:
            view = thing
        last = int(view[-1])
        if view.flags.writeable:
            view[0] = 1
        del view, thing
        if form == "shared_memory":
            memory.close()
        pipe.send(last)


def echo(there, back):
    """The same through channels, which is how objects are handed over most quickly."""
    with back.sender() as sender:
        for array in there.receiver():
            view = numpy.asarray(array)
            if view[-1] == 7:
                view[0] = 1
                sender.send(array)


class Bench:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.rows: list = []

    def compare(self, what: str, aim: str, repeat: int, slowly: int | None = None, **sides) -> None:
        """Runs the sides in turn, each `repeat` times a round, and notes the median times of one. Those that make calls or copies are run `slowly` times, by default a twentieth."""
        slowly = max(repeat // 20, 5) if slowly is None else slowly
        times = {name: [] for name in sides}
        for number in range(self.rounds + 1):
            for name, work in sides.items():
                count = repeat if name in ("sharehold", "shared_memory") else slowly
                start = time.perf_counter()
                for _ in range(count):
                    work()
                # The first round warms up.
                if number:
                    times[name].append((time.perf_counter() - start) / count)
        ours = times.pop("sharehold")
        row = {"what": what, "aim": aim, "sharehold": statistics.median(ours), "rivals": {}}
        for name, theirs in times.items():
            ratio = statistics.median(their / our for their, our in zip(theirs, ours))
            row["rivals"][name] = {"time": statistics.median(theirs), "ratio": ratio}
        self.rows.append(row)
        print(table([row], header=len(self.rows) == 1), flush=True)


def seconds(value: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def table(rows: list, header: bool = True) -> str:
    names = [("manager", "Manager"), ("shared_memory", "shared_memory"), ("pipe", "pickle, pipe")]
    lines = []
    if header:
        lines.append("| what | sharehold | " + " | ".join(title for _, title in names) + " | aim |")
        lines.append("|---|---|" + "---|" * len(names) + "---|")
    for row in rows:
        cells = []
        for name, _ in names:
            rival = row["rivals"].get(name)
            cells.append(f"{seconds(rival['time'])} ({rival['ratio']:.3g}x)" if rival else "")
        lines.append(f"| {row['what']} | {seconds(row['sharehold'])} | " + " | ".join(cells) + f" | {row['aim']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", default=None, help="a file for the figures")
    options = parser.parse_args()
    bench = Bench(options.rounds)
    context = multiprocessing.get_context("spawn")

    ours = sharehold.Manager(capacity=1 << 29)
    ours.register(Magnifier)
    rival = Rival(ctx=context)
    rival.start()
    with ours:
        pipe, theirs = context.Pipe()
        other = context.Process(target=answer, args=(theirs,))
        other.start()
        theirs.close()
        there, back = ours.channel(4, single=True), ours.channel(4, single=True)
        channelled = context.Process(target=echo, args=(there, back))
        channelled.start()
        sender, receiver = there.sender(), back.receiver()

        value, cell = ours.value(1), rival.Cell(1)
        block = shared_memory.SharedMemory(create=True, size=8)
        raw = numpy.ndarray(1, dtype="i8", buffer=block.buf)
        bench.compare("value: get", "", 2000, sharehold=value.get, manager=cell.get, shared_memory=lambda: int(raw[0]))
        bench.compare("value: set", "", 2000, sharehold=lambda: value.set(2), manager=lambda: cell.set(2), shared_memory=lambda: raw.__setitem__(0, 2))
        del raw
        block.close()
        block.unlink()

        mine, his = ours.Magnifier(3), rival.Magnifier(3)
        bench.compare("call scale(2.5)", "3x Manager", 200, 200, sharehold=lambda: mine.scale(2.5), manager=lambda: his.scale(2.5))

        def block_made():
            memory = shared_memory.SharedMemory(create=True, size=8)
            memory.close()
            memory.unlink()

        bench.compare("proxy: create, drop", "100x Manager", 100, sharehold=lambda: ours.value(1), manager=lambda: rival.Cell(1), shared_memory=block_made)
        bench.compare("the same of a hosted object", "", 100, sharehold=lambda: ours.Magnifier(3), manager=lambda: rival.Magnifier(3))

        def loaded(proxy):
            return lambda: pickle.loads(pickle.dumps(proxy))

        array = ours.zeros(128, "i8")
        bench.compare("pickle, unpickle, drop", "100x Manager", 200, sharehold=loaded(array), manager=loaded(cell))

        for title, size in SIZES.items():
            data = numpy.zeros(size, dtype="u1")
            data[-1] = 7
            shared = ours.array(data)
            memory = shared_memory.SharedMemory(create=True, size=size)
            numpy.ndarray(size, dtype="u1", buffer=memory.buf)[:] = data
            kept = rival.Cell(data)

            def over(form, thing):
                def hand_over():
                    pipe.send((form, thing))
                    assert pipe.recv() == 7

                return hand_over

            def through_channels():
                sender.send(shared)
                receiver.receive()

            bench.compare(
                f"array of {title} to another process, seen and answered",
                "1,000x Manager" if size == 1 << 26 else "100x Manager",
                50,
                # What is large is handed over once by those that copy it.
                1 if size == 1 << 26 else 10,
                sharehold=through_channels,
                manager=over("manager", kept),
                shared_memory=over("shared_memory", (memory.name, size)),
                pipe=over("pickle", data),
            )
            # Where something takes the objects of other makers too, a pipe or a queue.
            bench.compare(
                "the same, as a proxy through a pipe",
                "",
                50,
                10,
                sharehold=over("sharehold", shared),
                shared_memory=over("shared_memory", (memory.name, size)),
            )
            memory.close()
            memory.unlink()
            del shared, kept
            gc.collect()

        pipe.send(("end", None))
        sender.close()
        other.join(30)
        channelled.join(30)
        del mine, value, array, sender, receiver, there, back
    del his, cell
    rival.shutdown()
    machine = {
        "machine": platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rounds": options.rounds,
    }
    print("\n" + ", ".join(f"{name}: {value}" for name, value in machine.items()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({**machine, "rows": bench.rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
