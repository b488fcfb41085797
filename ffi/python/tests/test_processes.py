"""Proxies on their way between processes, and what is left of a process that is killed."""

import gc
import os
import pickle
import signal

import helpers
import numpy
import pytest
from conftest import PATIENCE, alive, eventually

import sharehold


def test_proxies_in_a_queue_outlive_the_producer_that_forgets_them_at_once(manager, context):
    """With `multiprocessing.Manager` the server drops each of them before the consumer has it."""
    queue = context.Queue()
    producer = context.Process(target=helpers.produce, args=(manager.name, queue, 50))
    producer.start()
    producer.join(PATIENCE)
    assert producer.exitcode == 0
    for number in range(50):
        array = queue.get(timeout=PATIENCE)
        assert numpy.asarray(array).tolist() == [number] * 4
    del array
    gc.collect()
    queue.close()
    eventually("all are gone", lambda: manager.number_of_objects() == 0)


def test_an_array_goes_there_and_back_changed_in_place(manager, context):
    todo, done = context.Queue(), context.Queue()
    worker = context.Process(target=helpers.get_and_put, args=(todo, done))
    worker.start()
    array = manager.array(numpy.arange(3))
    for number in range(1, 6):
        todo.put(array)
        back, first, pid = done.get(timeout=PATIENCE)
        assert (first, pid) == (number, worker.pid) and back == array
        assert array[0] == number, "the very same bytes"
        assert back.address == array.address, "mapped once in a process"
    todo.put(None)
    worker.join(PATIENCE)
    assert worker.exitcode == 0


def test_a_pool_takes_proxies_and_gives_them_back(manager, context):
    arrays = [manager.array(numpy.full(3, number)) for number in range(8)]
    with context.Pool(2) as pool:
        doubled = pool.map_async(helpers.double, arrays).get(PATIENCE)
        assert [array.tolist() for array in doubled] == [[2 * number] * 3 for number in range(8)]
        assert doubled == arrays
        pool.close()
        pool.join()


def test_64_megabytes_are_handed_over_without_a_copy(manager, child):
    small, large = manager.zeros(128, "i64"), manager.zeros(1 << 23, "i64")
    large[0] = 5
    other = child(helpers.address_and_memory, large)
    first, grown, file = other.hear()
    assert first == 5 and large[-1] == 77, "written there, seen here"
    # Both are the same file: a copy of 64 MB would be private memory.
    assert file == helpers.inode_at(large.address)
    assert grown < 8 << 10, f"{grown} KB more private memory"
    assert abs(len(pickle.dumps(large)) - len(pickle.dumps(small))) < 16, "what is sent is as long for any size"
    other.pipe.send("go")
    assert other.hear() == "done" and large[0] == 78
    other.end()


def test_a_killed_client_holds_nothing_and_a_killed_writer_leaves_a_mark(manager, child):
    array, kept = manager.array([0, 0]), manager.value(1)
    other = child(helpers.lock_and_say, array)
    assert other.hear() == "locked"
    with pytest.raises(TimeoutError):
        array.write(0.05).__enter__()
    other.kill()
    with pytest.raises(sharehold.Poisoned):
        array.read(PATIENCE).__enter__()
    assert array.poisoned and array[0] == 1
    array.clear_poison()
    with array.write(PATIENCE) as view:
        view[0] = 2

    other = child(helpers.hold_and_say, kept)
    assert other.hear() == "held"
    identity = kept.id
    del kept
    gc.collect()
    assert manager.number_of_objects() == 2, "the other process holds it"
    other.kill()
    eventually("what it held is gone", lambda: manager.number_of_objects() == 1)
    assert identity not in [info["id"] for info in manager.debug_info()]


def test_a_forked_child_has_what_its_parent_had(manager):
    array = manager.array([1, 2])
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            array[1] = 7
            fresh = manager.array([4])
            sum_of_all = array[1] + fresh[0]
            os.write(writer, pickle.dumps((fresh, sum_of_all)))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        fresh, sum_of_all = pickle.loads(pipe.read())
    os.waitpid(pid, 0)
    assert sum_of_all == 11 and array[1] == 7
    assert fresh.tolist() == [4], "the pickle holds what the child has made"


def test_a_pickle_is_good_once_and_an_hour_unless_it_is_said_otherwise(manager):
    value = manager.value(3)
    text = pickle.dumps(value)
    assert pickle.loads(text) == value
    with pytest.raises(sharehold.TicketSpent):
        pickle.loads(text)
    with sharehold.pickling(uses=3, deadline=None):
        text = pickle.dumps([value, value])
    for _ in range(3):
        one, two = pickle.loads(text)
        assert one is two
    pickle.dumps(value)
    [ticket] = manager.tickets()
    assert ticket["uses"] == 1 and 3000 < ticket["expires_in"]["secs"] <= 3600
    with sharehold.pickling(deadline=0.05):
        pickle.dumps(value)
    del value, one, two
    gc.collect()
    assert manager.number_of_objects() == 1


def test_a_broker_ends_with_its_parent_however_that_ends(child):
    other = child(helpers.start_and_say)
    pid, name = other.hear()
    assert alive(pid) and sharehold.Manager.connect(name).name == name
    assert name in sharehold.brokers()
    other.kill()
    eventually("the broker ends", lambda: not alive(pid))


def test_without_its_broker_a_process_reads_on_and_a_restart_brings_everything_back(manager):
    array, hosted = manager.array([1.0]), manager.List()
    hosted.append(1)
    pid = manager.child_pid
    os.kill(pid, signal.SIGKILL)
    eventually("it is gone", lambda: not alive(pid))
    array[0] = 2.0
    with pytest.raises(ConnectionError):
        hosted.append(2)
    manager.restart()
    assert manager.child_pid != pid
    manager.publish("array", array)
    assert manager.lookup("array")[0] == 2.0
    with pytest.raises(sharehold.Lost):
        hosted.append(2)


def test_a_worker_that_has_only_tickets_keeps_its_session(manager, child):
    other = child(helpers.receive_and_say)
    for thing, name in [(manager.value(1), "Value"), (manager.array([1]), "Array"), (manager.List(), "List")]:
        other.pipe.send(thing)
        assert other.hear() == name
    # One that a fork has brought about for a moment goes by itself: before 3.10 an interpreter is started by one.
    eventually("there are the broker, this process, and the other one", lambda: manager.stats()["sessions"] == 3)


def test_a_script_is_its_own_module_in_the_broker(tmp_path):
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import sharehold\n"
        "class Counter:\n"
        "    def __init__(self): self.count = 0\n"
        "    def next(self): self.count += 1; return self.count\n"
        "if __name__ == '__main__':\n"
        "    manager = sharehold.Manager(capacity=1 << 20)\n"
        "    manager.register(Counter)\n"
        "    with manager:\n"
        "        counter = manager.Counter()\n"
        "        print(counter.next(), counter.next())\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.returncode) == ("1 2\n", 0), done.stderr
