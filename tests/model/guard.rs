//! Write and read guards of an array, and its seal; set and get of a value.

use crate::lock::{Actor, CLIENTS, Lock, Locking, World};
use crate::mutation::Mutation;

/// One operation of a client's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Write,
    Read,
    Seal,
    Set,
    Get,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    End,
    /// Waiting for a session.
    Asked,
    /// The lock: take it if it has no owner, look whether the owner lives, take it from a dead one.
    Lock,
    Owner,
    Steal,
    /// The lock says only now that its owner leaves all whole.
    SayWhole,
    Seal,
    /// A writer waits for the readers, session by session.
    Rows,
    First,
    Second,
    Flip,
    Unlock,
    /// A reader of an array.
    Announce,
    Look,
    Retreat,
    Wait,
    ReadFirst,
    ReadSecond,
    Leave,
    /// A reader of a value.
    Seq,
    CopyFirst,
    CopySecond,
    SeqAgain,
}

impl Point {
    pub(crate) fn writes(self) -> bool {
        matches!(self, Self::First | Self::Second | Self::Flip)
    }

    pub(crate) fn reads(self) -> bool {
        matches!(self, Self::ReadFirst | Self::ReadSecond)
    }
}

/// The first micro-step of the client's operation.
pub(crate) fn begin(world: &mut World, client: usize, model: &Locking) {
    let Actor { alive, session, op, .. } = world.actors[client];
    let late = model.flaw == Some(Mutation::WriterLooksFirst);
    let point = match model.programs[client].get(usize::from(op)) {
        None => Point::End,
        Some(Op::Write) if late => Point::Rows,
        Some(Op::Seal) if model.flaw == Some(Mutation::SealsUnlocked) => Point::Seal,
        Some(Op::Write | Op::Set | Op::Seal) => Point::Lock,
        Some(Op::Read) => first_of_read(model),
        Some(Op::Get) => Point::Seq,
    };
    world.actors[client] = Actor { alive, session, op, point, ..Actor::NEW };
}

fn first_of_read(model: &Locking) -> Point {
    let early = model.flaw == Some(Mutation::ReaderLooksFirst);
    if early { Point::Look } else { Point::Announce }
}

/// One client in one state.
struct Turn<'a> {
    world: &'a mut World,
    client: usize,
    model: &'a Locking,
}

/// Makes the client's step; says what it was and whether it had to happen. `None` if the client waits.
pub(crate) fn step(world: &mut World, client: usize, model: &Locking) -> Option<(&'static str, bool)> {
    let mut turn = Turn { world, client, model };
    let what = match turn.me().point {
        Point::End | Point::Asked => return None,
        Point::Lock => return Some(turn.lock()),
        Point::Owner => turn.owner(),
        Point::Steal => turn.steal(),
        Point::Rows => turn.rows()?,
        Point::First | Point::Second => turn.fill(),
        Point::Flip => turn.flip(),
        Point::SayWhole => {
            turn.world.lock.whole = true;
            turn.me().point = Point::Seal;
            "seal: say that all is whole"
        }
        Point::Seal => turn.seal(),
        Point::Unlock => turn.unlock(),
        Point::Announce | Point::Look | Point::Retreat | Point::Wait => turn.enter()?,
        Point::ReadFirst | Point::ReadSecond | Point::Leave => turn.read(),
        Point::Seq | Point::CopyFirst | Point::CopySecond | Point::SeqAgain => turn.get(),
    };
    Some((what, true))
}

