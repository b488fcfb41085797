"""Values and arrays, as Python and NumPy see them."""

import copy
import gc
import threading

import numpy
import pytest

import sharehold


def test_a_value_is_read_written_and_changed_whole(manager):
    count = manager.value(7)
    assert (count.get(), count.type_name, count.kind) == (7, "i64", "value")
    count.set(8)
    assert count.add(4) == 12
    assert count.update(lambda now: now * 2) == 24
    assert manager.value(0.5).get() == 0.5
    small = manager.value(255, "u8")
    with pytest.raises(OverflowError):
        small.add(1)
    with pytest.raises(OverflowError):
        small.set(256)
    with pytest.raises(ZeroDivisionError):
        small.update(lambda now: now // 0)
    assert small.get() == 255, "what fails changes nothing"
    count.seal()
    with pytest.raises(sharehold.Sealed):
        count.set(1)


def test_an_array_is_seen_by_numpy_without_a_copy_and_kept_alive_by_it(manager):
    array = manager.array(numpy.arange(12, dtype="f4").reshape(3, 4))
    view = numpy.asarray(array)
    assert view.shape == array.shape == (3, 4) and view.dtype == numpy.float32
    assert view.__array_interface__["data"][0] == array.address
    view[1, 2] = 99
    assert numpy.asarray(copy.copy(array))[1, 2] == 99
    del array
    gc.collect()
    assert manager.number_of_objects() == 1, "the view holds it"
    assert view[2, 3] == 11
    del view
    gc.collect()
    assert manager.number_of_objects() == 0


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_of_numbers_is_the_same_on_both_sides(manager, dtype):
    data = numpy.array([1, 2, 3], dtype=dtype)
    array = manager.array(data)
    assert array.dtype == data.dtype and array.tolist() == [1, 2, 3]
    assert array.element == {"i": "i", "u": "u", "f": "f"}[dtype[0]] + str(8 * int(dtype[1]))


def test_without_numpy_an_array_is_a_memoryview(manager):
    array = manager.array([1.0, 2.5])
    assert len(array) == 2 and array[1] == 2.5 and list(array) == [1.0, 2.5]
    array[0] = 4.0
    assert memoryview(array).format == "d" and memoryview(array).tolist() == [4.0, 2.5]
    assert manager.array(b"abc").element == "u8"
    assert manager.array([1, 2]).element == "i64" and len(manager.array([])) == 0
    assert bytes(manager.bytes(b"xyz")) == b"xyz"


@pytest.mark.parametrize("data", [numpy.array([True]), numpy.array([1j]), numpy.array(["x"]), numpy.array([1], dtype=">i4")])
def test_what_can_not_be_shared_in_place_is_refused(manager, data):
    with pytest.raises(TypeError):
        manager.array(data)


def test_an_array_that_is_not_contiguous_is_copied_as_it_looks(manager):
    data = numpy.arange(12).reshape(3, 4).T
    assert (numpy.asarray(manager.array(data)) == data).all()


def test_a_sealed_array_has_read_only_views(manager):
    array = manager.array(numpy.arange(3.0))
    view = numpy.asarray(array)
    with pytest.raises(BufferError):
        array.seal()  # the view could write on
    del view
    array.seal()
    array.seal()
    assert array.sealed and not numpy.asarray(array).flags.writeable
    with pytest.raises(ValueError):
        numpy.asarray(array)[0] = 1
    with pytest.raises(sharehold.Sealed):
        array.write().__enter__()
    with array.read() as view:
        assert view.readonly and view[2] == 2.0


def test_what_is_frozen_can_not_be_written_even_by_address(manager):
    frozen = manager.freeze(numpy.arange(6, dtype="u2").reshape(2, 3))
    assert frozen.kind == "frozen" and frozen.sealed
    view = numpy.asarray(frozen)
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]] and not view.flags.writeable
    with frozen.read() as view:
        assert view.shape == (2, 3)


def test_a_struct_is_a_structured_dtype_and_its_type_is_checked(manager):
    quote = sharehold.struct("Quote", [("bid", "f64"), ("sizes", ("u32", 2))])
    data = numpy.array([(1.5, (1, 2)), (2.5, (3, 4))], dtype=[("bid", "f8"), ("sizes", "u4", 2)])
    quotes = manager.array(data, quote)
    view = numpy.asarray(quotes)
    assert view["bid"].tolist() == [1.5, 2.5] and view["sizes"][1].tolist() == [3, 4]
    manager.publish("quotes", quotes)
    found = manager.lookup("quotes")
    assert found.shape == (2,) and found.itemsize == 16, "a type that nobody has described is its bytes"
    assert numpy.asarray(found.typed(quote))["bid"][1] == 2.5
    with pytest.raises(TypeError):
        found.typed(sharehold.struct("Quote", [("ask", "f64"), ("sizes", ("u32", 2))]))
    with pytest.raises(ValueError):
        sharehold.struct("Gap", [("a", "u8"), ("b", "f64")]) and manager.zeros(1, sharehold.struct("Gap", [("a", "u8"), ("b", "f64")]))


