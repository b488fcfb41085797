//! Objects are handed over through channels: none is lost, none is seen twice, none outlives its holders, whoever dies or is stopped meanwhile.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::time::Duration;

use common::served::{Served, serve};
use common::{Actor, PATIENCE, eventually, listen, role, say};
use sharehold::{
    Array, Broker, Channel, ErrorKind, List, Manager, Object, Proxy, Receiver, Sender, Ticket, Value, check,
};

const STOP: i32 = 19;
const GO_ON: i32 = 18;

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    let connect = || Manager::connect(&arguments[0]).expect("connected");
    let channel = |name: &str| connect().lookup::<Channel<Value<u64>>>(name).expect("published");
    match role.as_str() {
        "serve" => serve(&arguments, Broker::builder().capacity(1 << 24)).expect("served"),
        // Sends numbers, and counts them aloud when it is told.
        "send" => {
            let (manager, sender) = (connect(), channel("there").sender().expect("room"));
            say("sends");
            for number in arguments[1].parse().expect("a number")..u64::MAX {
                let value = manager.value(number).expect("created");
                if sender.send(value).is_err() {
                    break;
                }
            }
        }
        // Receives numbers for ever.
        "receive" => {
            let receiver = channel("there").receiver().expect("room");
            say("receives");
            while receiver.recv().is_ok() {}
        }
        // Waits for one, with a limit that is never reached.
        "wait" => {
            let receiver = channel("there").receiver().expect("room");
            say("waits");
            let received = receiver.recv_timeout(PATIENCE);
            say(received
                .map_or_else(|error| format!("{:?}", error.kind()), |value| value.get().expect("read").to_string()));
            listen();
        }
        // Has both ends, and does nothing with them.
        "sit" => {
            let channel = channel(&arguments[1]);
            let _ends = (channel.sender().expect("free"), channel.receiver().expect("free"));
            say("sits");
            listen();
        }
        // Has the region mapped for reading.
        "read" => {
            let manager = Manager::builder().read_only().connect(&arguments[0]).expect("connected");
            let channel: Channel<Value<u64>> = manager.lookup("there").expect("published");
            let (sender, receiver, closed) = (channel.sender().err(), channel.receiver().err(), channel.close().err());
            let refused = [sender, receiver, closed].map(|error| format!("{:?}", error.expect("refused").kind()));
            say(format!("{} of {}: {}", channel.len(), channel.capacity(), refused.join(", ")));
            listen();
        }
        // Fills the channel, and waits for room.
        "fill" => {
            let (manager, sender) = (connect(), channel("there").sender().expect("room"));
            while sender.try_send(manager.value(1).expect("created")).is_ok() {}
            say("full");
            let sent = sender.send_timeout(manager.value(2).expect("created"), PATIENCE);
            say(sent.map_or_else(|error| format!("{:?}", error.kind()), |()| "sent".into()));
            listen();
        }
        // Takes numbers from one channel, and puts them into another, one more each.
        "echo" => {
            let (there, back) = (channel("there").receiver().expect("free"), channel("back").sender().expect("free"));
            say("echoes");
            for value in there.iter() {
                let value = value.expect("whole");
                value.update(|number| *number += 1).expect("changed");
                back.send(value).expect("sent");
            }
        }
        other => panic!("there is no role {other}"),
    }
}

fn number(value: &Value<u64>) -> u64 {
    value.get().expect("read")
}

fn is_whole(name: &str) {
    eventually("a check finds nothing", || check(name).expect("checked").findings.is_empty());
}

fn ends(channel: &Channel<Value<u64>>) -> (Sender<Value<u64>>, Receiver<Value<u64>>) {
    (channel.sender().expect("free"), channel.receiver().expect("free"))
}

#[test]
fn what_is_sent_is_the_channels_until_it_is_received() {
    let manager = Manager::start().expect("a broker");
    let channel: Channel<Array<u8>> = manager.channel(3).expect("created");
    assert_eq!((channel.capacity(), channel.len()), (4, 0));
    let (sender, receiver) = (channel.sender().expect("free"), channel.receiver().expect("free"));
    let array = manager.array(&[1, 2, 3]).expect("created");
    let id = array.id();
    let kept = array.clone();
    sender.send(array).expect("room");
    let info = manager.object_info(id).expect("alive");
    assert_eq!((info.pins, info.proxies()), (1, 1));
    let listed = manager.object_info(channel.id()).expect("alive");
    assert_eq!((listed.queued, listed.capacity, listed.type_name.as_str()), (Some(1), Some(4), "Array<u8>"));
    drop(kept);
    assert_eq!(manager.audit().expect("audited").repaired, 0);
    let received = receiver.try_recv().expect("whole").expect("there");
    let info = manager.object_info(id).expect("alive");
    assert_eq!((received.id(), info.pins, info.proxies()), (id, 0, 1));
    assert_eq!(*received.read().expect("read"), [1, 2, 3]);
    drop(received);
    assert_eq!(manager.object_info(id).expect_err("gone").kind(), ErrorKind::Gone);
    assert!(receiver.try_recv().expect("whole").is_none());
    is_whole(manager.name());
}

