//! A process that forks while it holds proxies: both sides go on with what they have, and each gives back its own.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test that can't go on fails")]
#![allow(unsafe_code, reason = "there is no safe fork")]

mod common;

use std::cell::UnsafeCell;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Actor, eventually, listen, role, say};
use sharehold::{Array, Channel, ErrorKind, List, Manager, Object, Proxy, Ticket, TicketOptions, Value, check};

fn parse(text: &str) -> Ticket {
    text.parse().expect("a ticket")
}

/// Forks. In the child it is 0.
fn fork() -> i32 {
    // SAFETY: the child works on what it has inherited, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child == 0 {
        // A child may find a lock of the standard library taken by a thread that it has not got, as one that is just panicking. It ends all the same.
        // SAFETY: the system ends this process in a while.
        unsafe { libc::alarm(2 * common::PATIENCE.as_secs() as u32) };
    }
    child
}

/// The whole life of a child: it does its work and ends at once, as one that was killed does.
fn leave(work: impl FnOnce()) -> ! {
    let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
    // SAFETY: ends the child without running what the parent registered.
    unsafe { libc::_exit(i32::from(failed)) }
}

/// Waits for a child that has done what it was to do.
fn join(child: i32) {
    let mut status = 0;
    // SAFETY: waits for a child; the pointer is to a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed");
}

/// The entry of every process that a test of this file starts. Without a role it has nothing to do.
#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    let argument = |at: usize| arguments[at].as_str();
    match role.as_str() {
        "parent_drops" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let more = array.clone();
            let child = fork();
            if child == 0 {
                leave(|| {
                    listen();
                    say(more.read().expect("readable").iter().sum::<u64>());
                    more.write().expect("writable")[0] = 100;
                    say(std::process::id());
                    listen();
                });
            }
            drop((array, more));
            say(child);
            join(child);
        }
        "child_drops" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let more = vec![array.clone(), array.clone()];
            let (mut done, mut tell) = std::io::pipe().expect("a pipe");
            let child = fork();
            if child == 0 {
                leave(|| {
                    drop(more);
                    let last = array;
                    drop(last);
                    tell.write_all(b"!").expect("told");
                    listen();
                });
            }
            done.read_exact(&mut [0]).expect("the child has dropped");
            say(child);
            join(child);
        }
        other => more_roles(other, &arguments),
    }
}

