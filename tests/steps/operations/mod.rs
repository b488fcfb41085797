//! What a client does when it is killed, what another one does next, and what may be left.

mod calls;
mod channels;
mod creation;
mod names;
mod payloads;
mod references;
mod rings;
mod sessions;

use sharehold::{Array, Manager, Proxy, Ticket, TicketOptions, Weak};

pub(crate) use self::creation::from_slabs;
pub(crate) use self::payloads::wipe_blackboard;
pub(crate) use self::rings::{ENOUGH, LARGE, ringed};
use crate::common::{self, PATIENCE};
use crate::fixture::{Fixture, canaries, whole};
use crate::tracer::{BEGIN, END, mark, thread_id};

/// An operation of a client.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// In the process that is killed, with the broker's name and the text that was prepared.
    pub(crate) perform: fn(&str, &str),
    /// What the test makes for it, anew each time.
    pub(crate) prepare: fn(&Fixture) -> Prepared,
    /// What another process does as the very next thing after the kill.
    pub(crate) next: fn(&Fixture, &Prepared),
    /// Removes what may rightly be left.
    pub(crate) tidy: fn(&Fixture, Prepared),
}

impl Operation {
    /// Whether its connections may have call rings. All else is done as it is without.
    pub(crate) fn has_ring(&self) -> bool {
        rings::OPERATIONS.iter().any(|known| known.name == self.name)
    }
}

/// What an operation begins with.
#[derive(Default)]
pub(crate) struct Prepared {
    /// Given to the process that is killed.
    pub(crate) text: String,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) weak: Option<Weak<Array<u64>>>,
    pub(crate) array: Option<Array<u64>>,
}

/// All that there are.
pub(crate) fn operations() -> impl Iterator<Item = &'static Operation> {
    let all = [
        references::OPERATIONS,
        names::OPERATIONS,
        creation::OPERATIONS,
        payloads::OPERATIONS,
        calls::OPERATIONS,
        rings::OPERATIONS,
        channels::OPERATIONS,
        sessions::OPERATIONS,
    ];
    all.into_iter().flatten()
}

/// Tells the tracer that the operation begins here, once it is there.
fn begin() {
    common::say(thread_id());
    common::listen();
    mark(BEGIN);
}

fn end() {
    mark(END);
}

fn nothing(_: &Fixture) -> Prepared {
    Prepared::default()
}

fn no_rest(_: &Fixture, _: Prepared) {}

/// The board is held, handed over, found and read, as ever.
pub(crate) fn use_board(fixture: &Fixture, _: &Prepared) {
    let same: Array<u64> = fixture.manager.lookup("board").expect("published");
    drop(fixture.board.clone());
    whole(&fixture.board.read_for(PATIENCE).expect("nobody writes"));
    let again: Array<u64> =
        fixture.manager.redeem(&fixture.board.ticket().expect("issued")).expect("redeemed by its issuer");
    drop((same, again));
}

fn create_another(fixture: &Fixture, _: &Prepared) {
    let another = fixture.manager.array(&canaries(50)).expect("room");
    whole(&another.read_for(PATIENCE).expect("nobody writes"));
}

fn connect(broker: &str) -> Manager {
    Manager::connect(broker).expect("connected")
}

fn board(manager: &Manager) -> Array<u64> {
    manager.lookup("board").expect("published")
}

/// An array that nobody holds but a ticket, which the process that is killed gets.
fn only_ticket(fixture: &Fixture, uses: u32) -> Prepared {
    let array = fixture.manager.array(&canaries(30)).expect("room");
    let ticket = array.ticket_with(TicketOptions { uses, deadline: None }).expect("issued");
    Prepared { text: ticket.to_string(), weak: Some(array.downgrade()), ticket: Some(ticket), array: None }
}

/// As [`only_ticket`], and the test holds the array.
fn array_and_ticket(fixture: &Fixture, uses: u32) -> Prepared {
    let mut prepared = only_ticket(fixture, uses);
    prepared.array = prepared.weak.as_ref().and_then(Weak::upgrade);
    assert!(prepared.array.is_some(), "a ticket holds it");
    prepared
}

fn redeemed(manager: &Manager, text: &str) -> Array<u64> {
    manager.redeem(&text.parse().expect("a ticket")).expect("not spent")
}

/// What is killed while it drops what it has redeemed.
fn let_go(broker: &str, text: &str) {
    let manager = &connect(broker);
    let held = redeemed(manager, text);
    begin();
    drop(held);
    end();
}

/// Takes up what may be about to die: it is whole, or it is gone.
fn take_up(_: &Fixture, prepared: &Prepared) {
    if let Some(array) = prepared.weak.as_ref().and_then(Weak::upgrade) {
        whole(&array.read_for(PATIENCE).expect("nobody writes"));
    }
}