#[test]
fn any_proxy_can_be_sent_also_a_channel() {
    let manager = Manager::start().expect("a broker");
    let inner: Channel<List> = manager.channel(1).expect("created");
    let outer: Channel<Channel<List>> = manager.channel(1).expect("created");
    let any: Channel<Object> = manager.channel(8).expect("created");
    let list = List::new(&manager).expect("hosted");
    list.push(7).expect("pushed");
    inner.sender().expect("free").send(list).expect("room");
    outer.sender().expect("free").send(inner).expect("room");
    let sender = any.sender().expect("free");
    let objects = [
        manager.archive(&vec![String::from("a")]).expect("created").ticket().expect("issued"),
        manager.freeze(&[1_u8]).expect("created").ticket().expect("issued"),
        outer.ticket().expect("issued"),
    ];
    drop(outer);
    for ticket in objects {
        sender.send(manager.redeem(&ticket).expect("redeemed")).expect("room");
    }
    let receiver = any.receiver().expect("free");
    let kinds: Vec<String> = receiver
        .try_iter()
        .map(|object| object.expect("whole"))
        .map(|object| {
            let kind = object.kind().expect("known").to_string();
            if kind == "channel" {
                let outer: Channel<Channel<List>> = object.downcast().expect("it is");
                let inner = outer.receiver().expect("free").recv().expect("there");
                let list = inner.receiver().expect("free").recv().expect("there");
                assert_eq!(list.len().expect("called"), 1);
            }
            kind
        })
        .collect();
    assert_eq!(kinds, ["archive", "frozen", "channel"]);
    drop((any, sender, receiver));
    eventually("all is freed", || manager.stats().expect("told").heap_used == 0);
    eventually("nothing is left", || manager.number_of_objects().expect("told") == 0);
}

#[test]
fn a_channel_of_something_else_is_an_error_that_names_both() {
    let manager = Manager::start().expect("a broker");
    let channel: Channel<Value<u64>> = manager.channel(1).expect("created");
    manager.publish("numbers", &channel).expect("published");
    let error = manager.lookup::<Channel<Value<f64>>>("numbers").expect_err("another type");
    assert_eq!(error.kind(), ErrorKind::TypeMismatch);
    assert!(error.message().ends_with("is channel of Value<u64>, not channel of Value<f64>"), "{error}");
    let error = manager.lookup::<Array<u64>>("numbers").expect_err("another kind");
    assert!(error.message().ends_with("is channel of Value<u64>, not array of u64"), "{error}");
}

#[test]
fn what_can_not_be_sent_is_given_back() {
    let manager = Manager::start().expect("a broker");
    let channel: Channel<Value<u64>> = manager.channel(1).expect("created");
    let (sender, receiver) = ends(&channel);
    sender.send(manager.value(1).expect("created")).expect("room");
    let full = sender.try_send(manager.value(2).expect("created")).expect_err("full");
    assert_eq!((full.kind(), number(&full.proxy)), (ErrorKind::ChannelFull, 2));
    let late = sender.send_timeout(full.proxy, Duration::from_millis(3)).expect_err("full");
    assert_eq!((late.kind(), number(&late.proxy)), (ErrorKind::Timeout, 2));
    drop(receiver);
    let gone = sender.send(late.proxy).expect_err("nobody receives");
    assert_eq!((gone.kind(), number(&gone.proxy)), (ErrorKind::Disconnected, 2));
    // One that comes later takes up what is there.
    let receiver = channel.receiver().expect("free");
    assert_eq!(number(&receiver.recv().expect("there")), 1);
    sender.send(gone.proxy).expect("room");
    channel.close().expect("closed");
    assert_eq!(sender.send(manager.value(3).expect("created")).expect_err("closed").kind(), ErrorKind::Disconnected);
    assert_eq!(receiver.iter().map(|value| number(&value.expect("whole"))).collect::<Vec<_>>(), [2]);
    assert_eq!(receiver.recv_timeout(PATIENCE).expect_err("closed").kind(), ErrorKind::Disconnected);
    let other = Manager::start().expect("another broker");
    let foreign = other.value(1).expect("created");
    let channel: Channel<Value<u64>> = manager.channel(1).expect("created");
    let refused = channel.sender().expect("free").send(foreign).expect_err("of another broker");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let any: Channel<Object> = manager.channel(1).expect("created");
    let itself: Object = manager.redeem(&any.ticket().expect("issued")).expect("redeemed");
    let refused = any.sender().expect("free").send(itself).expect_err("it would never be freed");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_single_channel_has_one_end_of_each_kind_in_all_processes() {
    let served = Served::start("single", "memfd");
    let manager = served.manager();
    let channel: Channel<Value<u64>> = manager.single_channel(4).expect("created");
    manager.publish("there", &channel).expect("published");
    let sits = Actor::start("sit", &[manager.name(), "there"]);
    assert_eq!(sits.hear(), "sits");
    let error = channel.sender().expect_err("there is one");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains(&format!("process {}", sits.pid())), "{error}");
    sits.kill();
    eventually("the ends of the dead are free", || channel.sender().is_ok() && channel.receiver().is_ok());
    let (_sender, receiver) = ends(&channel);
    assert_eq!(channel.receiver().expect_err("there is one").kind(), ErrorKind::Refused);
    drop(receiver);
    channel.receiver().expect("free again");
}

