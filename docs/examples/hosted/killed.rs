//! A client is killed in the middle of a call: the object can be used again, and the client's proxies are given back.
//!
//! Run it with `cargo run --example killed`. It starts itself again as the client that is killed.
#![allow(clippy::print_stdout, reason = "a program that shows something")]

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use sharehold::{CallScope, Manager, Proxy, Ticket, Value};

const PATIENCE: Duration = Duration::from_secs(10);

struct Patient {
    /// In shared memory, so that others see it while a call has the object for itself.
    began: Value<u32>,
    ended: u32,
}

#[sharehold::class]
impl Patient {
    pub fn new(began: Value<u32>) -> Self {
        Self { began, ended: 0 }
    }

    /// Goes on as long as its caller waits. It has `&mut self`, so meanwhile all other calls on the object wait.
    pub fn wait(&mut self) -> sharehold::Result<()> {
        self.began.set(1)?;
        while !sharehold::is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ended += 1;
        Ok(())
    }

    pub fn ended(&self) -> u32 {
        self.ended
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(text) = std::env::args().nth(1) {
        let patient: PatientProxy = sharehold::redeem(&text.parse::<Ticket>()?)?;
        let _more = [patient.clone(), patient.clone()];
        return Ok(patient.wait()?); // it never returns
    }
    let manager = Manager::builder().class::<Patient>().start()?;
    let began = manager.value(0)?;
    let patient = PatientProxy::new(&manager, began.clone())?;
    let ticket = patient.ticket()?.to_string();

    let mut client = Command::new(std::env::current_exe()?).arg(ticket).spawn()?;
    let started = Instant::now();
    while began.get()? == 0 && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("The client is in its call; the object has {} proxies.", manager.object_info(patient.id())?.proxies());
    assert_eq!(manager.object_info(patient.id())?.proxies(), 4);

    client.kill()?;
    let killed = Instant::now();
    // Limits of time belong to the caller: without one, this would wait as long as the method runs.
    let ended = CallScope::new().timeout(PATIENCE).run(|| patient.ended())?;
    println!("The object was free again {:.1?} after the kill.", killed.elapsed());
    assert_eq!(ended, 1);

    while manager.object_info(patient.id())?.proxies() > 1 && killed.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("The client's three proxies were given back {:.1?} after the kill.", killed.elapsed());
    assert_eq!(manager.object_info(patient.id())?.proxies(), 1);
    client.wait()?;
    Ok(())
}
