//! A broker as a child process of the program that starts it, from the program's own executable.
//!
//! The program is run again with a role in its environment; a constructor of this library, which the loader calls before `main`, sees the role,
//! serves, and never comes to `main`. So no other program has to be installed, and no thread is copied as by `fork`. Where this library is only a part of what runs, as
//! in an interpreter, another command is run, which serves when it is ready to.
//!
//! A socket pair ties the two: the child gets its configuration from it, says over it that it is ready, and ends when the other end is closed, as it is by any death of
//! the parent. A process that the parent forks may keep that end open, so the child also watches the parent's pidfd.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Config;
use super::server::Server;
use crate::class::ClassTable;
use crate::control::authkey::{Authkey, LONGEST};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::claim::Claim;
use crate::sys::{place, process, socket};

/// Names the role, of a child that is this program.
const ROLE: &str = "SHAREHOLD_BROKER_ROLE";
/// Longest configuration: a few numbers, and the names of classes.
const LONGEST_CONFIG: usize = 1 << 16;
/// How long a broker may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a child that can't be waited for.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// A broker that runs as a child. Dropping it ends the broker and waits for it.
#[derive(Debug)]
pub(crate) struct BrokerChild {
    config: Config,
    child: Child,
    lifeline: UnixStream,
}

impl BrokerChild {
    /// Starts the broker and waits until it serves.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        config.check()?;
        let doing = "start a broker process";
        let (mut lifeline, theirs) = UnixStream::pair().map_err(|error| Error::os(doing, error))?;
        // The key neither by the arguments nor by the environment, which others can read. The socket has room for both.
        let text = config.to_string();
        let authkey = config.authkey.as_ref().map_or(&[][..], Authkey::bytes);
        for part in [text.as_bytes(), authkey] {
            let sent = [&(part.len() as u32).to_le_bytes(), part].concat();
            lifeline.write_all(&sent).map_err(|error| Error::os(doing, error))?;
        }
        let mut command = match &config.command[..] {
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            [] => {
                // Named here, so that it is linked also out of an archive, of which only what is named is taken.
                std::hint::black_box(&CONSTRUCTOR);
                let mut command = Command::new(process::program());
                command.arg0(format!("sharehold-broker {}", config.name)).env(ROLE, "child");
                command
            }
        };
        let child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // Of its own: a Ctrl-C in the terminal is for the parent, and the broker ends with it.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::os(doing, error))?;
        // It has the other end, which only the child may have: that it is closed says that the child has ended.
        drop(command);
        let mut started = Self { config: config.clone(), child, lifeline };
        started.wait_until_ready()?;
        Ok(started)
    }

    /// Starts it again. The new one takes over the region that its clients have kept.
    pub(crate) fn restart(&mut self) -> Result<()> {
        // What has closed its sockets may not have ended yet.
        self.end();
        *self = Self::start(&Config { fresh: false, ..self.config.clone() })?;
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        while line.len() < 8192
            && !line.contains(&b'\n')
            && socket::wait_readable(&self.lifeline, Some(until)).unwrap_or(false)
            && socket::receive_now(&self.lifeline, &mut line).is_ok_and(|count| count > 0)
        {}
        let line = String::from_utf8_lossy(&line);
        let line = line.lines().next().unwrap_or_default();
        match line.split_once(' ') {
            Some(("ready", _)) => Ok(()),
            Some((number, message)) => {
                let kind = number.parse().ok().and_then(ErrorKind::from_number).unwrap_or(ErrorKind::BrokerGone);
                Err(Error::new(kind, message))
            }
            None => Err(Error::new(ErrorKind::BrokerGone, "the broker process ended before it was ready")
                .help("if the program is set-user-id or statically linked without constructors, start `sharehold serve` and connect")),
        }
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BrokerChild {
    fn drop(&mut self) {
        self.end();
        if self.config.is_unnamed
            && let Err(error) = clear(&self.config.name)
        {
            tracing::debug!(%error, "what a dead broker has left stays");
        }
    }
}

/// Removes what a broker that was killed has left, unless another one has the name by now.
fn clear(name: &str) -> Result<()> {
    if let Some(_claim) = Claim::of_dead(name)? {
        place::remove_segment(&place::segment_name(name))?;
    }
    Ok(())
}

impl BrokerChild {
    /// Has it end in order, kills it if it does not, and waits for it. Does nothing if that was done.
    fn end(&mut self) {
        let _ = self.lifeline.shutdown(Shutdown::Both);
        let until = Instant::now() + PATIENCE;
        match process::pidfd(self.child.id()) {
            Ok(pidfd) => drop(socket::wait_readable(&pidfd, Some(until))),
            // There may be no pidfds: valgrind 3.19 does not let the call pass.
            Err(_) => {
                while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                    std::thread::sleep(ASK_AGAIN);
                }
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            tracing::warn!(pid = self.child.id(), "the broker does not end and is killed");
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Called by the loader before `main`, in every program that links this library.
#[expect(unsafe_code, reason = "a place in the loader's list of constructors")]
#[used]
// SAFETY: the section holds pointers to functions of this very type, which the loader calls once.
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    // A set-user-id program does not take a role from whoever runs it.
    if process::is_secure() {
        return;
    }
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    // The role is for this process: a program that a method starts is none.
    #[expect(unsafe_code, reason = "the environment is changed before any other thread is there")]
    // SAFETY: called by the loader before `main`; this library has started no thread.
    unsafe {
        std::env::remove_var(ROLE);
    }
    let served = std::panic::catch_unwind(|| serve_parent(|config| classes_of_this_program(&config.classes)));
    std::process::exit(i32::from(!matches!(served, Ok(Ok(())))));
}

/// Every class of this program that was declared with the attribute, collected by the linker.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static CLASSES: [fn() -> ClassTable];

fn classes_of_this_program(names: &[String]) -> Result<Vec<Arc<ClassTable>>> {
    let all: Vec<ClassTable> = CLASSES.iter().map(|table| table()).collect();
    let mut wanted = Vec::new();
    for table in all {
        if names.contains(&table.name) && wanted.iter().all(|other: &Arc<ClassTable>| other.name != table.name) {
            wanted.push(Arc::new(table));
        }
    }
    match names.iter().find(|name| wanted.iter().all(|table| table.name != **name)) {
        Some(missing) => Err(Error::new(ErrorKind::ClassNotFound, format!("this program has no class '{missing}'"))),
        None => Ok(wanted),
    }
}

/// One of the two things that the parent sends first.
fn receive(mut lifeline: &UnixStream, longest: usize) -> Result<Vec<u8>> {
    let failed = |error| Error::os("receive a broker's configuration", error);
    let mut len = [0; 4];
    lifeline.read_exact(&mut len).map_err(failed)?;
    let mut part = vec![0; (u32::from_le_bytes(len) as usize).min(longest)];
    lifeline.read_exact(&mut part).map_err(failed)?;
    Ok(part)
}

/// Serves until the parent ends. The standard input is the lifeline.
pub(super) fn serve_parent(classes: impl FnOnce(&Config) -> Result<Vec<Arc<ClassTable>>>) -> Result<()> {
    let parent = rustix::process::getppid();
    process::raise_descriptor_limit();
    let keep = |error| Error::os("keep a descriptor", error);
    let mut lifeline = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(keep)?);
    let server = receive(&lifeline, LONGEST_CONFIG).and_then(|text| {
        let mut config: Config = String::from_utf8_lossy(&text).parse()?;
        if !config.debuggable {
            process::refuse_tracers();
        }
        let authkey = receive(&lifeline, LONGEST)?;
        config.authkey = (!authkey.is_empty()).then(|| Authkey::new(authkey));
        let mut server = Server::new(&config, &classes(&config)?)?;
        server.stop_on(lifeline.as_fd().try_clone_to_owned().map_err(keep)?)?;
        if let Some(parent) = parent {
            // If the parent is gone already, the lifeline is closed and says so.
            if let Ok(pidfd) = process::pidfd(parent.as_raw_nonzero().get().unsigned_abs()) {
                server.stop_on(pidfd)?;
            }
        }
        Ok(server)
    });
    let said = match &server {
        Ok(_) => writeln!(lifeline, "ready {}", std::process::id()),
        Err(error) => writeln!(lifeline, "{} {}", error.kind() as u32, error.to_string().replace('\n', " ")),
    };
    let server = server?;
    said.map_err(|error| Error::os("tell the parent of a broker that it is ready", error))?;
    server.run()
}