#[test]
fn a_reader_may_look_and_not_send_or_receive() {
    let manager = Manager::start().expect("a broker");
    let channel: Channel<Value<u64>> = manager.channel(4).expect("created");
    channel.sender().expect("free").send(manager.value(1).expect("created")).expect("room");
    manager.publish("there", &channel).expect("published");
    let reader = Actor::start("read", &[manager.name()]);
    assert_eq!(reader.hear(), "1 of 4: ReadOnly, ReadOnly, ReadOnly");
    reader.end();
}

#[test]
fn many_threads_and_processes_hand_over_everything_once() {
    let served = Served::start("many", "memfd");
    let manager = served.manager();
    let there: Channel<Value<u64>> = manager.channel(4).expect("created");
    let back: Channel<Value<u64>> = manager.channel(64).expect("created");
    manager.publish("there", &there).expect("published");
    manager.publish("back", &back).expect("published");
    let echoes = [(); 2].map(|()| Actor::start("echo", &[manager.name()]));
    echoes.iter().for_each(|echo| assert_eq!(echo.hear(), "echoes"));
    const EACH: u64 = 300;
    let sums: u64 = std::thread::scope(|scope| {
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let receiver = back.receiver().expect("free");
                scope.spawn(move || {
                    receiver
                        .iter()
                        .map(|value| number(&value.expect("whole")))
                        .fold((0, 0), |(n, sum), x| (n + 1, sum + x))
                })
            })
            .collect();
        let senders: Vec<_> = (0..2_u64)
            .map(|thread| {
                let (manager, sender) = (manager.clone(), there.sender().expect("free"));
                scope.spawn(move || {
                    for number in 0..EACH {
                        let value = manager.value(2 * number + thread).expect("created");
                        sender.send(value).expect("somebody receives");
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().expect("sent"));
        // The last sender of `there` has gone, so the echoes end, and then `back` has no sender.
        let all: Vec<(u64, u64)> = receivers.into_iter().map(|receiver| receiver.join().expect("received")).collect();
        assert_eq!(all.iter().map(|(count, _)| count).sum::<u64>(), 2 * EACH);
        all.iter().map(|(_, sum)| sum).sum()
    });
    assert_eq!(sums, (0..2 * EACH).map(|number| number + 1).sum::<u64>());
    echoes.into_iter().for_each(Actor::end);
    assert_eq!(manager.number_of_objects().expect("told"), 2);
    assert_eq!(manager.audit().expect("audited").repaired, 0);
    is_whole(manager.name());
}

#[test]
fn one_that_waits_is_told_when_the_others_were_killed() {
    let served = Served::start("told", "memfd");
    let manager = served.manager();
    let channel: Channel<Value<u64>> = manager.channel(2).expect("created");
    manager.publish("there", &channel).expect("published");
    let sender = Actor::start("fill", &[manager.name()]);
    assert_eq!(sender.hear(), "full");
    let receiver = channel.receiver().expect("free");
    sender.kill();
    let received: Vec<u64> = receiver.iter().map(|value| number(&value.expect("whole"))).collect();
    assert_eq!(received, [1, 1], "what was sent is received, whoever has died");
    let waits = Actor::start("fill", &[manager.name()]);
    assert_eq!(waits.hear(), "full");
    drop(receiver);
    assert_eq!(waits.hear(), "Disconnected");
    waits.end();
    eventually("only what is in the channel is left", || manager.number_of_objects().expect("told") == 3);
    is_whole(manager.name());
}

/// Stops all threads of a process: the signal is a request, which one of them carries out.
fn stop(actor: &Actor) {
    actor.signal(STOP);
    let is_stopped = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
    };
    eventually("all threads are stopped", || {
        std::fs::read_dir(format!("/proc/{}/task", actor.pid())).expect("it lives").flatten().all(is_stopped)
    });
}

#[test]
fn one_that_sleeps_is_woken_by_what_comes_and_by_a_close() {
    let served = Served::start("sleeps", "memfd");
    let manager = served.manager();
    let channel: Channel<Value<u64>> = manager.channel(2).expect("created");
    manager.publish("there", &channel).expect("published");
    let waits = [(); 2].map(|()| Actor::start("wait", &[manager.name()]));
    waits.iter().for_each(|wait| assert_eq!(wait.hear(), "waits"));
    // One that is stopped in the middle of it is in nobody's way.
    stop(&waits[0]);
    let sender = channel.sender().expect("free");
    sender.send(manager.value(5).expect("created")).expect("room");
    assert_eq!(waits[1].hear(), "5");
    waits[0].signal(GO_ON);
    channel.close().expect("closed");
    assert_eq!(waits[0].hear(), "Disconnected");
    waits.into_iter().for_each(Actor::end);
    is_whole(manager.name());
}

#[test]
fn processes_that_are_killed_while_they_send_and_receive_lose_only_what_they_had() {
    let served = Served::start("killed", "memfd");
    let manager = served.manager();
    let channel: Channel<Value<u64>> = manager.channel(4).expect("created");
    manager.publish("there", &channel).expect("published");
    let _ends = ends(&channel);
    for round in 0..12_u64 {
        let sends = Actor::start("send", &[manager.name(), &(round * 1_000_000).to_string()]);
        let receives = Actor::start("receive", &[manager.name()]);
        assert_eq!((sends.hear().as_str(), receives.hear().as_str()), ("sends", "receives"));
        let (first, second) = if round % 2 == 0 { (sends, receives) } else { (receives, sends) };
        // Somewhere in the middle: work of this process's own tells when, not the clock.
        for number in 0..(round * 37) % 200 {
            drop(manager.value(number).expect("created"));
        }
        first.kill();
        second.kill();
        eventually("what they had is given back", || {
            manager.number_of_objects().expect("told") == 1 + channel.len() as u64
        });
        assert_eq!(manager.audit().expect("audited").repaired, 0);
        is_whole(manager.name());
    }
    let receiver = channel.receiver().expect("free");
    receiver.try_iter().for_each(|value| drop(value.expect("whole")));
    eventually("nothing is lost", || manager.number_of_objects().expect("told") == 1);
}

#[test]
fn a_channel_outlives_its_broker_with_what_is_in_it() {
    for backing in ["memfd", "segment"] {
        let mut served = Served::start("outlives", backing);
        let manager = served.manager();
        let channel: Channel<Value<u64>> = manager.channel(4).expect("created");
        let (sender, receiver) = ends(&channel);
        for number in 0..3 {
            sender.send(manager.value(number).expect("created")).expect("room");
        }
        let (dies, with): (Channel<Value<u64>>, _) =
            (manager.channel(1).expect("created"), manager.value(9).expect("created"));
        dies.sender().expect("free").send(with).expect("room");
        served.kill();
        assert_eq!(number(&receiver.recv().expect("needs no broker")), 0);
        drop(dies);
        served.again();
        eventually("what has died meanwhile is freed", || {
            manager.stats().is_ok() && manager.number_of_objects().expect("told") == 3
        });
        sender.send(manager.value(3).expect("created")).expect("room");
        assert_eq!(manager.audit().expect("audited").repaired, 0);
        drop(sender);
        assert_eq!(receiver.iter().map(|value| number(&value.expect("whole"))).collect::<Vec<_>>(), [1, 2, 3]);
        is_whole(manager.name());
    }
}

#[test]
fn a_chain_of_channels_dies_without_recursion() {
    let manager = Manager::start().expect("a broker");
    let mut last: Channel<Object> = manager.channel(1).expect("created");
    for _ in 0..3000 {
        let next: Channel<Object> = manager.channel(1).expect("created");
        let object: Object = manager.redeem(&last.ticket().expect("issued")).expect("redeemed");
        next.sender().expect("free").send(object).expect("room");
        last = next;
    }
    assert_eq!(manager.number_of_objects().expect("told"), 3001);
    drop(last);
    eventually("all of them are freed", || manager.stats().expect("told").heap_used == 0);
    assert_eq!(manager.number_of_objects().expect("told"), 0);
}

#[test]
fn a_ticket_of_a_channel_brings_it_with_what_is_in_it() {
    let manager = Manager::start().expect("a broker");
    let channel: Channel<Value<u64>> = manager.channel(1).expect("created");
    channel.sender().expect("free").send(manager.value(4).expect("created")).expect("room");
    let ticket: Ticket = channel.ticket().expect("issued").to_string().parse().expect("a ticket");
    drop(channel);
    let channel: Channel<Value<u64>> = manager.redeem(&ticket).expect("redeemed");
    assert_eq!(number(&channel.receiver().expect("free").recv().expect("there")), 4);
}
