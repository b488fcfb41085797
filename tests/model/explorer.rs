//! Walks every state that a model can reach, breadth first, and keeps the way to each of them.

use std::fmt::{self, Debug, Write as _};
use std::hash::{Hash, Hasher};

/// A finite system: its first state, what can happen in a state, and what must never be seen.
pub(crate) trait Model {
    type State: Clone + Eq + Hash;

    fn start(&self) -> Self::State;

    /// Everything that can happen next.
    fn moves(&self, state: &Self::State, out: &mut Vec<Move<Self::State>>);

    /// A promise that this state breaks.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;

    /// A promise that this state breaks if nothing has to happen any more.
    fn unfinished(&self, state: &Self::State) -> Option<&'static str>;

    /// The words that a reader of a trace wants to see.
    fn describe(&self, state: &Self::State) -> String;
}

/// One micro-step.
pub(crate) struct Move<S> {
    pub(crate) who: &'static str,
    pub(crate) what: &'static str,
    /// False for what may happen but need not: a kill, an expiry.
    pub(crate) required: bool,
    pub(crate) state: S,
}

/// What a walk saw.
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) quiet: usize,
    pub(crate) violation: Option<Violation>,
}

/// A broken promise and the shortest way to it.
pub(crate) struct Violation {
    pub(crate) what: &'static str,
    pub(crate) trace: Vec<String>,
}

impl Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{} after {} steps\n", self.what, self.trace.len());
        for (number, line) in self.trace.iter().enumerate() {
            writeln!(text, "{:3}  {line}", number + 1)?;
        }
        f.write_str(&text)
    }
}

/// Walks the whole model, or up to the first broken promise.
///
/// # Panics
/// If there are more than `limit` states: such a scene is too large to be run at every build.
pub(crate) fn explore<M: Model>(model: &M, limit: usize) -> Report {
    let mut seen = Seen::new();
    let mut moves = Vec::new();
    let mut quiet = 0;
    seen.insert(model.start(), 0, 0);
    let mut at = 0;
    while at < seen.states.len() {
        let state = seen.states[at].clone();
        moves.clear();
        model.moves(&state, &mut moves);
        let mut fault = None;
        if !moves.iter().any(|step| step.required) {
            quiet += 1;
            fault = model.unfinished(&state).map(|what| (what, at));
        }
        for (number, step) in moves.drain(..).enumerate() {
            if fault.is_some() {
                break;
            }
            if let Some(new) = seen.insert(step.state, at, number) {
                fault = model.broken(&seen.states[new]).map(|what| (what, new));
            }
        }
        if let Some((what, end)) = fault {
            let trace = seen.trace(model, end);
            return Report { states: seen.states.len(), quiet, violation: Some(Violation { what, trace }) };
        }
        assert!(seen.states.len() <= limit, "more than {limit} states");
        at += 1;
    }
    Report { states: seen.states.len(), quiet, violation: None }
}

/// The states in the order in which they were found, with an open-addressed index over them.
struct Seen<S> {
    states: Vec<S>,
    /// For each state the one it was first reached from, and by which of its moves.
    from: Vec<(u32, u8)>,
    /// State number + 1, zero for an empty place; the length is a power of two.
    index: Vec<u32>,
}

impl<S: Clone + Eq + Hash> Seen<S> {
    fn new() -> Self {
        Self { states: Vec::new(), from: Vec::new(), index: vec![0; 1 << 12] }
    }

    /// The number of the state if it is new.
    fn insert(&mut self, state: S, from: usize, number: usize) -> Option<usize> {
        if self.states.len() * 2 >= self.index.len() {
            self.grow();
        }
        let mask = self.index.len() - 1;
        let mut place = hash(&state) & mask;
        while self.index[place] != 0 {
            if self.states[self.index[place] as usize - 1] == state {
                return None;
            }
            place = (place + 1) & mask;
        }
        self.states.push(state);
        self.from.push((from as u32, number as u8));
        self.index[place] = self.states.len() as u32;
        Some(self.states.len() - 1)
    }

    fn grow(&mut self) {
        let mask = self.index.len() * 2 - 1;
        let mut index = vec![0; mask + 1];
        for (number, state) in self.states.iter().enumerate() {
            let mut place = hash(state) & mask;
            while index[place] != 0 {
                place = (place + 1) & mask;
            }
            index[place] = number as u32 + 1;
        }
        self.index = index;
    }

    fn trace<M: Model<State = S>>(&self, model: &M, end: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut at = end;
        while at != 0 {
            let (from, number) = self.from[at];
            let mut moves = Vec::new();
            model.moves(&self.states[from as usize], &mut moves);
            let step = &moves[number as usize];
            let words = model.describe(&step.state);
            lines.push(format!("{:7} {:28} {words}", step.who, step.what));
            at = from as usize;
        }
        lines.reverse();
        lines
    }
}

fn hash<S: Hash>(state: &S) -> usize {
    let mut mixer = Mixer(0);
    state.hash(&mut mixer);
    mixer.finish() as usize
}

/// A multiply-and-rotate hash: the states are many and small, and nobody chooses them in bad faith.
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        // The high bits are the well-mixed ones; the index uses the low ones.
        self.0 ^ (self.0 >> 32)
    }
}