fn more_roles(role: &str, arguments: &[String]) {
    let argument = |at: usize| arguments[at].as_str();
    match role {
        "ends_stay" => {
            let channel: Channel<Array<u64>> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let array: Array<u64> = sharehold::redeem(&parse(argument(1))).expect("redeemed");
            let sender = channel.sender().expect("free");
            sender.send(array.clone()).expect("room");
            let child = fork();
            if child == 0 {
                leave(|| {
                    let refused = sender.send(array).expect_err("it is the parent's");
                    assert_eq!(refused.kind(), ErrorKind::Forked);
                    assert_eq!(refused.proxy.read().expect("readable").iter().sum::<u64>(), 6);
                    drop(sender);
                    // One of its own works, also for what comes later.
                    let receiver = channel.receiver().expect("free");
                    let sums = receiver
                        .iter()
                        .map(|array| array.expect("whole").read().expect("readable").iter().sum::<u64>());
                    assert_eq!(sums.sum::<u64>(), 12);
                });
            }
            sender.send(array).expect("room");
            drop((sender, channel));
            join(child);
            say("joined");
            listen();
        }
        "hold_both" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let child = fork();
            if child == 0 {
                leave(|| {
                    let _held = &array;
                    // It is killed long before.
                    std::thread::sleep(common::PATIENCE);
                });
            }
            say(child);
            while listen().is_some() {}
        }
        "prefork" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let many: usize = argument(1).parse().expect("a number");
            let (mut wait, go) = std::io::pipe().expect("a pipe");
            let children: Vec<i32> = (0..many)
                .map(|_| {
                    let child = fork();
                    if child == 0 {
                        leave(|| {
                            assert_eq!(array.read().expect("readable").iter().sum::<u64>(), 6);
                            say("reads");
                            let _ = wait.read(&mut [0]);
                        });
                    }
                    child
                })
                .collect();
            say("forked");
            listen();
            drop(wait);
            drop(go);
            children.iter().for_each(|child| {
                // SAFETY: ends a child of this process.
                assert_eq!(unsafe { libc::kill(*child, libc::SIGKILL) }, 0);
            });
        }
        "generations" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let child = fork();
            if child == 0 {
                leave(|| {
                    let mine = array.clone();
                    let grandchild = fork();
                    if grandchild == 0 {
                        leave(|| {
                            let theirs = mine.clone();
                            say(theirs.read().expect("readable").iter().sum::<u64>());
                            say(std::process::id());
                            listen();
                        });
                    }
                    drop((array, mine));
                    join(grandchild);
                });
            }
            join(child);
        }
        "exec" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let mut command = Command::new("true");
            // SAFETY: the closure does nothing. It has the standard library fork.
            unsafe { command.pre_exec(|| Ok(())) };
            for _ in 0..20 {
                assert!(command.status().expect("it runs").success());
                assert!(Command::new("true").status().expect("it runs").success());
            }
            say(array.read().expect("readable").iter().sum::<u64>());
            listen();
        }
        "guards" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let other: Array<u64> = sharehold::redeem(&parse(argument(1))).expect("redeemed");
            let mut writing = array.write().expect("writable");
            writing[0] = 10;
            let reading = other.read().expect("readable");
            let child = fork();
            if child == 0 {
                leave(|| {
                    drop(writing);
                    say(reading.iter().sum::<u64>());
                    listen();
                    drop(reading);
                    say("no longer reads");
                    listen();
                });
            }
            say("forked");
            join(child);
            // The lock is still this process's.
            writing[1] = 20;
            drop((writing, reading));
            say("let go");
            listen();
        }
        "without_a_broker" => {
            let manager = Manager::connect(argument(0)).expect("connected");
            let value = manager.value(7_u64).expect("created");
            say("ready");
            listen();
            let child = fork();
            if child == 0 {
                leave(|| {
                    drop(value.clone());
                    let kinds = [
                        value.set(9).expect_err("inert").kind(),
                        value.ticket().expect_err("inert").kind(),
                        manager.value(1_u8).expect_err("inert").kind(),
                    ];
                    say(format!("{kinds:?}"));
                    drop((value, manager));
                });
            }
            join(child);
            value.set(8).expect("the parent goes on");
            say(value.get().expect("readable"));
        }
        "calls" => {
            let manager = Manager::connect(argument(0)).expect("connected");
            let list: List = manager.lookup("list").expect("found");
            list.push("parent").expect("called");
            let child = fork();
            if child == 0 {
                leave(|| {
                    list.push("child").expect("called");
                    let made = manager.value(5_u8).expect("created");
                    manager.publish("made", &made).expect("published");
                    say(format!("{:?}", manager.child_pid()));
                    listen();
                });
            }
            list.push("parent").expect("called");
            join(child);
            list.push("parent").expect("called");
            say("done");
            listen();
        }
        "comes_back" => {
            let array: Array<u64> = sharehold::redeem(&parse(argument(0))).expect("redeemed");
            let child = fork();
            if child == 0 {
                leave(|| {
                    assert_eq!(array.read().expect("readable").len(), 3);
                    say("ready");
                    listen();
                    let manager = Manager::connect(argument(1)).expect("the session is there");
                    let value = manager.value(1_u8).expect("created by the new broker");
                    say(manager.object_info(value.id()).expect("known").holders[0].pid == std::process::id());
                    listen();
                });
            }
            drop(array);
            join(child);
        }
        "storm" => storm(&parse(argument(0)), argument(1)),
        other => panic!("there is no role {other}"),
    }
}

