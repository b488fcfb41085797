//! The scenes that are run. Each is as small as its risk allows.

use crate::guard;
use crate::lock::Locking;
use crate::process::Op::{
    self, Clone, Collect, CollectAtLast, Connect, Create, Drop, Exit, Fork, Issue, Look, Pop, Publish, Put, Receive,
    Redeem, Remove, Send, Serve, Upgrade,
};
use crate::scene::{Scene, Sent};
use crate::seats::Seats;
use crate::slab::{Id, Op as SlabOp, Slabs};
use crate::world::{BROKER_SESSION, Budget, NOBODY};

const CREATE: Op = Create { proxy: 0 };
const DROP: Op = Drop { proxy: 0 };
const LOOK: Op = Look { proxy: 0 };
const ISSUE: Op = Issue { proxy: 0, ticket: 0, uses: 1, post: 0 };
const REDEEM: Op = Redeem { post: 0, proxy: 0 };
const UPGRADE: Op = Upgrade { slot: 0, proxy: 0 };

const SEND: Op = Send { proxy: 0 };
const RECEIVE: Op = Receive { proxy: 0 };

const fn kills(kills: u8) -> Budget {
    Budget { kills, ..Scene::PLAIN.budget }
}

/// A holder issues a ticket and drops; two others want the one use of it.
pub(crate) const HANDOVER: Scene = Scene {
    programs: [&[ISSUE, DROP], &[REDEEM, DROP], &[REDEEM], &[]],
    held: &[(0, 0, 0)],
    budget: kills(1),
    ..Scene::PLAIN
};

/// The same with one redeemer, and three kills: a broker may be killed over the traces of two deaths.
pub(crate) const HANDOVER_MORE_KILLS: Scene = Scene {
    programs: [&[ISSUE, DROP], &[REDEEM, DROP], &[], &[]],
    sessions: [0, 1, NOBODY],
    numbers: 2,
    held: &[(0, 0, 0)],
    budget: kills(3),
    ..Scene::PLAIN
};

/// A ticket with two uses, which may expire at any moment.
pub(crate) const SHARED_TICKET: Scene = Scene {
    programs: [&[], &[REDEEM, DROP], &[REDEEM, DROP], &[]],
    sent: &[Sent { ticket: 0, slot: 0, uses: 2, post: 0 }],
    budget: Budget { kills: 1, expiries: 1, withdrawals: 0 },
    ..Scene::PLAIN
};

/// Two redeemers of the last use of a ticket, and three kills.
pub(crate) const LAST_USE: Scene = Scene {
    programs: [&[REDEEM, DROP], &[REDEEM, DROP], &[], &[]],
    sessions: [0, 1, NOBODY],
    numbers: 2,
    sent: &[Sent { ticket: 0, slot: 0, uses: 1, post: 0 }],
    budget: kills(3),
    ..Scene::PLAIN
};

/// One holder drops while the other hands its hold on.
pub(crate) const MOVE: Scene = Scene {
    programs: [&[DROP], &[REDEEM, DROP], &[ISSUE, DROP], &[]],
    held: &[(0, 0, 0), (2, 0, 0)],
    budget: kills(1),
    ..Scene::PLAIN
};

/// The same, with all sessions on one bit of the hint.
pub(crate) const MOVE_ONE_BIT: Scene = Scene { hint_bits: 1, ..MOVE };

/// A named object loses its name and dies, another takes its slot, while it is looked up.
pub(crate) const NAME: Scene = Scene {
    programs: [&[Remove, CREATE], &[LOOK, DROP], &[LOOK, DROP], &[]],
    named: Some(0),
    budget: kills(1),
    ..Scene::PLAIN
};

/// The same with one that looks, and three kills.
pub(crate) const NAME_MORE_KILLS: Scene = Scene {
    programs: [&[Remove, CREATE, DROP], &[LOOK, DROP], &[], &[]],
    sessions: [0, 1, NOBODY],
    numbers: 2,
    named: Some(0),
    budget: kills(3),
    ..Scene::PLAIN
};

/// An object that nobody names dies, another takes its slot, while two take it up by its id.
pub(crate) const WEAK: Scene = Scene {
    programs: [&[DROP, CREATE], &[UPGRADE, DROP], &[UPGRADE, DROP], &[]],
    held: &[(0, 0, 0)],
    budget: kills(1),
    ..Scene::PLAIN
};

