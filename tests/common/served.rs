//! A broker in a process of its own, which can be killed and started again, and of which nothing is left in the end, also when the test fails.

use std::fs;
use std::path::Path;
use std::sync::Once;

use sharehold::{Backing, Broker, BrokerBuilder, Manager};

use super::{Actor, listen, say};

pub struct Served {
    pub name: String,
    backing: &'static str,
    broker: Option<Actor>,
}

impl Served {
    /// The role "serve" of the test binary gets the name and the backing, and says "serving".
    pub fn start(what: &str, backing: &'static str) -> Self {
        static CLEARED: Once = Once::new();
        CLEARED.call_once(clear_rests);
        let mut served = Self { name: format!("{what}-{backing}-{}", std::process::id()), backing, broker: None };
        served.serve(backing);
        served
    }

    pub fn serve(&mut self, backing: &str) {
        let broker = Actor::start("serve", &[&self.name, backing]);
        assert_eq!(broker.hear(), "serving");
        self.broker = Some(broker);
    }

    pub fn kill(&mut self) {
        self.take().kill();
    }

    /// Whether the process of the broker is there.
    pub fn is_alive(&mut self) -> bool {
        self.broker.as_mut().is_some_and(Actor::is_alive)
    }

    /// Starts it again after it was killed.
    pub fn again(&mut self) {
        self.serve(self.backing);
    }

    /// The process, which is to end by itself.
    pub fn take(&mut self) -> Actor {
        self.broker.take().expect("it serves")
    }

    pub fn put(&mut self, broker: Actor) {
        self.broker = Some(broker);
    }

    pub fn restart(&mut self) {
        self.kill();
        self.serve(self.backing);
    }

    pub fn broker(&mut self) -> &mut Actor {
        self.broker.as_mut().expect("it serves")
    }

    /// Kills the broker and starts one in another role, which is not waited for.
    pub fn replace(&mut self, role: &str) {
        self.kill();
        self.broker = Some(Actor::start(role, &[&self.name, self.backing]));
    }

    pub fn manager(&self) -> Manager {
        Manager::connect(&self.name).expect("connected")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let shut_down = || Manager::connect(&self.name).is_ok_and(|manager| manager.shutdown().is_ok());
        let in_order = self.broker.is_some() && shut_down();
        match self.broker.take() {
            Some(broker) if in_order => broker.end(),
            broker => {
                drop(broker);
                clear(&self.name);
            }
        }
    }
}

/// Removes what a dead broker has left, as the next one of its name does. Does nothing to one that lives.
fn clear(name: &str) {
    drop(Broker::builder().name(name).capacity(1 << 20).fresh().spawn());
}

/// Removes what runs of tests have left that were killed: of the brokers of [`Served`], and of those without a name.
fn clear_rests() {
    let segments = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let prefix = format!("sharehold-{}-", rustix::process::geteuid().as_raw());
    let segments = segments.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(&prefix)?.to_owned()));
    for name in sharehold::brokers().into_iter().chain(segments) {
        let parts: Vec<&str> = name.rsplit('-').collect();
        let starter = match parts[..] {
            [pid, "memfd" | "segment", ..] | [_, pid, "auto"] => pid.parse::<u32>().ok(),
            _ => None,
        };
        if starter.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            clear(&name);
        }
    }
}

/// The role "serve": a broker of the name and the backing in the arguments, otherwise as it was begun, which says "serving". It ends when it is told, and with its test however that ends.
pub fn serve(arguments: &[String], broker: BrokerBuilder) -> sharehold::Result<()> {
    serve_with(arguments, broker, || {})
}

/// As [`serve`], and does something when it has said so.
pub fn serve_with(arguments: &[String], broker: BrokerBuilder, ready: impl FnOnce()) -> sharehold::Result<()> {
    let backing = if arguments[1] == "segment" { Backing::Segment } else { Backing::Memfd };
    broker.name(&arguments[0]).backing(backing).serve_with(|name| {
        let name = name.to_owned();
        std::thread::spawn(move || {
            while listen().is_some() {}
            // In vain, if it is on its way already.
            let _ = Manager::connect(&name).and_then(|manager| manager.shutdown());
        });
        say("serving");
        ready();
    })
}