/// What all threads of the storm share, and its children inherit: arrays with what is in them. A lock that an allocator could have: it is held over each fork, taken by a handler of
/// the fork that comes after the library's own.
struct Cache {
    is_locked: AtomicBool,
    arrays: UnsafeCell<Vec<(Array<u64>, [u64; 3])>>,
}

// SAFETY: the arrays are only touched by `with`, under the lock.
unsafe impl Sync for Cache {}

static CACHE: Cache = Cache { is_locked: AtomicBool::new(false), arrays: UnsafeCell::new(Vec::new()) };

extern "C" fn lock_cache() {
    while CACHE.is_locked.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn unlock_cache() {
    CACHE.is_locked.store(false, Ordering::Release);
}

impl Cache {
    fn with<R>(&self, work: impl FnOnce(&mut Vec<(Array<u64>, [u64; 3])>) -> R) -> R {
        lock_cache();
        // SAFETY: the lock is held.
        let result = work(unsafe { &mut *self.arrays.get() });
        unlock_cache();
        result
    }
}

/// Threads clone, drop, redeem and look up while another forks.
fn storm(ticket: &Ticket, name: &str) {
    const FORKS: usize = 200;
    // Before the library's own, so it runs after them.
    // SAFETY: the handlers are functions of this program.
    assert_eq!(unsafe { libc::pthread_atfork(Some(lock_cache), Some(unlock_cache), Some(unlock_cache)) }, 0);
    let manager = Manager::connect(name).expect("connected");
    let shared: Array<u64> = manager.redeem(ticket).expect("redeemed");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let (shared, manager, ended) = (shared.clone(), manager.clone(), &ended);
            scope.spawn(move || {
                for round in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let copies = vec![shared.clone(); 10];
                    let elements = [thread, round, thread ^ round];
                    let fresh = manager.array(&elements).expect("created");
                    let taken: Array<u64> = manager.redeem(&fresh.ticket().expect("issued")).expect("redeemed");
                    drop(fresh);
                    let found: Array<u64> = manager.lookup("shared").expect("found");
                    assert_eq!(*found.read().expect("readable"), [1, 2, 3]);
                    let gone = CACHE.with(|arrays| {
                        arrays.push((taken, elements));
                        let many = if arrays.len() > 20 { 10 } else { 0 };
                        arrays.drain(..many).collect::<Vec<_>>()
                    });
                    drop((gone, copies));
                }
            });
        }
        let forked = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..FORKS {
                let child = fork();
                if child == 0 {
                    leave(|| {
                        let inherited = CACHE.with(std::mem::take);
                        // The parent drops its own meanwhile, and others get their memory.
                        for _ in 0..20 {
                            let copies = inherited.clone();
                            for (array, elements) in &copies {
                                assert_eq!(array.read().expect("the child has it")[..], elements[..]);
                            }
                            assert_eq!(*shared.read().expect("the child has it"), [1, 2, 3]);
                            std::thread::yield_now();
                        }
                    });
                }
                join(child);
            }
        }));
        // The others end also if a child has failed.
        ended.store(true, Ordering::Relaxed);
        if let Err(failure) = forked {
            std::panic::resume_unwind(failure);
        }
    });
    CACHE.with(Vec::clear);
    drop(shared);
    say("done");
    listen();
}

fn an_array(manager: &Manager) -> String {
    manager.array(&[1_u64, 2, 3]).expect("created").ticket().expect("issued").to_string()
}

fn is_clean(manager: &Manager) {
    eventually("everything is given back", || manager.number_of_objects().expect("count") == 0);
    eventually("all sessions but ours have ended", || manager.stats().expect("told").sessions == 2);
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
}

