//! How a broker is set up and run.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::child;
use super::server::Server;
use crate::class::{Class, ClassTable};
use crate::control::authkey::Authkey;
use crate::error::{Error, ErrorKind, Result};
use crate::region::Backing;
use crate::region::layout::{Capacities, PAGE};
use crate::sys::{found, process, signals};

/// All that a broker can be told.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) name: String,
    /// Whether the name was made up for it: no other broker ever takes it over. Not written out: it is the parent's business.
    pub(crate) is_unnamed: bool,
    pub(crate) backing: Backing,
    pub(crate) capacities: Capacities,
    /// Whether what a dead broker of the name has left is thrown away.
    pub(crate) fresh: bool,
    /// Whether its process can be traced by others of its user.
    pub(crate) debuggable: bool,
    /// Whether the heap is asked for in huge pages.
    pub(crate) huge_pages: bool,
    /// Users whose processes may attach, beside the broker's own.
    pub(crate) allowed: Vec<u32>,
    /// What clients have to prove that they know. Not written out: a child gets it by another way.
    pub(crate) authkey: Option<Authkey>,
    /// Classes that a child is to serve: it finds them in its own program.
    pub(crate) classes: Vec<String>,
    /// What is run as a child. Empty: this program again. Not written out either.
    pub(crate) command: Vec<OsString>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "default".into(),
            is_unnamed: false,
            backing: Backing::default(),
            capacities: Capacities {
                sessions: 1024,
                objects: 1 << 21,
                tickets: 1 << 16,
                names: 4096,
                types: 1024,
                heap: (process::total_memory() / 2).max(64 << 20) / PAGE * PAGE,
            },
            fresh: false,
            debuggable: false,
            huge_pages: false,
            allowed: Vec::new(),
            authkey: None,
            classes: Vec::new(),
            command: Vec::new(),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        crate::sys::place::check_name(&self.name)?;
        self.authkey.as_ref().map_or(Ok(()), Authkey::check)?;
        if self.capacities.are_possible() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidArgument, format!("a broker can't have these sizes: {:?}", self.capacities))
            .help("2 to 4096 sessions, 1 to 2^30 objects, 1 to 2^24 tickets and names, 4 KiB to 64 TiB of memory"))
    }

    /// Whether processes of this user may attach.
    pub(crate) fn allows(&self, uid: u32) -> bool {
        uid == found::user() || self.allowed.contains(&uid)
    }

    /// Whether other users' processes may attach, and have to reach its socket.
    pub(crate) fn is_for_others(&self) -> bool {
        self.allowed.iter().any(|uid| *uid != found::user())
    }
}

/// For the hand-over to a child: the fields, separated by tabs.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.capacities;
        let segment = u8::from(self.backing == Backing::Segment);
        write!(
            f,
            "{}\t{segment}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t",
            self.name,
            c.sessions,
            c.objects,
            c.tickets,
            c.names,
            c.types,
            c.heap,
            u8::from(self.fresh),
            u8::from(self.debuggable),
            u8::from(self.huge_pages),
        )?;
        let allowed: Vec<String> = self.allowed.iter().map(u32::to_string).collect();
        f.write_str(&allowed.join(","))?;
        self.classes.iter().try_for_each(|class| write!(f, "\t{class}"))
    }
}

impl FromStr for Config {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fields: Vec<&str> = text.split('\t').collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok());
        let numbers =
            |list: &str| list.split_terminator(',').map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>();
        let config = || {
            Some(Self {
                name: (*fields.first()?).into(),
                is_unnamed: false,
                backing: if number(1)? == 1 { Backing::Segment } else { Backing::Memfd },
                capacities: Capacities {
                    sessions: number(2)?,
                    objects: number(3)?,
                    tickets: number(4)?,
                    names: number(5)?,
                    types: number(6)?,
                    heap: fields.get(7)?.parse().ok()?,
                },
                fresh: number(8)? == 1,
                debuggable: number(9)? == 1,
                huge_pages: number(10)? == 1,
                allowed: numbers(fields.get(11)?)?,
                authkey: None,
                classes: fields.get(12..).unwrap_or_default().iter().map(|class| (*class).to_owned()).collect(),
                command: Vec::new(),
            })
        };
        config().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "this is not a broker's configuration"))
    }
}