/// An object is published, looked up and removed.
pub(crate) const PUBLISH: Scene = Scene {
    programs: [&[Publish { proxy: 0 }, DROP], &[LOOK, DROP], &[Remove], &[]],
    held: &[(0, 0, 0)],
    budget: kills(2),
    ..Scene::PLAIN
};

/// Two want the one slot, and a grant may be withdrawn while it is claimed.
pub(crate) const GRANT: Scene = Scene {
    programs: [&[CREATE, DROP], &[CREATE, DROP], &[], &[]],
    budget: Budget { kills: 2, expiries: 0, withdrawals: 1 },
    ..Scene::PLAIN
};

/// A message is read late: its ticket is spent, its slot has another object.
pub(crate) const STALE: Scene = Scene {
    programs: [
        &[REDEEM, DROP, CREATE, Issue { proxy: 0, ticket: 0, uses: 1, post: 1 }, DROP],
        &[REDEEM, DROP],
        &[],
        &[],
    ],
    sent: &[Sent { ticket: 0, slot: 0, uses: 1, post: 0 }],
    budget: kills(1),
    ..Scene::PLAIN
};

/// A message is read late: the entry of its ticket is used again, for another object.
pub(crate) const ENTRY: Scene = Scene {
    programs: [&[REDEEM, Issue { proxy: 1, ticket: 0, uses: 1, post: 1 }], &[REDEEM, DROP], &[], &[]],
    slots: 2,
    held: &[(0, 1, 1)],
    sent: &[Sent { ticket: 0, slot: 0, uses: 1, post: 0 }],
    budget: kills(1),
    ..Scene::PLAIN
};

/// Two threads of one session create on the same slot while a grant is withdrawn.
pub(crate) const TWINS: Scene = Scene {
    programs: [&[CREATE, DROP], &[CREATE, DROP], &[], &[]],
    sessions: [0, 0, 1],
    threads: [0, 1, 0],
    numbers: 2,
    lanes: 2,
    budget: Budget { kills: 1, expiries: 0, withdrawals: 1 },
    ..Scene::PLAIN
};

/// The same, but another process creates, and hands its object to the second thread.
pub(crate) const THREADS: Scene =
    Scene { programs: [&[CREATE, DROP], &[REDEEM, DROP], &[CREATE, ISSUE, DROP], &[]], ..TWINS };

/// Two threads of one session share a cell.
pub(crate) const SHARED_CELL: Scene = Scene {
    programs: [&[Clone { from: 0, to: 1 }, DROP, Drop { proxy: 1 }], &[REDEEM, DROP], &[ISSUE, DROP], &[]],
    sessions: [0, 0, 1],
    threads: [0, 1, 0],
    numbers: 2,
    lanes: 2,
    held: &[(0, 0, 0), (2, 0, 0)],
    budget: kills(1),
    ..Scene::PLAIN
};

/// The number of a dead session goes to a new process.
pub(crate) const NUMBER: Scene = Scene {
    programs: [&[Clone { from: 0, to: 1 }, DROP], &[ISSUE, DROP], &[Connect, REDEEM, DROP], &[]],
    sessions: [0, 1, NOBODY],
    numbers: 2,
    held: &[(0, 0, 0), (1, 0, 0)],
    budget: kills(2),
    ..Scene::PLAIN
};

/// Two slots die and are returned at once, one of them is wanted again.
pub(crate) const RETURN: Scene = Scene {
    programs: [&[DROP, CREATE], &[DROP], &[], &[]],
    slots: 2,
    held: &[(0, 0, 0), (1, 0, 1)],
    budget: kills(2),
    ..Scene::PLAIN
};

/// One issuer dies over its ticket while another issues one.
pub(crate) const ISSUERS: Scene = Scene {
    programs: [
        &[ISSUE],
        &[Issue { proxy: 0, ticket: 1, uses: 1, post: 1 }, DROP],
        &[Redeem { post: 1, proxy: 0 }, DROP],
        &[],
    ],
    held: &[(0, 0, 0), (1, 0, 0)],
    budget: kills(2),
    ..Scene::PLAIN
};

/// Two writers and a reader of one array.
pub(crate) const ARRAY: Locking = Locking {
    programs: [&[guard::Op::Write], &[guard::Op::Read, guard::Op::Read], &[guard::Op::Write]],
    numbers: 3,
    kills: 2,
    flaw: None,
};

