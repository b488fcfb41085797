//! How long it is worth looking at a word before sleeping.
//!
//! Where the partner runs on another core, looking finds what it does within tens of nanoseconds, and sleeping costs tens of microseconds. Where both have one core, or
//! the partner is slow, every look is wasted, and a fixed time of it made calls many times slower. So the time is learned: a wait that was over in time doubles it, one that
//! ended asleep halves it, down to nothing. What was learned may become wrong: among short waits, ever fewer try a long look. A partner that began its last wait on the core on which one
//! waits now is not looked for at all, as far as one knows it: it runs only when one sleeps.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::event::Seen;
use crate::sys::process;

/// Nanoseconds of looking: at first; the least that is more than none; the most, about what a sleep costs on two cores.
const FIRST: u32 = 20_000;
const LEAST: u32 = 1_000;
const MOST: u32 = 50_000;
/// A trial: longer than it takes until a partner that sleeps has been woken and has answered.
const TRIAL: u32 = 100_000;
/// How many short waits lie between two trials, at first and after many in vain.
const OFTEN: u32 = 16;
const SELDOM: u32 = 8192;
/// So many looks go by before the clock is asked, and between two questions to it.
const UNTIMED: u32 = 128;
const BETWEEN: u32 = 32;
/// How many numbers of cores there are: what an event's word has room for.
const CORES: u32 = (1 << 10) - 1;

/// What one that waits has learned of its partner. Private to the process.
#[derive(Debug)]
pub(crate) struct Spin {
    /// Nanoseconds that the next wait may look.
    budget: AtomicU32,
    /// Short waits until the next trial, and from a trial to the next.
    until_trial: AtomicU32,
    between_trials: AtomicU32,
    /// The core of the partner, when it was last seen. 0: not known.
    partner: AtomicU32,
}

impl Default for Spin {
    fn default() -> Self {
        Self {
            budget: AtomicU32::new(FIRST),
            until_trial: AtomicU32::new(OFTEN),
            between_trials: AtomicU32::new(OFTEN),
            partner: AtomicU32::new(0),
        }
    }
}

// All Relaxed: threads that wait at the same place share a guess, and a lost update is another guess.
impl Spin {
    /// The core on which this thread runs, from 1 up. On a large machine several have one number.
    pub(crate) fn here(&self) -> u32 {
        process::core() % CORES + 1
    }

    /// Whether the partner may be running while one that waits on this core looks for it.
    pub(crate) fn is_worth_looking(&self, here: u32) -> bool {
        self.partner.load(Ordering::Relaxed) != here
    }

    /// Looks until `ready` returns something, or looking on is not worth it.
    pub(crate) fn until<R>(&self, ready: &mut impl FnMut() -> Option<R>) -> Option<R> {
        let is_trial = self.until_trial.load(Ordering::Relaxed) == 0;
        let budget = if is_trial { TRIAL } else { self.budget.load(Ordering::Relaxed) };
        if budget == 0 {
            return None;
        }
        let found = look(Duration::from_nanos(budget.into()), ready);
        self.learn(budget, is_trial, found.is_some());
        found
    }

    fn learn(&self, budget: u32, is_trial: bool, in_time: bool) {
        let next = if in_time { (2 * budget).clamp(LEAST, MOST) } else { budget / 2 };
        let is_worth_it = in_time || !is_trial && next >= LEAST;
        self.budget.store(if is_worth_it { next } else { 0 }, Ordering::Relaxed);
        if is_trial {
            let before = self.between_trials.load(Ordering::Relaxed);
            let between = if in_time { OFTEN } else { (2 * before).min(SELDOM) };
            self.between_trials.store(between, Ordering::Relaxed);
            self.until_trial.store(between, Ordering::Relaxed);
        }
    }

    /// Notes a wait that ended asleep. After long ones a trial would find nothing.
    pub(crate) fn slept(&self, waited: Duration) {
        let until_trial = self.until_trial.load(Ordering::Relaxed);
        if until_trial > 0 && waited < Duration::from_nanos(TRIAL.into()) {
            self.until_trial.store(until_trial - 1, Ordering::Relaxed);
        }
    }

