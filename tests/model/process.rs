//! What an actor is doing, and one micro-step of it.

use crate::audit;
use crate::broker;
use crate::call;
use crate::channel;
use crate::check;
use crate::collect;
use crate::create;
use crate::fork;
use crate::mutation::Mutation;
use crate::name;
use crate::restart;
use crate::scene::Scene;
use crate::sweep;
use crate::taker;
use crate::ticket;
use crate::world::{Actor, BROKER, Fault, Id, Refs, Slot, State, World};

/// One operation of a client's program. The numbers of proxies are places in [`Actor::proxies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Connect,
    Create {
        proxy: usize,
    },
    Clone {
        from: usize,
        to: usize,
    },
    Drop {
        proxy: usize,
    },
    Issue {
        proxy: usize,
        ticket: usize,
        uses: u8,
        post: usize,
    },
    Redeem {
        post: usize,
        proxy: usize,
    },
    Publish {
        proxy: usize,
    },
    Remove,
    Look {
        proxy: usize,
    },
    /// A weak proxy, which is an id and nothing else, becomes a proxy.
    Upgrade {
        slot: u8,
        proxy: usize,
    },
    /// A call: what stands at `proxy` is also stored in the object that stands at `container`.
    Put {
        container: usize,
        proxy: usize,
    },
    /// A call: the reference to `slot` comes out of `container`, in a ticket.
    Pop {
        container: usize,
        slot: u8,
        ticket: usize,
        post: usize,
    },
    /// A broker thread executes the calls of a client.
    Serve {
        client: usize,
    },
    /// A broker thread frees cycles.
    Collect,
    /// The same when nothing else has to happen any more.
    CollectAtLast,
    /// The first client forks, and the last one is the child.
    Fork,
    /// Moves a proxy into the channel, if there is room or somebody makes some.
    Send {
        proxy: usize,
    },
    /// Takes one out, if there is one or somebody sends one.
    Receive {
        proxy: usize,
    },
    /// The process ends.
    Exit,
}

/// The next micro-step of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    /// The program has ended.
    #[default]
    End,
    /// Go on to the next operation; never a place to rest.
    Next,
    /// Waiting for the broker's answer.
    Asked,
    Clone,
    Drop,
    Create(create::Step),
    Check(check::Step),
    Issue(ticket::Issue),
    Taker(taker::Step),
    Redeem(ticket::Redeem),
    Look(name::Look),
    Upgrade,
    Call(call::Step),
    Collect(collect::Step),
    /// The broker has nothing in hand.
    Idle,
    Grant(broker::Grant),
    Withdraw(broker::Withdraw),
    Take(broker::Take),
    Finish(broker::Finish),
    Expire(ticket::Expire),
    Publish(name::Publish),
    Remove(name::Remove),
    Bury,
    Sweep(sweep::Step),
    Audit(audit::Step),
    Restart(restart::Step),
    Fork(fork::Step),
    Late(fork::Late),
    Send(channel::Send),
    Receive(channel::Receive),
    Empty(channel::Empty),
    Exit,
}

/// A copy of the world in which one actor makes one micro-step.
pub(crate) struct Turn<'a> {
    pub(crate) world: World,
    pub(crate) scene: &'a Scene,
    pub(crate) flaw: Option<Mutation>,
    pub(crate) actor: usize,
}