/// Three come and go.
pub(crate) const SEATS: Seats = Seats { kills: 2, flaw: None };

/// One writes an array, one seals it, one reads it.
pub(crate) const SEAL: Locking =
    Locking { programs: [&[guard::Op::Write], &[guard::Op::Seal], &[guard::Op::Read]], ..ARRAY };

/// Two writers and a reader of one value.
pub(crate) const VALUE: Locking =
    Locking { programs: [&[guard::Op::Set, guard::Op::Set], &[guard::Op::Get], &[guard::Op::Set]], ..ARRAY };

/// The number of a dead writer goes to a new one, while another is about to take its lock.
pub(crate) const WRITER_NUMBER: Locking = Locking {
    programs: [&[guard::Op::Write], &[guard::Op::Write, guard::Op::Read], &[guard::Op::Write, guard::Op::Write]],
    numbers: 2,
    ..ARRAY
};

const COLLECT: &[Op] = &[Collect, CollectAtLast];
const SERVE_A: &[Op] = &[Serve { client: 0 }];

/// One client, and two threads of the broker beside its loop.
const HOSTING: Scene =
    Scene { sessions: [0, BROKER_SESSION, BROKER_SESSION], threads: [0, 1, 2], numbers: 1, slots: 2, ..Scene::PLAIN };

/// Two clients, and one thread of the broker beside its loop.
const COLLECTING: Scene = Scene {
    sessions: [0, 1, BROKER_SESSION],
    threads: [0, 0, 2],
    numbers: 2,
    slots: 2,
    hosts: &[(0, &[1]), (1, &[0])],
    ..Scene::PLAIN
};

/// Two objects that hold each other: the last proxies from outside are dropped.
pub(crate) const CYCLE: Scene =
    Scene { programs: [&[DROP], &[DROP], COLLECT, &[]], held: &[(0, 0, 0), (1, 0, 1)], budget: kills(1), ..COLLECTING };

/// A cycle is handed over from one client to the other.
pub(crate) const CYCLE_HANDOVER: Scene =
    Scene { programs: [&[REDEEM, DROP], &[ISSUE, DROP], COLLECT, &[]], held: &[(1, 0, 0)], ..COLLECTING };

/// A cycle that a ticket holds.
pub(crate) const CYCLE_TICKET: Scene = Scene {
    programs: [&[REDEEM, DROP], &[], COLLECT, &[]],
    sessions: [0, NOBODY, BROKER_SESSION],
    numbers: 1,
    sent: &[Sent { ticket: 0, slot: 0, uses: 1, post: 0 }],
    budget: Budget { kills: 1, expiries: 1, withdrawals: 0 },
    ..COLLECTING
};

/// A cycle that a name holds.
pub(crate) const CYCLE_NAME: Scene = Scene {
    programs: [&[LOOK, DROP], &[], COLLECT, &[]],
    sessions: [0, NOBODY, BROKER_SESSION],
    numbers: 1,
    named: Some(0),
    budget: kills(1),
    ..COLLECTING
};

/// A cycle that loses its name.
pub(crate) const CYCLE_UNNAMED: Scene =
    Scene { programs: [&[LOOK, DROP], &[Remove], COLLECT, &[]], named: Some(0), ..COLLECTING };

/// A cycle of which there are only weak proxies.
pub(crate) const CYCLE_WEAK: Scene = Scene {
    programs: [&[Upgrade { slot: 0, proxy: 0 }, DROP], &[Upgrade { slot: 1, proxy: 0 }, DROP], COLLECT, &[]],
    ..COLLECTING
};

/// An object that holds itself is moved from one container to another.
pub(crate) const CARRY: Scene = Scene {
    programs: [
        &[
            Pop { container: 0, slot: 0, ticket: 0, post: 0 },
            Redeem { post: 0, proxy: 2 },
            Put { container: 1, proxy: 2 },
            Drop { proxy: 2 },
        ],
        SERVE_A,
        COLLECT,
        &[],
    ],
    slots: 3,
    hosts: &[(0, &[0]), (1, &[0]), (2, &[])],
    held: &[(0, 0, 1), (0, 1, 2)],
    ..HOSTING
};

/// The same, and the client may be killed.
pub(crate) const CARRY_KILL: Scene = Scene { budget: kills(1), ..CARRY };