#[test]
fn a_child_keeps_what_its_parent_lets_go() {
    let manager = Manager::start().expect("started");
    let mut actor = Actor::start("parent_drops", &[&an_array(&manager)]);
    let child = actor.hear();
    let info = &manager.debug_info().expect("info")[0];
    eventually("only the child holds it", || {
        let holders = manager.object_info(info.id).expect("it lives").holders;
        holders.len() == 1 && holders[0].pid.to_string() == child && holders[0].proxies == 2
    });
    actor.tell("read");
    assert_eq!((actor.hear(), actor.hear()), ("6".into(), child));
    actor.end();
    is_clean(&manager);
}

#[test]
fn a_parent_keeps_what_its_child_lets_go() {
    let manager = Manager::start().expect("started");
    let actor = Actor::start("child_drops", &[&an_array(&manager)]);
    let child = actor.hear();
    let info = &manager.debug_info().expect("info")[0];
    let proxies: Vec<(u32, u32)> = info.holders.iter().map(|holder| (holder.pid, holder.proxies)).collect();
    assert_eq!(proxies, [(actor.pid(), 3)], "the child, {child}, has dropped its own");
    actor.end();
    is_clean(&manager);
}

#[test]
fn either_may_be_killed_at_once() {
    let manager = Manager::start().expect("started");
    for parent_first in [true, false] {
        let actor = Actor::start("hold_both", &[&an_array(&manager)]);
        let child = actor.hear();
        let kill = || assert!(Command::new("kill").args(["-9", &child]).status().expect("kill runs").success());
        let id = manager.debug_info().expect("info")[0].id;
        let holders = || manager.object_info(id).map_or(0, |info| info.holders.len());
        assert_eq!(holders(), 2);
        if parent_first {
            actor.kill();
            eventually("the parent's row is swept", || holders() == 1);
            kill();
        } else {
            kill();
            eventually("the child's row is swept", || holders() == 1);
            actor.kill();
        }
        is_clean(&manager);
    }
}

#[test]
fn threads_clone_drop_and_redeem_while_another_forks() {
    let manager = Manager::start().expect("started");
    let array = manager.array(&[1_u64, 2, 3]).expect("created");
    manager.publish("shared", &array).expect("published");
    let ticket = array.ticket_with(TicketOptions { uses: 1, deadline: None }).expect("issued").to_string();
    drop(array);
    let actor = Actor::start("storm", &[&ticket, manager.name()]);
    // Each fork is a step of its own; how long all of them take depends on the machine.
    assert_eq!(actor.hear_within(Duration::from_secs(180)).as_deref(), Some("done"));
    manager.unpublish("shared").expect("removed");
    eventually("nothing is left", || manager.number_of_objects().expect("count") == 0);
    assert_eq!(check(manager.name()).expect("checked").findings, Vec::<String>::new());
    actor.end();
    is_clean(&manager);
}

#[test]
fn a_program_that_is_executed_holds_nothing() {
    let manager = Manager::start().expect("started");
    let actor = Actor::start("exec", &[&an_array(&manager)]);
    assert_eq!(actor.hear(), "6");
    eventually("what was executed has no session", || manager.stats().expect("told").sessions == 3);
    let info = &manager.debug_info().expect("info")[0];
    assert_eq!((info.holders.len(), info.holders[0].pid, info.holders[0].proxies), (1, actor.pid(), 1));
    actor.end();
    is_clean(&manager);
}

#[test]
fn a_child_of_a_child_has_a_session_too() {
    let manager = Manager::start().expect("started");
    let mut actor = Actor::start("generations", &[&an_array(&manager)]);
    assert_eq!(actor.hear(), "6");
    let grandchild = actor.hear();
    let id = manager.debug_info().expect("info")[0].id;
    let pids = || -> Vec<String> {
        manager.object_info(id).expect("alive").holders.iter().map(|holder| holder.pid.to_string()).collect()
    };
    // The first of them never lets go.
    eventually("the one in the middle has let go", || {
        let pids = pids();
        pids.len() == 2 && pids.contains(&grandchild) && pids.contains(&actor.pid().to_string())
    });
    actor.tell("end");
    actor.end();
    is_clean(&manager);
}

