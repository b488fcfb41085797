//! Those who work in a region while it is damaged.

use std::time::Duration;

use sharehold::{Archive, Array, CallScope, ErrorKind, List, Manager, Proxy, Receiver, Sender, Ticket, Value, Weak};

use crate::common::{listen, say};
use crate::random::Random;

/// Time that any wait of a worker may take: locks may be damaged so that nobody lets go of them.
pub(crate) const SOON: Duration = Duration::from_millis(20);

/// Works with whatever there is, whatever comes of it: only a crash or a hang is wrong.
pub(crate) fn work(name: &str, seed: u64) {
    let mut worker = Worker::new(seed);
    say("ready");
    let mut done = 0_u64;
    let until = std::thread::spawn(|| while listen().is_some() {});
    'again: while !until.is_finished() {
        let Ok(manager) = Manager::connect(name) else { continue };
        loop {
            if until.is_finished() {
                break 'again;
            }
            done += 1;
            if worker.step(&manager).is_err_and(|error| error.kind() == ErrorKind::BrokerGone) {
                // The session was ended. What is held goes on being used.
                continue 'again;
            }
        }
    }
    say(done);
}

/// Comes, looks at all that can be seen, and goes.
pub(crate) fn visit(name: &str) {
    let manager = match Manager::connect(name) {
        Ok(manager) => manager,
        Err(error) => return say(error),
    };
    let objects = manager.debug_info().map_or(0, |objects| objects.len());
    let names = manager.names().expect("ours");
    for found in &names {
        let _ = manager.lookup::<Array<u64>>(&found.name).and_then(|array| array.read_for(SOON).map(|all| all.len()));
    }
    say(format_args!("{objects} objects, {} names, {} tickets", names.len(), manager.tickets().expect("ours").len()));
}

type BothEnds = (Sender<Array<u64>>, Receiver<Array<u64>>);

#[derive(Default)]
pub(crate) struct Worker {
    random: Random,
    arrays: Vec<Array<u64>>,
    values: Vec<Value<[u64; 4]>>,
    archives: Vec<Archive<Vec<u64>>>,
    lists: Vec<List>,
    weak: Vec<Weak<Array<u64>>>,
    /// Both ends of channels.
    ends: Vec<BothEnds>,
}

/// One of those that there are.
fn any<'a, T>(random: &mut Random, of: &'a [T]) -> sharehold::Result<&'a T> {
    let place = random.below(of.len().max(1) as u64) as usize;
    of.get(place).ok_or_else(|| "nothing".parse::<sharehold::ObjectId>().expect_err("it is none"))
}

impl Worker {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random(seed), ..Self::default() }
    }

    pub(crate) fn step(&mut self, manager: &Manager) -> sharehold::Result<()> {
        let Self { random, arrays, values, archives, lists, weak, ends } = self;
        let name = format!("name {}", random.below(20));
        match random.below(26) {
            0 => arrays.push(manager.array(&vec![7; 1 << random.below(14)])?),
            1 => values.push(manager.value([1; 4])?),
            2 => manager.publish_over(&name, any(random, arrays)?)?,
            3 => arrays.push(manager.lookup(&name)?),
            4 => {
                let ticket = any(random, arrays)?.ticket()?;
                arrays.push(manager.redeem(&ticket.to_string().parse::<Ticket>()?)?);
            }
            5 => arrays.truncate(random.below(40) as usize),
            6 => values.truncate(random.below(40) as usize),
            // Their sum may be anything.
            7 => {
                let array = any(random, arrays)?.read_for(SOON)?;
                _ = array.iter().fold(0, |sum: u64, n| sum.wrapping_add(*n));
            }
            8 => any(random, arrays)?.write_for(SOON)?.fill(9),
            9 => any(random, values)?.update_for(SOON, |all| all[0] = all[0].wrapping_add(1))?,
            10 => _ = any(random, values)?.get()?,
            11 => {
                let array = any(random, arrays)?.clone();
                weak.push(array.downgrade());
                arrays.push(array);
            }
            12 => arrays.extend(any(random, weak)?.upgrade()),
            13 => weak.truncate(random.below(40) as usize),
            14 => _ = any(random, arrays)?.sealed()?.len(),
            15 => archives.push(manager.archive(&vec![3; 1 << random.below(12)])?),
            // Not read in place: who changes what is sealed lies to its readers.
            16 => _ = any(random, archives)?.get().map(drop),
            17 => archives.truncate(random.below(20) as usize),
            18 => lists.push(List::new(manager)?),
            19 => {
                let list = any(random, lists)?;
                CallScope::new().timeout(SOON).run(|| {
                    list.push(any(random, arrays)?.clone())?;
                    list.push(vec![1_u8; 1 << random.below(16)])?;
                    list.get(0).map(drop)
                })?;
            }
            20 => lists.truncate(random.below(10) as usize),
            21 => {
                let channel = manager.channel(1 << random.below(4))?;
                ends.push((channel.sender()?, channel.receiver()?));
            }
            22 => {
                let (array, (sender, _)) = (any(random, arrays)?.clone(), any(random, ends)?);
                sender.send_timeout(array, SOON)?;
            }
            23 => arrays.push(any(random, ends)?.1.recv_timeout(SOON)?),
            24 => ends.truncate(random.below(20) as usize),
            _ => {
                manager.debug_info()?;
                manager.names()?;
                manager.tickets()?;
                manager.collect()?;
            }
        }
        Ok(())
    }
}