/// An object that holds itself and another is taken out of itself.
pub(crate) const CARRY_SELF: Scene = Scene {
    programs: [
        &[
            Pop { container: 0, slot: 0, ticket: 0, post: 0 },
            Redeem { post: 0, proxy: 2 },
            Put { container: 1, proxy: 2 },
            Drop { proxy: 2 },
            DROP,
        ],
        SERVE_A,
        COLLECT,
        &[],
    ],
    slots: 3,
    hosts: &[(0, &[0, 1]), (1, &[]), (2, &[])],
    held: &[(0, 0, 0), (0, 1, 2)],
    ..HOSTING
};

/// An object is taken out of a cycle that a weak proxy has found.
pub(crate) const CARRY_WEAK: Scene = Scene {
    programs: [
        &[
            Upgrade { slot: 1, proxy: 1 },
            Pop { container: 1, slot: 0, ticket: 0, post: 0 },
            Redeem { post: 0, proxy: 2 },
            Put { container: 0, proxy: 2 },
            Drop { proxy: 2 },
            Drop { proxy: 1 },
        ],
        SERVE_A,
        COLLECT,
        &[],
    ],
    slots: 3,
    hosts: &[(0, &[1]), (1, &[0]), (2, &[])],
    held: &[(0, 0, 2)],
    ..HOSTING
};

/// A result is written while its object is audited after another death.
pub(crate) const RESULT: Scene = Scene {
    programs: [
        &[Pop { container: 0, slot: 1, ticket: 0, post: 0 }, Redeem { post: 0, proxy: 1 }, Drop { proxy: 1 }],
        &[Redeem { post: 1, proxy: 0 }, DROP],
        SERVE_A,
        &[],
    ],
    sessions: [0, 1, BROKER_SESSION],
    threads: [0, 0, 1],
    numbers: 2,
    hosts: &[(0, &[1]), (1, &[])],
    held: &[(0, 0, 0)],
    sent: &[Sent { ticket: 1, slot: 1, uses: 1, post: 1 }],
    budget: kills(1),
    ..HOSTING
};

/// A client ties a cycle and lets go of it.
pub(crate) const KNOT: Scene = Scene {
    programs: [&[Put { container: 1, proxy: 0 }, DROP, Drop { proxy: 1 }], SERVE_A, COLLECT, &[]],
    hosts: &[(0, &[1]), (1, &[])],
    held: &[(0, 0, 0), (0, 1, 1)],
    budget: kills(1),
    ..HOSTING
};

/// A holder forks while another process lets go of the same object.
pub(crate) const FORK: Scene = Scene {
    programs: [&[Fork, DROP], &[DROP], &[DROP], &[]],
    sessions: [0, 1, NOBODY],
    held: &[(0, 0, 0), (1, 0, 0)],
    budget: kills(2),
    ..Scene::PLAIN
};

/// A process forks while another thread of it clones and drops.
pub(crate) const FORK_THREADS: Scene = Scene {
    programs: [
        &[Fork, DROP],
        &[Clone { from: 1, to: 2 }, Drop { proxy: 1 }, Drop { proxy: 2 }],
        &[DROP, Drop { proxy: 1 }, Drop { proxy: 2 }, Exit],
        &[],
    ],
    sessions: [0, 0, NOBODY],
    threads: [0, 1, 0],
    numbers: 2,
    lanes: 2,
    held: &[(0, 0, 0), (1, 1, 0)],
    budget: kills(2),
    ..Scene::PLAIN
};

/// A process forks while another thread of it drops the last proxy.
pub(crate) const FORK_LAST: Scene =
    Scene { programs: [&[Fork], &[Drop { proxy: 1 }], &[Drop { proxy: 1 }], &[]], held: &[(1, 1, 0)], ..FORK_THREADS };

/// A process forks while another thread of it takes a reference to an object that it had not.
pub(crate) const FORK_TAKES: Scene = Scene {
    programs: [&[Fork], &[Redeem { post: 0, proxy: 1 }, Drop { proxy: 1 }], &[Drop { proxy: 1 }, Exit], &[]],
    held: &[],
    sent: &[Sent { ticket: 0, slot: 0, uses: 1, post: 0 }],
    ..FORK_THREADS
};

/// Two send, each an object of its own, and one receives both.
pub(crate) const CHANNEL: Scene = Scene {
    programs: [&[SEND], &[SEND], &[RECEIVE, DROP, RECEIVE, DROP], &[]],
    slots: 2,
    held: &[(0, 0, 0), (1, 0, 1)],
    capacity: 2,
    budget: kills(1),
    ..Scene::PLAIN
};