#[test]
fn more_children_than_a_process_may_have_sessions() {
    let manager = Manager::start().expect("started");
    let mut actor = Actor::start("prefork", &[&an_array(&manager), "80"]);
    let mut heard: Vec<String> = (0..81).map(|_| actor.hear()).collect();
    heard.retain(|said| said == "reads");
    assert_eq!(heard.len(), 80);
    eventually("each has a session", || manager.debug_info().expect("info")[0].holders.len() == 81);
    actor.tell("end");
    actor.end();
    is_clean(&manager);
}

#[test]
fn a_write_guard_stays_with_the_parent_and_a_read_guard_is_had_by_both() {
    let manager = Manager::start().expect("started");
    let (written, read) = (manager.array(&[1_u64, 2]).expect("created"), manager.array(&[3_u64, 4]).expect("created"));
    let tickets = [&written, &read].map(|array| array.ticket().expect("issued").to_string());
    let mut actor = Actor::start("guards", &[&tickets[0], &tickets[1]]);
    let mut said = [actor.hear(), actor.hear()];
    said.sort();
    assert_eq!(said, ["7", "forked"]);
    let soon = Duration::from_millis(20);
    // The child has dropped its image of the guard.
    assert_eq!(written.write_for(soon).err().expect("the parent writes").kind(), ErrorKind::Timeout);
    assert_eq!(read.write_for(soon).err().expect("both read").kind(), ErrorKind::Timeout);
    actor.tell("drop");
    assert_eq!(actor.hear(), "no longer reads");
    assert_eq!(read.write_for(soon).err().expect("the parent reads").kind(), ErrorKind::Timeout);
    actor.tell("end");
    assert_eq!(actor.hear(), "let go");
    assert_eq!(*written.read().expect("whole"), [10, 20]);
    assert!(read.write().is_ok());
    actor.end();
    drop((written, read));
    is_clean(&manager);
}

#[test]
fn the_ends_of_a_channel_stay_with_the_parent() {
    let manager = Manager::start().expect("a broker");
    let channel: Channel<Array<u64>> = manager.channel(4).expect("created");
    let ticket = channel.ticket().expect("issued").to_string();
    drop(channel);
    let forks = Actor::start("ends_stay", &[&ticket, &an_array(&manager)]);
    assert_eq!(forks.hear(), "joined");
    eventually("nothing is left", || manager.number_of_objects().expect("told") == 0);
    forks.end();
    is_clean(&manager);
}

#[test]
fn a_child_that_is_forked_without_a_broker_does_nothing_and_says_so() {
    let manager = Manager::start().expect("started");
    let mut actor = Actor::start("without_a_broker", &[manager.name()]);
    assert_eq!(actor.hear(), "ready");
    manager.shutdown().expect("it was there");
    eventually("the broker is gone", || manager.stats().is_err());
    actor.tell("fork");
    assert_eq!(actor.hear(), "[Forked, Forked, Forked]");
    assert_eq!(actor.hear(), "8");
    actor.end();
}

#[test]
fn both_call_create_and_publish_over_connections_of_their_own() {
    let manager = Manager::start().expect("started");
    let list = List::new(&manager).expect("created");
    manager.publish("list", &list).expect("published");
    let mut actor = Actor::start("calls", &[manager.name()]);
    // The broker is no child of either.
    assert_eq!(actor.hear(), "None");
    let made: Value<u8> = manager.lookup("made").expect("found");
    assert_eq!(made.get().expect("readable"), 5);
    actor.tell("end");
    assert_eq!(actor.hear(), "done");
    assert_eq!(list.len().expect("called"), 4);
    actor.end();
    manager.unpublish("made").expect("removed");
    manager.unpublish("list").expect("removed");
    drop((list, made));
    is_clean(&manager);
}