    /// Notes what was seen of the partner when it was to be woken. If it was awake it may be looking, so the next wait does too.
    pub(crate) fn saw(&self, partner: Seen) {
        self.partner.store(partner.core, Ordering::Relaxed);
        if !partner.slept && self.budget.load(Ordering::Relaxed) < LEAST {
            self.budget.store(LEAST, Ordering::Relaxed);
        }
    }
}

/// Looks for so long. The first looks are not timed: on two cores they are enough.
fn look<R>(budget: Duration, ready: &mut impl FnMut() -> Option<R>) -> Option<R> {
    let mut turns = UNTIMED;
    let mut began = None;
    loop {
        for _ in 0..turns {
            std::hint::spin_loop();
            if let Some(found) = ready() {
                return Some(found);
            }
        }
        turns = BETWEEN;
        if began.get_or_insert_with(Instant::now).elapsed() >= budget {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::event::Event;
    use super::*;

    const AWAKE: Seen = Seen { slept: false, core: 0 };

    fn never() -> Option<()> {
        None
    }

    fn budget(spin: &Spin) -> u32 {
        spin.budget.load(Ordering::Relaxed)
    }

    /// Waits of which each ends asleep after so long.
    fn sleep_through(spin: &Spin, waits: u32, each: Duration) {
        for _ in 0..waits {
            assert_eq!(spin.until(&mut never), None);
            spin.slept(each);
        }
    }

    #[test]
    fn looking_in_vain_ends_and_looking_with_success_lasts() {
        let spin = Spin::default();
        sleep_through(&spin, 6, Duration::from_secs(1));
        assert_eq!(budget(&spin), 0);
        let mut looks = 0;
        assert_eq!(
            spin.until(&mut || {
                looks += 1;
                never()
            }),
            None
        );
        assert_eq!(looks, 0, "a partner that was never in time is not looked for");
        spin.saw(AWAKE);
        for _ in 0..10 {
            let mut looks = 0;
            assert!(
                spin.until(&mut || {
                    looks += 1;
                    (looks > 3).then_some(())
                })
                .is_some()
            );
        }
        assert_eq!(budget(&spin), MOST);
        spin.saw(AWAKE);
        assert_eq!(budget(&spin), MOST);
    }

    #[test]
    fn what_is_there_at_once_teaches_nothing() {
        let (word, spin) = (AtomicU32::new(0), Spin::default());
        sleep_through(&spin, 6, Duration::from_secs(1));
        for _ in 0..100 {
            assert_eq!(Event::new(&word).wait(&spin, None, || Some(7)), Some(7));
        }
        assert_eq!(budget(&spin), 0);
    }

    #[test]
    fn a_partner_on_the_same_core_is_not_looked_for() {
        let (word, spin) = (AtomicU32::new(0), Spin::default());
        let count_looks = || {
            let mut looks = 0;
            let nothing = || {
                looks += 1;
                never()
            };
            assert_eq!(Event::new(&word).wait(&spin, Some(Duration::ZERO), nothing), None);
            looks
        };
        assert!(count_looks() > UNTIMED);
        // Whichever core that is: this thread may be on another one by now.
        let all: Vec<u32> = (1..=CORES).collect();
        let told = Event::new(&word).wake().core;
        assert!(all.contains(&told), "one that waits says where");
        let looked = all.iter().filter(|core| spin_with(**core).is_worth_looking(told)).count();
        assert_eq!(looked, all.len() - 1);
    }

    fn spin_with(core: u32) -> Spin {
        let spin = Spin::default();
        spin.saw(Seen { slept: true, core });
        spin
    }

    #[test]
    fn trials_come_among_short_waits_only_and_ever_more_rarely() {
        let count_trials = |spin: &Spin, waits: u32, each: Duration| {
            let mut trials = 0;
            for _ in 0..waits {
                trials += u32::from(spin.until_trial.load(Ordering::Relaxed) == 0);
                sleep_through(spin, 1, each);
            }
            trials
        };
        let spin = Spin::default();
        assert_eq!(count_trials(&spin, 1000, Duration::from_millis(1)), 0);
        // 16, 32, ... 8192 waits, then as many each time.
        assert_eq!(count_trials(&spin, 16383, Duration::from_micros(5)), 10);
        assert_eq!(count_trials(&spin, 4 * SELDOM, Duration::from_micros(5)), 4);
        assert_eq!(budget(&spin), 0);
        // One that finds something begins anew.
        sleep_through(&spin, SELDOM, Duration::from_micros(5));
        spin.until_trial.store(0, Ordering::Relaxed);
        let mut looks = 0;
        assert!(
            spin.until(&mut || {
                looks += 1;
                (looks > 2).then_some(())
            })
            .is_some()
        );
        assert_eq!((budget(&spin), spin.between_trials.load(Ordering::Relaxed)), (MOST, OFTEN));
    }

    #[test]
    fn a_wait_ends_in_time_also_if_nobody_wakes() {
        let (word, spin) = (AtomicU32::new(0), Spin::default());
        assert_eq!(Event::new(&word).wait(&spin, Some(Duration::from_millis(5)), never), None);
    }

    #[test]
    fn a_wake_without_a_sleeper_changes_nothing() {
        let word = AtomicU32::new(0);
        assert_eq!(Event::new(&word).wake(), AWAKE);
        assert_eq!(word.load(Ordering::Relaxed), 0);
        // One that has died asleep.
        word.store(5, Ordering::Relaxed);
        assert!(Event::new(&word).wake().slept && !Event::new(&word).wake().slept);
        assert_eq!(word.load(Ordering::Relaxed), 6);
        // The count begins anew, and leaves the core alone.
        word.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(Event::new(&word).wake(), Seen { slept: true, core: CORES });
        assert_eq!(word.load(Ordering::Relaxed), CORES << 22);
    }

    /// Two that wait for each other in turn, of which neither, one or both sleep each time.
    #[test]
    fn no_wake_up_is_lost_however_the_two_wait() {
        const TURNS: u32 = 3000;
        for (mine, theirs) in [(0, 0), (MOST, 0), (0, MOST), (MOST, MOST)] {
            let words: [AtomicU32; 4] = Default::default();
            let side = |mine: usize, theirs: usize, budget: u32| {
                let spin = Spin::default();
                for turn in 1..=TURNS {
                    spin.budget.store(budget, Ordering::Relaxed);
                    words[mine].store(turn, Ordering::Release);
                    Event::new(&words[mine + 1]).wake();
                    let there = || (words[theirs].load(Ordering::Acquire) >= turn).then_some(());
                    // Without an end: a wake-up that is lost hangs here.
                    assert!(Event::new(&words[theirs + 1]).wait(&spin, None, there).is_some());
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| side(0, 2, mine));
                side(2, 0, theirs);
            });
        }
    }

    /// Several sleep at one event, each for a condition of its own, so that each wake-up is for one of them.
    #[test]
    fn those_who_are_woken_for_another_sleep_on_and_are_woken_again() {
        const WAITERS: u32 = 4;
        const TURNS: u32 = 500;
        let (word, turn) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for me in 0..WAITERS {
                let (word, turn) = (&word, &turn);
                scope.spawn(move || {
                    let spin = Spin::default();
                    for round in 0..TURNS {
                        let my_turn = round * WAITERS + me;
                        let there = || (turn.load(Ordering::Acquire) == my_turn).then_some(());
                        assert!(Event::new(word).wait(&spin, None, there).is_some());
                        turn.store(my_turn + 1, Ordering::Release);
                        Event::new(word).wake();
                    }
                });
            }
        });
        assert_eq!(turn.load(Ordering::Relaxed), WAITERS * TURNS);
    }
}