/// The same with room for one.
pub(crate) const CHANNEL_FULL: Scene = Scene { capacity: 1, ..CHANNEL };

/// One sends, two want it.
pub(crate) const CHANNEL_RECEIVERS: Scene = Scene {
    programs: [&[SEND], &[RECEIVE, DROP], &[RECEIVE, DROP], &[]],
    held: &[(0, 0, 0)],
    capacity: 2,
    budget: kills(2),
    ..Scene::PLAIN
};

/// An object is handed over and back while another holder lets go.
pub(crate) const CHANNEL_BACK: Scene = Scene {
    programs: [&[SEND, RECEIVE, DROP], &[RECEIVE, SEND], &[DROP], &[]],
    held: &[(0, 0, 0), (2, 0, 0)],
    capacity: 1,
    budget: kills(1),
    ..Scene::PLAIN
};

/// Two send the same object, one of them dies over it, and one receives meanwhile.
pub(crate) const CHANNEL_AUDIT: Scene = Scene {
    programs: [&[SEND], &[RECEIVE, DROP], &[SEND], &[]],
    held: &[(0, 0, 0), (2, 0, 0)],
    capacity: 2,
    budget: kills(2),
    ..Scene::PLAIN
};

/// A channel dies with what is in it, unless somebody takes it out before.
pub(crate) const CHANNEL_DEATH: Scene = Scene {
    programs: [&[Drop { proxy: 1 }], &[RECEIVE, Drop { proxy: 1 }, DROP], &[], &[]],
    sessions: [0, 1, NOBODY],
    numbers: 2,
    slots: 2,
    held: &[(0, 1, 1), (1, 1, 1)],
    capacity: 2,
    channel: Some(1),
    queued: &[0],
    budget: kills(3),
    ..Scene::PLAIN
};

/// The sender dies over an object that is received, handed on and let go of.
pub(crate) const CHANNEL_TICKET: Scene = Scene {
    programs: [&[SEND], &[RECEIVE, ISSUE, DROP], &[REDEEM, DROP], &[]],
    held: &[(0, 0, 0)],
    capacity: 1,
    budget: kills(1),
    ..Scene::PLAIN
};

/// Another brings a slot back to its owner, who goes on creating; both or the broker may be killed, over each other's traces too.
pub(crate) const SLAB_HOME: Slabs = Slabs {
    programs: [
        &[SlabOp::Create, SlabOp::Drop, SlabOp::Create, SlabOp::Create, SlabOp::Drop, SlabOp::Drop],
        &[SlabOp::Drop, SlabOp::Create, SlabOp::Drop],
        &[],
    ],
    is_held: true,
    kills: 2,
    withdrawals: 0,
    flaw: None,
};

/// An owner gives what it creates to another; what is not in use may be withdrawn at any moment.
pub(crate) const SLAB_GIVE: Slabs = Slabs {
    programs: [
        &[SlabOp::Create, SlabOp::Give, SlabOp::Create, SlabOp::Drop, SlabOp::Create],
        &[SlabOp::Drop, SlabOp::Drop, SlabOp::Create],
        &[],
    ],
    is_held: false,
    kills: 1,
    withdrawals: 2,
    flaw: None,
};

/// The number of a dead owner goes to another process, with a slab, while its last object is still held.
pub(crate) const SLAB_NUMBER: Slabs = Slabs {
    programs: [
        &[SlabOp::Create, SlabOp::Drop],
        &[SlabOp::Drop, SlabOp::Create],
        &[SlabOp::Connect, SlabOp::Create, SlabOp::Give, SlabOp::Create],
    ],
    is_held: true,
    kills: 2,
    withdrawals: 0,
    flaw: None,
};

/// An object is taken up by its id while its owner makes the next one of its slot.
pub(crate) const SLAB_WEAK: Slabs = Slabs {
    programs: [
        &[SlabOp::Create, SlabOp::Drop, SlabOp::Create, SlabOp::Drop, SlabOp::Create],
        &[SlabOp::Upgrade(Id { slot: 1, generation: 1 }), SlabOp::Drop, SlabOp::Drop],
        &[],
    ],
    is_held: true,
    kills: 1,
    withdrawals: 0,
    flaw: None,
};