#[test]
fn a_child_comes_back_to_the_next_broker() {
    let manager = Manager::start().expect("started");
    let mut actor = Actor::start("comes_back", &[&an_array(&manager), manager.name()]);
    assert_eq!(actor.hear(), "ready");
    let broker = manager.child_pid().expect("our child").to_string();
    assert!(Command::new("kill").args(["-9", &broker]).status().expect("kill runs").success());
    eventually("the broker is gone", || manager.value(0_u8).is_err());
    manager.restart().expect("started again");
    assert_eq!(manager.number_of_objects().expect("count"), 1);
    actor.tell("create");
    assert_eq!(actor.hear(), "true");
    actor.end();
    is_clean(&manager);
}

#[test]
fn the_child_of_a_program_with_a_broker_does_not_end_it() {
    let manager = Manager::start().expect("started");
    let value = manager.value(3_u8).expect("created");
    let child = fork();
    if child == 0 {
        leave(|| {
            assert_eq!(manager.child_pid(), None);
            assert_eq!(value.get().expect("readable"), 3);
            drop((value, manager));
        });
    }
    join(child);
    let object: Object = manager.redeem(&value.ticket().expect("issued")).expect("redeemed");
    assert_eq!(object.id(), value.id());
    assert!(manager.child_pid().is_some());
    eventually("the child has left", || manager.stats().expect("told").sessions == 2);
}

/// A class whose methods fork, as one that runs another program does.
#[derive(Default)]
pub struct Forker;

#[sharehold::class]
impl Forker {
    /// One that has not forked yet.
    pub fn new() -> Self {
        Self
    }

    /// What the child sees of what the method holds.
    pub fn fork_and_tell(&self, held: Array<u64>) -> String {
        let (mut told, mut tell) = std::io::pipe().expect("a pipe");
        let child = fork();
        if child == 0 {
            leave(|| {
                let kinds =
                    [held.ticket().map(drop), held.read().map(drop)].map(|result| result.map_err(|error| error.kind()));
                drop(held.clone());
                drop(held);
                tell.write_all(format!("{kinds:?}").as_bytes()).expect("told");
            });
        }
        drop(tell);
        join(child);
        let mut said = String::new();
        told.read_to_string(&mut said).expect("the child has spoken");
        said
    }

    /// The child comes back from the method as its parent does.
    pub fn fork_and_return(&self) -> bool {
        let child = fork();
        if child != 0 {
            join(child);
        }
        child == 0
    }

    /// A child that stays.
    pub fn fork_and_stay(&self) -> i32 {
        let child = fork();
        if child == 0 {
            leave(|| std::thread::sleep(common::PATIENCE));
        }
        child
    }
}

#[test]
fn a_method_may_fork_and_its_child_is_nobody() {
    let manager = Manager::builder().class::<Forker>().start().expect("started");
    let forker = ForkerProxy::new(&manager).expect("created");
    let array = manager.array(&[1_u64, 2, 3]).expect("created");
    let said = forker.fork_and_tell(array.clone()).expect("called");
    assert_eq!(said, "[Err(Forked), Err(Forked)]");
    // Only the parent answers.
    for _ in 0..5 {
        assert!(!forker.fork_and_return().expect("called"));
    }
    // Who inherits the broker's connections does not keep them open.
    let child = forker.fork_and_stay().expect("called");
    let broker = manager.child_pid().expect("our child").to_string();
    assert!(Command::new("kill").args(["-9", &broker]).status().expect("kill runs").success());
    eventually("the broker's end is seen", || {
        manager.value(0_u8).is_err_and(|error| error.kind() == ErrorKind::BrokerGone)
    });
    // SAFETY: a child of the dead broker, which nobody else waits for.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    assert_eq!(*array.read().expect("readable"), [1, 2, 3]);
    // The next one clears up what a broker leaves that was killed.
    manager.restart().expect("started again");
}