/// Adds the setters that brokers and managers have in common.
macro_rules! config_setters {
    () => {
        /// Name by which others find it: letters, digits, dots, dashes, underscores.
        #[must_use]
        pub fn name(mut self, name: impl Into<String>) -> Self {
            (self.config.name, self.config.is_unnamed) = (name.into(), false);
            self
        }

        /// Bytes of objects that it has room for; default: half of the machine's memory. What is not used costs nothing.
        #[must_use]
        pub fn capacity(mut self, bytes: u64) -> Self {
            self.config.capacities.heap = bytes.checked_next_multiple_of($crate::region::layout::PAGE).unwrap_or(bytes);
            self
        }

        /// Most live objects; default 2,097,152.
        #[must_use]
        pub fn objects(mut self, most: u32) -> Self {
            self.config.capacities.objects = most;
            self
        }

        /// Most attached processes, the broker included; default 1024.
        #[must_use]
        pub fn sessions(mut self, most: u32) -> Self {
            self.config.capacities.sessions = most;
            self
        }

        /// Most tickets that are not redeemed yet; default 65,536.
        #[must_use]
        pub fn tickets(mut self, most: u32) -> Self {
            self.config.capacities.tickets = most;
            self
        }

        /// Most published names; default 4096.
        #[must_use]
        pub fn names(mut self, most: u32) -> Self {
            self.config.capacities.names = most;
            self
        }

        /// Begins with an empty region, also where a broker of this name has died and its objects could be taken over.
        #[must_use]
        pub fn fresh(mut self) -> Self {
            self.config.fresh = true;
            self
        }

        /// Lets processes of another user attach as well, by the user's number. It can be said more than once.
        ///
        /// Whoever is attached may read and write everything in the region. The other user's processes name the broker by its place, as in
        /// `Manager::connect("/srv/lab/prices")`, or have the same `SHAREHOLD_DIR`; the directories above that place must let them through. The directory gets the mode
        /// 0711, so that they find the socket and nothing else.
        #[must_use]
        pub fn allow_uid(mut self, uid: u32) -> Self {
            self.config.allowed.push(uid);
            self
        }

        /// Asks every client for a proof that it knows this key, and proves the same to it: [`Authkey`]($crate::Authkey).
        #[must_use]
        pub fn authkey(mut self, authkey: impl Into<$crate::Authkey>) -> Self {
            self.config.authkey = Some(authkey.into());
            self
        }

        /// Lets the broker's process be traced, by debuggers and profilers, and leave core dumps. Without it, it can't be by anybody but root.
        #[must_use]
        pub fn debuggable(mut self) -> Self {
            self.config.debuggable = true;
            self
        }

        /// Has every process ask the system for huge pages for its objects. It pays for arrays of many megabytes, whose first touch and whose random reads get cheaper. What is small takes
        /// more memory then, since the first object of each two megabytes takes all of them, and memory goes back to the system in larger pieces.
        ///
        /// The system must allow it to those who ask: `advise` in `/sys/kernel/mm/transparent_hugepage/shmem_enabled` for a memfd; for a segment the option `huge=advise` of the file system at
        /// `/dev/shm`. Where it does not, nothing changes.
        #[must_use]
        pub fn huge_pages(mut self) -> Self {
            self.config.huge_pages = true;
            self
        }

        /// Most types of elements at the same time; default 1024.
        #[must_use]
        pub fn types(mut self, most: u32) -> Self {
            self.config.capacities.types = most;
            self
        }

        /// Where its memory comes from; default: a memfd, of which nothing is ever left behind.
        #[must_use]
        pub fn backing(mut self, backing: $crate::region::Backing) -> Self {
            self.config.backing = backing;
            self
        }
    };
}
pub(crate) use config_setters;

/// A broker that this process runs itself.
///
/// ```
/// use sharehold::{Broker, Manager};
///
/// let broker = Broker::builder().name("doc-broker").capacity(1 << 20).spawn()?;
/// let manager = Manager::connect("doc-broker")?;
/// assert_eq!(manager.value(5_u8)?.get()?, 5);
/// broker.stop()?;
/// # Ok::<(), sharehold::Error>(())
/// ```
#[derive(Debug)]
pub struct Broker(());