impl Turn<'_> {
    fn me(&mut self) -> &mut Actor {
        &mut self.world.actors[self.client]
    }

    fn has(&self, mutation: Mutation) -> bool {
        self.model.flaw == Some(mutation)
    }

    fn op(&mut self) -> Op {
        let op = usize::from(self.me().op);
        self.model.programs[self.client][op]
    }

    fn is_value(&mut self) -> bool {
        matches!(self.op(), Op::Set | Op::Get)
    }

    fn next(&mut self) {
        self.me().op += 1;
        begin(self.world, self.client, self.model);
    }

    fn lock(&mut self) -> (&'static str, bool) {
        let found = self.world.lock;
        let Some(owner) = found.owner else {
            self.acquire(found);
            return ("lock: take it", true);
        };
        self.me().found = found;
        self.me().point = Point::Owner;
        // To look again and again at an owner that lives leads nowhere.
        ("lock: it has an owner", !self.world.is_active(owner))
    }

    fn owner(&mut self) -> &'static str {
        let active = self.me().found.owner.is_some_and(|owner| self.world.is_active(owner));
        if active {
            self.me().found = Lock::default();
            self.me().point = Point::Lock;
            return "lock: its owner lives";
        }
        self.me().point = Point::Steal;
        "lock: its owner is dead"
    }

    fn steal(&mut self) -> &'static str {
        let found = std::mem::take(&mut self.me().found);
        if self.world.lock == found {
            self.acquire(found.given_on());
            return "lock: take it from the dead";
        }
        self.me().point = Point::Lock;
        "lock: it has changed"
    }

    fn acquire(&mut self, found: Lock) {
        let seals = self.op() == Op::Seal;
        let late = seals && self.has(Mutation::SealerSaysWholeLate);
        let kept = self.has(Mutation::WholeStays) && self.world.lock.whole;
        let whole = kept || self.op() != Op::Write && !late;
        self.world.lock = Lock { owner: self.me().session, poisoned: found.poisoned, whole };
        self.me().point = match self.is_value() {
            true if self.has(Mutation::FlipsBeforeFill) => Point::Flip,
            false if late => Point::SayWhole,
            false if seals => Point::Seal,
            false if self.world.sealed => Point::Unlock,
            false if !self.has(Mutation::WriterLooksFirst) => Point::Rows,
            _ => Point::First,
        };
    }

    fn seal(&mut self) -> &'static str {
        self.world.sealed |= !self.world.lock.poisoned;
        if self.has(Mutation::SealsUnlocked) {
            self.next();
        } else {
            self.me().point = Point::Unlock;
        }
        "seal: if there is no mark"
    }

    /// Whoever has written all of it has cleared the mark.
    fn unlock(&mut self) -> &'static str {
        let wrote = self.op() != Op::Seal && !self.world.sealed;
        self.world.lock = Lock { poisoned: self.world.lock.poisoned && !wrote, ..Lock::default() };
        self.next();
        "unlock"
    }

    fn rows(&mut self) -> Option<&'static str> {
        let row = usize::from(self.me().cursor);
        if self.world.readers[row] != 0 {
            return None;
        }
        self.me().cursor += 1;
        if row + 1 == CLIENTS {
            self.me().cursor = 0;
            let late = self.has(Mutation::WriterLooksFirst);
            self.me().point = if late { Point::Lock } else { Point::First };
        }
        Some("write: no reader in the row")
    }

    /// An array gets a number of the writer, a value the number of its `seq`.
    fn fill(&mut self) -> &'static str {
        let early = self.has(Mutation::FlipsBeforeFill);
        let seq = self.world.seq + u8::from(!early);
        let (copy, number) = if self.is_value() { (usize::from(seq & 1), seq) } else { (0, self.client as u8 + 1) };
        let first = self.me().point == Point::First;
        self.world.copies[copy][usize::from(!first)] = number;
        self.me().point = match self.is_value() {
            _ if first => Point::Second,
            true if !early => Point::Flip,
            _ => Point::Unlock,
        };
        "write: fill a word"
    }

    fn flip(&mut self) -> &'static str {
        self.world.seq += 1;
        let early = self.has(Mutation::FlipsBeforeFill);
        self.me().point = if early { Point::First } else { Point::Unlock };
        "set: flip"
    }

    fn readers(&mut self) -> &mut u8 {
        let Some(own) = self.me().session else { unreachable!("a reader has connected") };
        &mut self.world.readers[usize::from(own.session)]
    }

    fn enter(&mut self) -> Option<&'static str> {
        let early = self.has(Mutation::ReaderLooksFirst);
        let Lock { owner, poisoned, .. } = self.world.lock;
        Some(match self.me().point {
            Point::Announce => {
                *self.readers() += 1;
                self.me().point = if early { Point::ReadFirst } else { Point::Look };
                "read: announce"
            }
            Point::Look if owner.is_none() => {
                self.me().warned = poisoned;
                self.me().point = if early { Point::Announce } else { Point::ReadFirst };
                "read: no owner"
            }
            Point::Look => {
                self.me().point = if early { Point::Wait } else { Point::Retreat };
                "read: it has an owner"
            }
            Point::Retreat => {
                *self.readers() -= 1;
                self.me().point = Point::Wait;
                "read: retreat"
            }
            _ if owner.is_some() => return None,
            _ => {
                self.me().point = first_of_read(self.model);
                "read: again"
            }
        })
    }

    fn read(&mut self) -> &'static str {
        let [first, second] = self.world.copies[0];
        match self.me().point {
            Point::ReadFirst => {
                self.me().first = first;
                self.me().point = Point::ReadSecond;
                "read: first word"
            }
            Point::ReadSecond => {
                let Actor { first, warned, .. } = *self.me();
                self.world.torn |= first != second && !warned;
                self.me().point = Point::Leave;
                "read: second word"
            }
            _ => {
                *self.readers() -= 1;
                self.next();
                "read: leave"
            }
        }
    }

    fn get(&mut self) -> &'static str {
        let Actor { point, seq, first, .. } = *self.me();
        let [word, other] = self.world.copies[usize::from(seq & 1)];
        match point {
            Point::Seq => {
                self.me().seq = self.world.seq;
                self.me().point = Point::CopyFirst;
                "get: read seq"
            }
            Point::CopyFirst => {
                self.me().first = word;
                self.me().point = Point::CopySecond;
                "get: first word"
            }
            Point::CopySecond => {
                // What was read is right if the copy was `seq`'s own to the end.
                self.me().warned = first != seq || other != seq;
                self.me().point = Point::SeqAgain;
                if self.has(Mutation::ReadsSeqOnce) {
                    self.got();
                }
                "get: second word"
            }
            _ if self.world.seq == seq => {
                self.got();
                "get: seq is the same"
            }
            _ => {
                begin(self.world, self.client, self.model);
                "get: seq has changed"
            }
        }
    }

    fn got(&mut self) {
        self.world.torn |= self.me().warned;
        self.next();
    }
}
