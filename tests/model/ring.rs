//! A small model of its own: the call ring between one client and the broker, beside their socket.
//!
//! The client makes a few calls, each by the ring or, where nobody attends or it likes to, over the socket. The broker's loop reads the socket and gives the connection to a thread, which waits at
//! the ring and gives it back when it likes. Both ends may be killed before any step, and the client may give a call up. A thread that finds nothing may sleep, without an end: nothing is lost if its
//! client dies in the middle of waking it. That a client that sleeps is woken is shown elsewhere, `tests/interleavings`; it looks up by itself from time to time.

use crate::explorer::{Model, Move};
use crate::mutation::Mutation;

/// What is in a half while its bytes are being written.
const TORN: u8 = 99;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Turn {
    posted: u8,
    at_socket: bool,
    away: bool,
}

impl Turn {
    fn as_seen(self) -> Self {
        Self { away: false, ..self }
    }
}

/// The event's word of the request: whether a thread may sleep, and how often one was woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Event {
    marked: bool,
    woken: u8,
}

/// What the broker's loop has done about the end of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Unseen,
    Said,
    Done,
}

/// Where a client hears the answer to what it has posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    Ring,
    Socket,
}

impl Event {
    /// Whether it was marked.
    fn unmark(&mut self) -> bool {
        let was_marked = std::mem::take(&mut self.marked);
        self.woken += u8::from(was_marked);
        was_marked
    }
}