impl Broker {
    /// Sets up a broker, named "default" unless told otherwise.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder { config: Config::default(), classes: Vec::new() }
    }

    /// Runs a broker of this name in the foreground: [`BrokerBuilder::serve`].
    ///
    /// # Errors
    /// As there.
    pub fn serve(name: &str) -> Result<()> {
        Self::builder().name(name).serve()
    }

    /// Serves the process that has run this one by [`ManagerBuilder::command`](crate::ManagerBuilder::command), under the name and with the sizes that were said there, until that process ends or a client asks it to
    /// shut down. The standard input is what ties the two: nobody else may read from it.
    ///
    /// # Errors
    /// As [`BrokerBuilder::serve`], which the starting process is told too; `Os` if nobody has run this process so.
    pub fn serve_parent(classes: impl IntoIterator<Item = ClassTable>) -> Result<()> {
        let classes = classes.into_iter().map(Arc::new).collect();
        child::serve_parent(|_| Ok(classes))
    }
}

/// Sets up a broker. Made by [`Broker::builder`].
#[derive(Debug, Clone)]
pub struct BrokerBuilder {
    config: Config,
    classes: Vec<Arc<ClassTable>>,
}

impl BrokerBuilder {
    config_setters!();

    /// Hosts objects of a class.
    #[must_use]
    pub fn class<T: Class>(self) -> Self {
        self.class_table(T::table())
    }

    /// Hosts objects of a class that was made by hand.
    #[must_use]
    pub fn class_table(mut self, table: ClassTable) -> Self {
        self.classes.push(Arc::new(table));
        self
    }

    /// Runs the broker in this thread until SIGTERM, SIGINT or SIGHUP comes or a client asks it to shut down, and ends in order.
    ///
    /// The signals are blocked in this thread and those it starts: call it early in `main`. Unless it is [`debuggable`](Self::debuggable), this process can't be traced from now
    /// on by anybody but root, and leaves no core dumps.
    ///
    /// # Errors
    /// `BrokerExists` if one of this name runs, `InvalidArgument`, `RegionFull`, `Os`.
    pub fn serve(self) -> Result<()> {
        self.serve_with(|_| ())
    }

    /// As [`BrokerBuilder::serve`], and calls `on_ready` with the broker's name once clients can connect.
    ///
    /// # Errors
    /// As [`BrokerBuilder::serve`].
    pub fn serve_with(self, on_ready: impl FnOnce(&str)) -> Result<()> {
        let signals = signals::termination()?;
        process::raise_descriptor_limit();
        if !self.config.debuggable {
            process::refuse_tracers();
        }
        let mut server = Server::new(&self.config, &self.classes)?;
        server.stop_on(signals)?;
        on_ready(&self.config.name);
        server.run()
    }

    /// Runs the broker in a thread of this process, for tests and small programs.
    ///
    /// # Errors
    /// As [`BrokerBuilder::serve`].
    pub fn spawn(self) -> Result<RunningBroker> {
        let mut server = Server::new(&self.config, &self.classes)?;
        let (stop, stopped) = UnixStream::pair().map_err(|error| Error::os("make a socket pair", error))?;
        server.stop_on(stopped.into())?;
        let thread = std::thread::Builder::new()
            .name("sharehold".into())
            .spawn(move || server.run())
            .map_err(|error| Error::os("start a thread", error))?;
        Ok(RunningBroker { name: self.config.name, stop: Some(stop), thread: Some(thread) })
    }
}

/// A broker in a thread of this process. Dropping it stops it.
#[derive(Debug)]
pub struct RunningBroker {
    name: String,
    /// Closing it is the request to stop.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl RunningBroker {
    /// The name by which others find it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops the broker and waits for its end.
    ///
    /// # Errors
    /// What ended it before, if anything did.
    pub fn stop(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        self.stop.take();
        self.thread.take().map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::BrokerGone, "the broker's thread panicked")))
        })
    }
}

impl Drop for RunningBroker {
    fn drop(&mut self) {
        if let Err(error) = self.join() {
            tracing::error!(%error, broker = self.name, "the broker failed");
        }
    }
}
