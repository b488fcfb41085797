"""Objects with methods: Python classes, and those that every broker has."""

import copy
import gc
import os
import pickle
import threading

import helpers
import numpy
import pytest
from conftest import eventually

import sharehold


@pytest.fixture(scope="module")
def lab():
    """One broker for all tests of this file: each of them ends with nothing alive."""
    manager = sharehold.Manager(capacity=1 << 24)
    manager.register("Magnifier", helpers.Magnifier)
    manager.register(helpers.Gate)
    manager.register("Table", dict, shared=["get"])
    manager.register("Narrow", helpers.Magnifier, exposed=["scale"])
    with manager:
        yield manager


@pytest.fixture(autouse=True)
def nothing_left(lab):
    yield
    gc.collect()
    eventually("all objects are gone", lambda: lab.number_of_objects() == 0)


def test_a_method_is_called_in_the_broker(lab):
    magnifier = lab.Magnifier(3)
    assert magnifier.scale(2.0) == 6.0
    assert magnifier.grow(twice=True) == 5
    assert magnifier.where() == (lab.child_pid, os.getpid(), lab.name)
    assert type(magnifier).__name__ == "Magnifier" and isinstance(magnifier, sharehold.Hosted)
    assert lab.describe(magnifier) == "Magnifier(5)"
    assert "scale(x: float)" in lab.classes()["Magnifier"] and "Magnifier(factor=1.0)" in lab.classes()["Magnifier"]


def test_what_an_exception_knew_in_the_broker_the_caller_knows(lab):
    magnifier = lab.Magnifier(3)
    with pytest.raises(helpers.Unusable) as caught:
        magnifier.fail()
    assert caught.value.args == ("it is broken", 3) and caught.value.factor == 3
    remote = caught.value.__cause__
    assert isinstance(remote, sharehold.RemoteTraceback)
    assert "_deeper" in str(remote) and 'raise Unusable("it is broken", self.factor)' in str(remote)
    assert "_broker.py" not in str(remote)
    with pytest.raises(helpers.Unusable, match="nothing is to be seen"):
        lab.Magnifier(0)
    with pytest.raises(sharehold.MethodFailed) as caught:
        magnifier.unpicklable()
    assert "Local" in caught.value.causes[0][0] and "nobody can load this" in str(caught.value)
    assert "unpicklable" in caught.value.traceback
    with pytest.raises(TypeError):
        magnifier.scale()


def test_a_failure_behind_a_failure_comes_along(lab):
    one, two = lab.Magnifier(1), lab.Magnifier(2)
    with pytest.raises(LookupError, match="asked in vain") as caught:
        one.ask_to_fail(two)
    text = str(caught.value.__cause__)
    assert "ask_to_fail" in text and "_deeper" in text and "direct cause" in text


def test_proxies_are_arguments_results_and_parts_of_objects(lab):
    magnifier, array = lab.Magnifier(2), lab.array(numpy.arange(4.0))
    assert magnifier.total(array) == 6.0
    magnifier.hold(array)
    identity = array.id
    del array
    gc.collect()
    given = magnifier.give()
    assert given["held"].id == identity and given["tuple"] == (1, {2})
    given["held"][0] = 10.0
    assert magnifier.total(given["held"]) == 16.0
    assert lab.tickets() == [], "what arrives with a call needs no ticket"
    other = lab.Magnifier(5)
    assert magnifier.ask(other, 3) == 17
    made = magnifier.make(7)
    assert type(made) is type(magnifier) and made.scale(1) == 7
    magnifier.hold(made)
    magnifier.hold(None)


def test_a_hosted_object_goes_through_a_pickle(lab):
    magnifier = lab.Magnifier(3)
    same = pickle.loads(pickle.dumps(magnifier))
    assert same == magnifier and same.grow() == 4
    assert copy.copy(magnifier).scale(1) == 4


def test_properties_are_read_and_set(lab):
    magnifier = lab.Magnifier(3)
    assert magnifier.power == 3
    magnifier.power = 9
    assert magnifier.scale(1) == 9


def test_only_what_is_exposed_can_be_called(lab):
    narrow = lab.Narrow(3)
    assert narrow.scale(2) == 6
    for name in ["grow", "_deeper", "factor"]:
        with pytest.raises(AttributeError):
            getattr(narrow, name)
    with pytest.raises(sharehold.MethodNotFound, match="it has"):
        narrow._pickled("grow", (), {})
    with pytest.raises(AttributeError, match="no class"):
        lab.Telescope
    with pytest.raises(sharehold.ClassNotFound):
        lab.create("Telescope")


def test_special_methods_make_a_proxy_pythonic(lab):
    table = lab.Table(a=1)
    table["b"] = {1, 2}
    assert len(table) == 2 and table["b"] == {1, 2} and "a" in table and table.get("c", 5) == 5
    del table["a"]
    with pytest.raises(KeyError):
        table["a"]
    assert bool(table)


def test_methods_have_their_object_for_themselves_unless_they_are_shared(lab):
    gate = lab.Gate()
    threads = [threading.Thread(target=gate.count_slowly) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gate.count_slowly() == 9
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(gate.wait(20)))
    waiter.start()
    gate.open()
    waiter.join()
    assert waited == [True]