impl Turn<'_> {
    /// Makes the step, and says what it was; `None` if the actor has to wait.
    pub(crate) fn step(&mut self) -> Option<&'static str> {
        match self.me().point {
            Point::End | Point::Next | Point::Asked | Point::Idle => None,
            Point::Clone => Some(self.clone_proxy()),
            Point::Drop => Some(self.drop_proxy()),
            Point::Create(step) => Some(create::step(self, step)),
            Point::Check(step) => Some(check::step(self, step)),
            Point::Issue(step) => Some(ticket::issue(self, step)),
            Point::Taker(step) => Some(taker::step(self, step)),
            Point::Redeem(step) => ticket::redeem(self, step),
            Point::Look(step) => Some(name::look(self, step)),
            Point::Upgrade => Some(self.upgrade()),
            Point::Call(step) => call::step(self, step),
            Point::Collect(step) => collect::step(self, step),
            Point::Grant(step) => Some(broker::grant(self, step)),
            Point::Withdraw(step) => Some(broker::withdraw(self, step)),
            Point::Take(step) => Some(broker::take(self, step)),
            Point::Finish(step) => Some(broker::finish(self, step)),
            Point::Expire(step) => Some(ticket::expire(self, step)),
            Point::Publish(step) => Some(name::publish(self, step)),
            Point::Remove(step) => Some(name::remove(self, step)),
            Point::Bury => Some(broker::bury(self)),
            Point::Sweep(step) => Some(sweep::step(self, step)),
            Point::Audit(step) => Some(audit::step(self, step)),
            Point::Restart(step) => Some(restart::step(self, step)),
            Point::Fork(step) => fork::step(self, step),
            Point::Late(step) => Some(fork::late(self, step)),
            Point::Send(step) => channel::send(self, step),
            Point::Receive(step) => channel::receive(self, step),
            Point::Empty(step) => Some(channel::empty(self, step)),
            Point::Exit => Some(self.exit()),
        }
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.flaw == Some(mutation)
    }

    pub(crate) fn me(&mut self) -> &mut Actor {
        &mut self.world.actors[self.actor]
    }

    pub(crate) fn op(&self) -> Op {
        self.scene.programs[self.actor][usize::from(self.world.actors[self.actor].op)]
    }

    pub(crate) fn go(&mut self, point: Point) {
        self.me().point = point;
    }

    pub(crate) fn fail(&mut self, fault: Fault) {
        self.world.fault = self.world.fault.or(Some(fault));
    }

    /// The slot in hand.
    pub(crate) fn slot(&mut self) -> &mut Slot {
        let slot = self.me().id.slot;
        &mut self.world.slots[usize::from(slot)]
    }

    /// The cell of this session for the slot in hand.
    pub(crate) fn cell(&mut self) -> &mut u8 {
        let session = self.me().session;
        self.cell_of(session)
    }

    pub(crate) fn cell_of(&mut self, session: u8) -> &mut u8 {
        let slot = self.me().id.slot;
        &mut self.world.cells[usize::from(session)][usize::from(slot)]
    }

    fn lane(&mut self) -> &mut u8 {
        let Actor { session, thread, .. } = *self.me();
        &mut self.world.lanes[usize::from(session)][usize::from(thread)]
    }

    /// Announces the slot in hand.
    pub(crate) fn announce(&mut self) {
        let removes = !matches!(self.me().point, Point::Check(_));
        if self.has(Mutation::BrokerUnannounced) && self.actor == BROKER && removes {
            return;
        }
        let slot = self.me().id.slot;
        *self.lane() = slot + 1;
    }

    pub(crate) fn unannounce(&mut self) {
        *self.lane() = 0;
    }

    pub(crate) fn hint(&mut self) {
        if !self.has(Mutation::NoHint) {
            let bit = self.scene.hint(self.world.actors[self.actor].session);
            self.slot().holders |= bit;
        }
    }

    /// Writes `refs` of the slot in hand, as a compare-and-swap that succeeds.
    pub(crate) fn write(&mut self, state: State, pins: u8) {
        let refs = &mut self.slot().refs;
        *refs = Refs { epoch: refs.epoch + 1, pins, state };
    }

    /// Has `refs` still the value that was read?
    pub(crate) fn is_unchanged(&mut self) -> bool {
        let snap = self.me().snap;
        self.slot().refs == snap
    }

    /// A change of the pins alone. (A loop of read and swap that goes on until it succeeds is one step:
    /// its reads have no effect.)
    pub(crate) fn pin(&mut self) {
        let Refs { pins, state, .. } = self.slot().refs;
        self.write(state, pins + 1);
    }

    pub(crate) fn unpin(&mut self) {
        let Refs { pins, state, .. } = self.slot().refs;
        if pins == 0 {
            self.fail(Fault::PinsBelowZero);
        } else {
            self.write(state, pins - 1);
        }
    }

    /// The swap of `refs` to itself: whoever has read it before will notice.
    pub(crate) fn bump(&mut self) {
        let Refs { pins, state, .. } = self.slot().refs;
        self.write(state, pins);
    }

    /// Takes one count back. True if none is left.
    pub(crate) fn uncount(&mut self) -> bool {
        let cell = self.cell();
        let Some(less) = cell.checked_sub(1) else {
            self.fail(Fault::CountBelowZero);
            return false;
        };
        *cell = less;
        less == 0
    }

    /// Starts a check of the slot in hand.
    pub(crate) fn check(&mut self, back: Point) {
        let me = self.me();
        me.snap = Refs::default();
        me.scratch = 0;
        me.back = back;
        me.point = Point::Check(check::Step::Read);
    }

    /// Goes on after a check or a walk of the returned stack.
    pub(crate) fn go_back(&mut self) {
        let me = self.me();
        me.snap = Refs::default();
        me.scratch = 0;
        match std::mem::take(&mut me.back) {
            Point::Next => self.next(),
            back => self.rest(back),
        }
    }

    /// Goes on at a place where nothing but the desk matters, if it is the broker's.
    pub(crate) fn rest(&mut self, point: Point) {
        if self.actor == BROKER && point == Point::Idle {
            self.me().forget();
            self.world.desk.subject = 0;
            self.world.desk.noted = 0;
            self.world.desk.cursor = 0;
        }
        self.go(point);
    }

    /// The next operation of the program that can be done.
    pub(crate) fn next(&mut self) {
        self.me().op += 1;
        self.begin();
    }

    pub(crate) fn begin(&mut self) {
        self.me().forget();
        let program = self.scene.programs[self.actor];
        loop {
            let Actor { op, proxies, .. } = *self.me();
            let Some(op) = program.get(usize::from(op)) else {
                return self.go(Point::End);
            };
            let (point, id) = match *op {
                Op::Connect | Op::Create { .. } | Op::Remove | Op::Fork => (Point::Asked, Id::NONE),
                Op::Publish { proxy } => (Point::Asked, proxies[proxy]),
                Op::Clone { from, .. } => (Point::Clone, proxies[from]),
                Op::Drop { proxy } => (Point::Drop, proxies[proxy]),
                Op::Issue { proxy, .. } => (Point::Issue(ticket::Issue::Lane), proxies[proxy]),
                Op::Redeem { .. } => (Point::Redeem(ticket::Redeem::Receive), Id::NONE),
                Op::Look { .. } => (Point::Look(name::Look::Read), Id::NONE),
                Op::Upgrade { slot, .. } => (Point::Upgrade, Id { slot, generation: 1 }),
                Op::Put { container, proxy } if proxies[container].is_some() && proxies[proxy].is_some() => {
                    (Point::Asked, Id::NONE)
                }
                Op::Pop { container, .. } if proxies[container].is_some() => (Point::Asked, Id::NONE),
                Op::Put { .. } | Op::Pop { .. } => (Point::Next, Id::NONE),
                Op::Serve { .. } => (Point::Call(call::Step::Await), Id::NONE),
                Op::Collect => (Point::Collect(collect::Step::Begin), Id::NONE),
                Op::Send { proxy } => (Point::Send(channel::Send::Tail), proxies[proxy]),
                Op::Receive { .. } => (Point::Receive(channel::Receive::Head), Id::NONE),
                Op::Exit => (Point::Exit, Id::NONE),
                Op::CollectAtLast => (Point::Collect(collect::Step::AtLast), Id::NONE),
            };
            let needs_proxy = matches!(
                op,
                Op::Publish { .. } | Op::Clone { .. } | Op::Drop { .. } | Op::Issue { .. } | Op::Send { .. }
            );
            if point == Point::Next || (needs_proxy && !id.is_some()) {
                self.me().op += 1;
                continue;
            }
            self.me().id = id;
            return self.go(point);
        }
    }

    /// The asking client goes on, if it is still there.
    pub(crate) fn answer(&mut self) {
        let client = usize::from(self.world.desk.subject);
        if self.world.actors[client].alive {
            let broker = std::mem::replace(&mut self.actor, client);
            self.next();
            self.actor = broker;
        }
        self.world.desk.subject = 0;
    }

    /// Somebody may still send the message.
    pub(crate) fn is_expected(&self, message: usize) -> bool {
        self.is_awaited(|op| matches!(op, Op::Issue { post, .. } | Op::Pop { post, .. } if *post == message))
    }

    /// Somebody else may still do that.
    pub(crate) fn is_awaited(&self, what: impl Fn(&Op) -> bool) -> bool {
        let actors = self.world.actors.iter().zip(self.scene.programs).enumerate();
        actors.into_iter().any(|(number, (actor, program))| {
            let rest = program.get(usize::from(actor.op)..).unwrap_or_default();
            number != self.actor && actor.alive && rest.iter().any(&what)
        })
    }

    /// The id is no shared word.
    fn upgrade(&mut self) -> &'static str {
        let first = taker::Step::first(self);
        taker::step(self, first)
    }

    fn clone_proxy(&mut self) -> &'static str {
        let Op::Clone { to, .. } = self.op() else { unreachable!() };
        let before = *self.cell();
        *self.cell() += 1;
        let id = self.me().id;
        self.me().proxies[to] = id;
        if before >= fork::LIFT {
            self.keep();
        } else {
            self.next();
        }
        "clone: count"
    }

    fn exit(&mut self) -> &'static str {
        let session = self.me().session;
        self.world.kill(session);
        "exit"
    }

    /// The count of a proxy, or of an attempt to get one, goes back.
    fn drop_proxy(&mut self) -> &'static str {
        let op = self.op();
        match op {
            Op::Drop { proxy } => self.me().proxies[proxy] = Id::NONE,
            Op::Serve { .. } => self.me().proxies[0] = Id::NONE,
            _ => {}
        }
        // A look-up that found its object gone looks again.
        let back = match op {
            Op::Look { .. } => Point::Look(name::Look::Read),
            Op::Serve { .. } => Point::Call(call::Step::Reply),
            Op::Receive { .. } => Point::Receive(channel::Receive::Head),
            _ => Point::Next,
        };
        if self.uncount() {
            self.check(back);
        } else {
            self.me().back = back;
            self.go_back();
        }
        "drop: uncount"
    }
}