def test_consumers_that_ask_for_less_get_less(manager):
    array = manager.array(numpy.arange(4, dtype="i4").reshape(2, 2))
    assert bytes(memoryview(array).cast("B")) == numpy.arange(4, dtype="i4").tobytes()
    assert bytearray(array) == numpy.arange(4, dtype="i4").tobytes()
    assert b"".join([array]) == numpy.arange(4, dtype="i4").tobytes()


def test_a_writer_keeps_others_out_until_it_is_done(manager):
    array = manager.array([0.0, 0.0])
    inside, go = threading.Event(), threading.Event()

    def write():
        with array.write() as view:
            view[0] = 1.0
            inside.set()
            go.wait()
            view[1] = 1.0

    writer = threading.Thread(target=write)
    writer.start()
    inside.wait()
    with pytest.raises(TimeoutError):
        array.read(timeout=0.05).__enter__()
    with pytest.raises(sharehold.Timeout):
        array.write(0.0).__enter__()
    go.set()
    with array.read() as view:
        assert view.tolist() == [1.0, 1.0]
        with pytest.raises(TypeError):
            view[0] = 2.0
    writer.join()


def test_an_exception_lets_go_of_the_lock(manager):
    array = manager.array([0])
    with pytest.raises(KeyError):
        with array.write():
            raise KeyError
    with array.write(0.0) as view:
        view[0] = 1
    assert not array.poisoned
    guard = array.read()
    with guard:
        with pytest.raises(RuntimeError):
            guard.__enter__()


def test_names_hold_objects_until_they_are_removed(manager):
    manager.publish("a", manager.value(5))
    assert manager.lookup("a").get() == 5
    with pytest.raises(sharehold.NameTaken):
        manager.publish("a", manager.value(6))
    manager.publish("a", manager.value(6), replace=True)
    assert manager.lookup("a", timeout=1.0).get() == 6 and [name["name"] for name in manager.names()] == ["a"]
    manager.unpublish("a")
    with pytest.raises(KeyError, match="nothing is published"):
        manager.lookup("a")
    with pytest.raises(TimeoutError):
        manager.lookup("a", timeout=0.05)
    assert manager.number_of_objects() == 0


def test_tickets_say_how_often_and_how_long(manager):
    ticket = manager.value(1).ticket(uses=2)
    one, two = sharehold.redeem(ticket), manager.redeem(ticket)
    assert one == two and hash(one) == hash(two) and one is not two
    with pytest.raises(sharehold.TicketSpent):
        sharehold.redeem(ticket)
    with pytest.raises(sharehold.TicketError):
        sharehold.redeem("no ticket")
    gone = one.ticket(deadline=0.0)
    with pytest.raises(ValueError):
        manager.redeem(gone)


def test_who_holds_what_is_known(manager):
    array = manager.array([1.0])
    other = copy.deepcopy(array)
    info = manager.object_info(array)
    assert info["type_name"] == "f64" and sum(holder["proxies"] for holder in info["holders"]) >= 2
    assert other == array and manager.stats()["objects"] == 1 and manager.audit()["repaired"] == 0


def test_each_kind_of_error_is_a_class_of_its_own():
    from sharehold import _errors, _sharehold

    assert list(_errors._KINDS) == list(_sharehold.KINDS)
    for number, kind in enumerate(_sharehold.KINDS, 1):
        error = _errors.make(number, "what", "do", None)
        assert type(error) is getattr(sharehold, kind) and isinstance(error, sharehold.Error)
        assert str(error) == "what (do)" and error.message == "what"


def test_an_error_can_be_pickled(manager):
    import pickle

    with pytest.raises(sharehold.BrokerNotFound) as caught:
        sharehold.Manager.connect("nobody")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is sharehold.BrokerNotFound and str(again) == str(caught.value)
    assert isinstance(again, ConnectionError)


def test_a_full_region_is_a_memory_error(manager):
    with sharehold.Manager(capacity=1 << 20) as small:
        with pytest.raises(MemoryError):
            small.zeros(1 << 20)


def test_who_only_reads_changes_nothing(manager):
    sealed, plain = manager.bytes(b"abc"), manager.array([1])
    manager.publish("sealed", sealed)
    manager.publish("plain", plain)
    reader = sharehold.Manager.connect(manager.name, read_only=True)
    assert bytes(reader.lookup("sealed")) == b"abc"
    assert not numpy.asarray(reader.lookup("plain")).flags.writeable
    with pytest.raises(PermissionError):
        reader.value(1)
    reader.close()
