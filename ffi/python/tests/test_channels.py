"""Objects that are handed over through channels."""

import copy
import gc
import threading

import helpers
import numpy
import pytest
from conftest import PATIENCE

import sharehold


def test_arrays_go_to_another_process_and_back_without_a_copy(manager, context):
    there, back = manager.channel(4), manager.channel(4, single=True)
    worker = context.Process(target=helpers.double_all, args=(there, back))
    worker.start()
    receiver = back.receiver()
    with there.sender() as sender:
        for number in range(20):
            array = manager.array(numpy.full(4, number, dtype="f8"))
            sender.send(array, timeout=PATIENCE)
            again = receiver.receive(timeout=PATIENCE)
            assert again == array and array.tolist() == [2.0 * number] * 4, "the very same bytes"
    worker.join(PATIENCE)
    assert worker.exitcode == 0, "it ends when nobody sends any more"
    with pytest.raises(sharehold.Disconnected):
        receiver.receive(timeout=PATIENCE)


def test_any_kind_of_object_comes_out_as_what_it_is_and_in_order(manager):
    channel = manager.channel(8)
    sent = [manager.value(7), manager.array([1.0]), manager.List(), manager.bytes(b"abc"), manager.freeze([1, 2]), manager.channel(2)]
    with channel.sender() as sender:
        for proxy in sent:
            sender.send(proxy)
        assert len(channel) == 6 and channel.capacity == 8 and channel.kind == "channel"
    received = list(channel.receiver())
    assert received == sent and [type(proxy) for proxy in received] == [type(proxy) for proxy in sent]
    assert isinstance(received[-1], sharehold.Channel)


def test_what_was_sent_and_forgotten_is_held_by_the_channel_alone(manager):
    channel = manager.channel(4)
    with channel.sender() as sender:
        for number in range(4):
            sender.send(manager.array([number]))
        gc.collect()
        assert manager.number_of_objects() == 5
        with pytest.raises(sharehold.Timeout):
            sender.send(manager.value(1), timeout=0)
        with pytest.raises(sharehold.Timeout):
            sender.send(manager.value(1), timeout=0.01)
    assert [array.tolist() for array in channel.receiver()] == [[0], [1], [2], [3]]
    assert channel, "a proxy is true, also with nothing in it"
    gc.collect()
    assert manager.number_of_objects() == 1


def test_an_empty_channel_tells_apart_nothing_yet_and_nothing_any_more(manager):
    channel = manager.channel(2)
    receiver = channel.receiver()
    for timeout in (0, 0.01):
        with pytest.raises(sharehold.Timeout):
            receiver.receive(timeout=timeout)
    channel.close()
    assert channel.closed
    with pytest.raises(sharehold.Disconnected):
        receiver.receive()
    with pytest.raises(sharehold.Disconnected):
        channel.sender().send(channel)
    receiver.close()
    with pytest.raises(ValueError, match="closed"):
        receiver.receive()


def test_one_for_single_ends_refuses_a_second_one(manager):
    channel = manager.channel(2, single=True)
    first = channel.receiver()
    with pytest.raises(sharehold.Refused):
        channel.receiver()
    first.close()
    channel.receiver()


def test_a_channel_is_found_by_name_and_by_ticket(manager):
    channel = manager.channel(2)
    manager.publish("work", channel)
    sender = manager.redeem(channel.ticket()).sender()
    sender.send(manager.value(3))
    assert manager.lookup("work").receiver().receive().get() == 3
    assert copy.copy(channel) == channel


def test_threads_that_wait_at_one_end_hold_up_neither_each_other_nor_the_interpreter(manager):
    channel = manager.channel(4)
    receiver, got = channel.receiver(), []
    threads = [threading.Thread(target=lambda: got.append(receiver.receive(timeout=PATIENCE).get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    with channel.sender() as sender:
        sender.send(manager.value(1))
        sender.send(manager.value(2))
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(got) == [1, 2]


def test_a_receiver_is_told_when_the_only_sender_is_killed(manager, child):
    channel = manager.channel(4)
    one = child(helpers.send_and_wait, channel)
    assert one.hear() == "sent"
    receiver = channel.receiver()
    one.kill()
    assert receiver.receive(timeout=PATIENCE).get() == 5, "what was sent is there"
    with pytest.raises(sharehold.Disconnected):
        receiver.receive(timeout=PATIENCE)


def test_a_wait_is_ended_by_control_c(manager, child):
    channel = manager.channel(4)
    one = child(helpers.receive_and_tell, channel)
    assert one.hear() == "waits"
    one.interrupt()
    assert one.hear() == "KeyboardInterrupt"
    one.end()