def test_a_call_has_a_limit_of_time(lab):
    gate = lab.Gate()
    with sharehold.timeout(0.05), pytest.raises(TimeoutError):
        gate.wait(20)
    with sharehold.timeout(30):
        with sharehold.timeout(0.0), pytest.raises(sharehold.Timeout):
            gate.open()
        gate.open()
    assert gate.wait(0)


# The first calls of a process go over its socket, later ones by a call ring.
@pytest.mark.parametrize("calls_before", [0, 5])
def test_a_call_is_ended_by_control_c(lab, child, calls_before):
    gate = lab.Gate()
    one = child(helpers.call_and_tell, gate, calls_before)
    assert one.hear() == "waits"
    one.interrupt()
    assert one.hear() == "KeyboardInterrupt"
    one.end()
    gate.open()


def test_large_arguments_and_results_arrive(lab):
    table = lab.Table()
    data = numpy.random.default_rng(1).bytes(1 << 20)
    table["x"] = data
    assert table["x"] == data


def test_a_call_from_another_language_has_plain_values(lab):
    magnifier = lab.Magnifier(3)
    assert magnifier._plain("scale", 2) == 6
    with pytest.raises(helpers.Unusable):
        magnifier._plain("fail")
    with pytest.raises(TypeError, match="set"):
        magnifier._plain("give")  # there is a set in it, which other languages do not have


def test_a_list_is_a_list(lab):
    shared = lab.List()
    shared.append(1)
    shared.extend(["two", 3.5, None, True, b"x", [1, {"k": 2}]])
    assert len(shared) == 7 and list(shared) == [1, "two", 3.5, None, True, b"x", [1, {"k": 2}]]
    assert shared[-1] == [1, {"k": 2}] and shared[1:3] == ["two", 3.5] and "two" in shared
    shared[0] = 10
    del shared[1]
    shared.insert(0, "first")
    assert shared.pop() == [1, {"k": 2}] and shared.pop(0) == "first" and shared[0] == 10
    assert shared.index(3.5) == 1
    for wrong in [lambda: shared[99], lambda: shared.pop(99)]:
        with pytest.raises(IndexError, match="out of range"):
            wrong()
    with pytest.raises(TypeError, match="set"):
        shared.append({1})
    with pytest.raises(OverflowError):
        shared.append(1 << 64)
    shared.append(lab.value(5))
    assert shared[-1].get() == 5
    shared.clear()
    with pytest.raises(IndexError):
        shared.pop()
    itself: list = []
    itself.append(itself)
    with pytest.raises(TypeError, match="nested"):
        shared.append(itself)


def test_a_dictionary_is_a_dictionary(lab):
    shared = lab.Dict()
    shared["a"] = 1
    shared.update({2: "two"}, b=lab.List())
    shared["b"].append(7)
    assert len(shared) == 3 and shared[2] == "two" and list(shared["b"]) == [7]
    assert set(shared) == {"a", 2, "b"} and "a" in shared and "z" not in shared
    assert shared.get("z", 5) == 5 and shared.setdefault("z", 6) == 6 and shared.pop("z") == 6
    assert dict(shared.items()).keys() == shared.copy().keys() == set(shared.keys())
    with pytest.raises(KeyError, match="z"):
        shared["z"]
    with pytest.raises(KeyError):
        del shared["z"]
    assert shared.pop("z", None) is None
    shared.clear()


def test_a_namespace_has_attributes(lab):
    shared = lab.Namespace()
    shared.rate = 0.5
    assert shared.rate == 0.5 and dir(shared) == ["rate"] and not hasattr(shared, "other")
    del shared.rate
    with pytest.raises(AttributeError):
        shared.rate


def test_a_cycle_of_containers_is_collected(lab):
    one, two = lab.Dict(), lab.Dict()
    one["other"], two["other"] = two, one
    del one, two
    gc.collect()
    assert lab.collect() == 2


def test_classes_are_registered_before_the_broker_starts(lab):
    with pytest.raises(RuntimeError, match="before"):
        lab.register("Late", helpers.Magnifier)

    class Local:
        pass

    manager = sharehold.Manager()
    manager.register("Local", Local)
    with pytest.raises(TypeError, match="top of a module"):
        manager.start()


def test_outside_of_a_method_there_is_no_current_broker(lab):
    with pytest.raises(PermissionError):
        sharehold.current()
    with pytest.raises(TypeError):
        sharehold.host(helpers.Magnifier())
    assert sharehold.caller() is None and not sharehold.is_cancelled()


@pytest.mark.parametrize(
    "thing",
    [None, True, 0, -(2**63), 2**63 - 1, 2**64, -(2**70), 0.5, float("inf"), "", "Ungeheuer \N{SNOWMAN}", "\udc80", b"", b"\x00\xff", (), (1, 2), [1], {"a": 1}, helpers.Rank(3), numpy.float64(2.5), numpy.int32(7)],
    ids=repr,
)
def test_what_is_passed_and_answered_is_of_the_very_type_that_it_was(lab, thing):
    back = lab.Magnifier(1).same(thing)
    assert back == thing and type(back) is type(thing)