impl Way {
    fn hear(self) -> Client {
        match self {
            Self::Ring => Client::HearRing,
            Self::Socket => Client::HearSocket,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    /// Before its next call.
    Begin,
    /// Writes the request, then the turn.
    Finish,
    Post,
    Send,
    Point,
    /// Takes the mark away, then wakes.
    Unmark(Way),
    Wake(Way),
    HearRing,
    ReadResponse,
    HearSocket,
    End,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thread {
    /// The loop has the connection.
    None,
    Attend,
    Look,
    /// Has marked the event, and looks once more.
    Marked,
    /// Sleeps if the event's word is what it was.
    Sleep,
    Asleep,
    Leave,
    ReadRequest,
    ReadSocket,
    /// Two steps, by the ring.
    Write,
    Answer,
    AnswerSocket,
    GiveBack,
    Ended,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    turn: Turn,
    request: u8,
    /// Of the turn that is answered.
    answered: u8,
    response: u8,
    closed: bool,
    event: Event,
    /// The event's word as the thread has left it.
    marked: Event,
    end: End,
    /// What is on its way, and whether an end has closed.
    to_broker: u8,
    to_client: u8,
    hung_up: bool,
    client: Client,
    /// The call that is made: 1 and up.
    call: u8,
    posted: Turn,
    thread: Thread,
    taken: Turn,
    executing: u8,
    /// How often each call was executed.
    executed: [u8; 5],
    kills: u8,
    wrong: bool,
}

impl World {
    fn wake(&mut self) {
        if self.thread == Thread::Asleep {
            self.thread = Thread::Look;
        }
    }
}

pub(crate) struct Calling {
    pub(crate) calls: u8,
    pub(crate) kills: u8,
    pub(crate) flaw: Option<Mutation>,
}

impl Calling {
    fn has(&self, flaw: Mutation) -> bool {
        self.flaw == Some(flaw)
    }

    fn hear(&self, world: &mut World, answer: u8) {
        world.wrong |= answer != world.call;
        world.call += 1;
        world.client = if world.call > self.calls { Client::End } else { Client::Begin };
        if world.client == Client::End {
            (world.closed, world.hung_up) = (true, true);
        }
    }

    /// Swaps the turn from what was posted last; false if it is another.
    fn post(&self, world: &mut World, at_socket: bool) -> bool {
        if world.turn != world.posted {
            return false;
        }
        world.turn = Turn { posted: world.turn.posted + 1, at_socket, away: false };
        world.posted = world.turn;
        true
    }

    fn client(&self, world: &World, out: &mut Vec<Move<World>>) {
        let mut step = |what, required, change: &dyn Fn(&mut World)| {
            let mut state = world.clone();
            change(&mut state);
            out.push(Move { who: "client", what, required, state });
        };
        let points_early = self.has(Mutation::PointsUnsent);
        match world.client {
            Client::Begin => {
                step("begin to write a request", true, &|world| {
                    world.request = TORN;
                    world.client = Client::Finish;
                    if self.has(Mutation::TurnBeforeMessage) {
                        let posted = self.post(world, false);
                        world.client = if posted { Client::Finish } else { Client::Send };
                    }
                });
                step("use the socket", false, &|world| {
                    world.client = if points_early { Client::Point } else { Client::Send };
                });
            }
            Client::Finish => step("finish the request", true, &|world| {
                world.request = world.call;
                let is_posted = self.has(Mutation::TurnBeforeMessage);
                world.client = if is_posted { Client::Unmark(Way::Ring) } else { Client::Post };
            }),
            Client::Post => step("post", true, &|world| {
                world.client = if self.post(world, false) { Client::Unmark(Way::Ring) } else { Client::Send };
            }),
            Client::Send if world.hung_up => step("send: closed", true, &|world| world.client = Client::End),
            Client::Send => step("send", true, &|world| {
                world.to_broker = world.call;
                world.client = if points_early { Client::HearSocket } else { Client::Point };
            }),
            Client::Point => step("point to the socket", true, &|world| {
                if self.has(Mutation::PointsInTheMessage) {
                    world.request = 0;
                    self.post(world, false);
                } else {
                    self.post(world, true);
                }
                world.client = if points_early { Client::Send } else { Client::Unmark(Way::Socket) };
            }),
            Client::Unmark(way) => step("unmark the event", true, &|world| {
                world.client = if world.event.unmark() { Client::Wake(way) } else { way.hear() };
            }),
            Client::Wake(way) => step("wake", true, &|world| {
                world.wake();
                world.client = way.hear();
            }),
            Client::HearRing if world.answered == world.posted.posted => {
                step("hear", true, &|world| world.client = Client::ReadResponse);
            }
            Client::HearRing if world.closed || world.hung_up && !self.has(Mutation::IgnoresHangUp) => {
                step("hear: closed", true, &|world| world.client = Client::End);
            }
            Client::ReadResponse => step("read the response", true, &|world| self.hear(world, world.response)),
            Client::HearSocket if world.to_client != 0 => step("hear at the socket", true, &|world| {
                let answer = std::mem::take(&mut world.to_client);
                self.hear(world, answer);
            }),
            Client::HearSocket if world.hung_up => step("hear: closed", true, &|world| world.client = Client::End),
            _ => {}
        }
        if matches!(world.client, Client::HearRing | Client::HearSocket) {
            step("give up", false, &|world| {
                (world.closed, world.hung_up, world.client) = (true, true, Client::End);
            });
        }
    }

    fn broker(&self, world: &World, out: &mut Vec<Move<World>>) {
        let mut step = |what, required, change: &dyn Fn(&mut World)| {
            let mut state = world.clone();
            change(&mut state);
            out.push(Move { who: "broker", what, required, state });
        };
        let is_served = !matches!(world.thread, Thread::None | Thread::Ended | Thread::Dead);
        if is_served && world.hung_up && world.end == End::Unseen {
            step("the loop says that it has seen the end", true, &|world| {
                (world.closed, world.end) = (true, End::Said)
            });
        }
        if is_served && world.end == End::Said {
            step("the loop wakes", true, &|world| {
                let was_marked = world.event.unmark();
                if was_marked || !self.has(Mutation::EndTrustsMark) {
                    world.wake();
                }
                world.end = End::Done;
            });
        }
        let execute = |world: &mut World, request: u8, next: Thread| {
            world.wrong |= request == TORN || request == 0;
            if let Some(count) = world.executed.get_mut(usize::from(request)) {
                *count += 1;
            }
            (world.executing, world.thread) = (request, next);
        };
        match world.thread {
            Thread::None if world.to_broker != 0 => {
                step("the loop gives the connection to a thread", true, &|world| {
                    let request = std::mem::take(&mut world.to_broker);
                    (world.executing, world.thread) = (request, Thread::Attend);
                });
            }
            Thread::None if world.hung_up => step("the loop closes", true, &|world| world.thread = Thread::Ended),
            Thread::Attend => step("attend", true, &|world| {
                if !self.has(Mutation::AttendsByOwnCount) {
                    world.taken = world.turn.as_seen();
                }
                world.turn = world.taken;
                execute(world, world.executing, Thread::AnswerSocket);
            }),
            Thread::AnswerSocket => step("answer over the socket", true, &|world| {
                world.to_client = world.executing;
                world.thread = Thread::Look;
            }),
            Thread::Look if world.turn.as_seen() != world.taken => step("take", true, &|world| {
                world.taken = world.turn.as_seen();
                world.thread = if world.taken.at_socket { Thread::ReadSocket } else { Thread::ReadRequest };
            }),
            Thread::Look if world.closed => step("end", true, &|world| world.thread = Thread::Ended),
            Thread::Look => {
                step("nothing was posted in time", false, &|world| world.thread = Thread::Leave);
                step("mark the event", false, &|world| {
                    world.event.marked = true;
                    (world.marked, world.thread) = (world.event, Thread::Marked);
                });
            }
            Thread::Marked => step("look once more", true, &|world| {
                let is_over = world.closed || world.turn.as_seen() != world.taken;
                world.thread = if is_over { Thread::Look } else { Thread::Sleep };
            }),
            Thread::Sleep => step("sleep", true, &|world| {
                world.thread = if world.event == world.marked { Thread::Asleep } else { Thread::Look };
            }),
            Thread::Asleep => {
                step("nothing was posted in time: awake", false, &|world| world.thread = Thread::Leave);
            }
            Thread::Leave => step("leave", true, &|world| {
                if self.has(Mutation::LeavesBlindly) || world.turn == world.taken {
                    (world.turn, world.thread) = (Turn { away: true, ..world.taken }, Thread::None);
                } else {
                    world.thread = Thread::Look;
                }
            }),
            Thread::ReadSocket => {
                let request = world.to_broker;
                let look = move |world: &mut World| {
                    world.to_broker = 0;
                    if request == 0 {
                        world.thread = Thread::Look
                    } else {
                        execute(world, request, Thread::AnswerSocket)
                    }
                };
                step("read the socket", true, &look);
                if request != 0 {
                    step("read what is the loop's to answer", false, &|world| {
                        (world.to_broker, world.executing, world.thread) = (0, request, Thread::GiveBack);
                    });
                }
            }
            Thread::GiveBack => step("give the connection back", true, &|world| {
                if self.has(Mutation::LeavesByOwnCount) {
                    world.turn = world.taken;
                }
                world.turn.away = true;
                execute(world, world.executing, Thread::None);
                world.to_client = world.executing;
            }),
            Thread::ReadRequest => step("read the request", true, &|world| {
                if world.request == 0 && self.has(Mutation::PointsInTheMessage) {
                    world.thread = Thread::ReadSocket;
                } else {
                    execute(world, world.request, Thread::Write);
                }
            }),
            Thread::Write => step("write the response", true, &|world| {
                world.response = TORN;
                if self.has(Mutation::AnswersBeforeBytes) {
                    world.answered = world.taken.posted;
                }
                world.thread = Thread::Answer;
            }),
            Thread::Answer => step("answer", true, &|world| {
                (world.response, world.answered) = (world.executing, world.taken.posted);
                world.thread = Thread::Look;
            }),
            _ => {}
        }
    }

    fn kills(&self, world: &World, out: &mut Vec<Move<World>>) {
        let mut kill = |what, change: &dyn Fn(&mut World)| {
            let mut state = world.clone();
            // The kernel closes what a dead process had open.
            (state.kills, state.hung_up) = (state.kills - 1, true);
            change(&mut state);
            out.push(Move { who: "kill", what, required: false, state });
        };
        if !matches!(world.client, Client::End | Client::Dead) {
            kill("client", &|world| world.client = Client::Dead);
        }
        if world.thread != Thread::Dead {
            kill("broker", &|world| world.thread = Thread::Dead);
        }
    }
}

impl Model for Calling {
    type State = World;

    fn start(&self) -> World {
        World {
            turn: Turn { away: true, ..Turn::default() },
            request: 0,
            answered: 0,
            response: 0,
            closed: false,
            event: Event::default(),
            marked: Event::default(),
            end: End::Unseen,
            to_broker: 0,
            to_client: 0,
            hung_up: false,
            client: Client::Begin,
            call: 1,
            posted: Turn::default(),
            thread: Thread::None,
            taken: Turn::default(),
            executing: 0,
            executed: [0; 5],
            kills: self.kills,
            wrong: false,
        }
    }

    fn moves(&self, world: &World, out: &mut Vec<Move<World>>) {
        self.client(world, out);
        self.broker(world, out);
        if world.kills != 0 {
            self.kills(world, out);
        }
    }

    fn broken(&self, world: &World) -> Option<&'static str> {
        if world.wrong {
            return Some("a request or an answer that is torn, or another one's");
        }
        world.executed.iter().any(|count| *count > 1).then_some("a call was executed twice")
    }

    fn unfinished(&self, world: &World) -> Option<&'static str> {
        if !matches!(world.client, Client::End | Client::Dead) {
            return Some("a client that waits for good");
        }
        (!matches!(world.thread, Thread::None | Thread::Ended | Thread::Dead)).then_some("a thread that waits for good")
    }

    fn describe(&self, world: &World) -> String {
        let World { turn, request, answered, response, closed, to_broker, to_client, .. } = world;
        format!(
            "{turn:?} request {request} answered {answered} response {response} closed {closed} socket {to_broker} {to_client}"
        )
    }
}
