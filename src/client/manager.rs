//! The handle that users create objects with.

use std::sync::Arc;
use std::time::Duration;

use rkyv::rancor;

use super::attach::{Channel, attach};
use super::report::{AuditReport, ObjectInfo, PublishedName, Stats, TicketInfo};
use crate::broker::child::BrokerChild;
use crate::broker::config::{Config, config_setters};
use crate::control::connection::PATIENCE;
use crate::control::message::{self, AuditDone, Create, Granted, HeapUse, Named, Publish, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::object::archive::archive_fingerprint;
use crate::object::payload::{self, Payload, slot_of};
use crate::object::schema::short_name;
use crate::object::value::copy_words;
use crate::object::{Archivable, Archive, Array, Kind, Proxy, Shareable, Ticket, Value};
use crate::region::layout::{FILLED, SEALED, TYPE_NAME_BYTES};
use crate::region::{ObjectId, Offset};
use crate::session::{Hold, Session};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::clock;
use crate::table::refs::Refs;
use crate::table::tickets::Refused;
use crate::table::{census, names, sessions, tickets};

/// How often a grant that was withdrawn is asked for again.
const TRIES: u32 = 3;

/// A process's handle on a broker: creates objects, redeems tickets, publishes and finds names, and tells who holds what.
///
/// Clones are handles on the same session. A process has one session with a broker, however often it connects; it ends when the last manager and the last proxy
/// have gone.
#[derive(Clone)]
pub struct Manager {
    session: Arc<Session>,
    channel: Arc<Channel>,
}

/// Sets up a manager with a broker of its own. Made by [`Manager::builder`].
#[derive(Debug, Clone)]
pub struct ManagerBuilder {
    config: Config,
}

impl ManagerBuilder {
    config_setters!();

    /// Starts the broker as a child process and connects to it.
    ///
    /// The broker ends when this process's last manager and proxy have gone, and also when this process dies, however it does.
    ///
    /// # Errors
    /// `BrokerExists` if one of this name runs, `InvalidArgument`, `RegionFull`, `Os`.
    pub fn start(self) -> Result<Manager> {
        let child = BrokerChild::start(&self.config)?;
        let manager = Manager::connect(&self.config.name)?;
        manager.channel.set_child(child);
        Ok(manager)
    }
}

impl Manager {
    /// Starts a broker as a child process, under a name that nobody else has.
    ///
    /// # Errors
    /// As [`ManagerBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Sets up a broker that is started as a child process.
    pub fn builder() -> ManagerBuilder {
        use std::hash::{BuildHasher, RandomState};
        let unique = RandomState::new().hash_one(clock::boot_nanos()) as u32;
        let name = format!("auto-{}-{unique:08x}", std::process::id());
        ManagerBuilder { config: Config { name, ..Config::default() } }
    }

    /// Joins the broker of this name.
    ///
    /// # Errors
    /// `BrokerNotFound`, `LayoutMismatch` with both layouts, `TableFull` if it has no session free.
    pub fn connect(name: &str) -> Result<Self> {
        let (session, channel) = attach(name)?;
        Ok(Self { session, channel })
    }

    /// The broker's name: what other processes connect to.
    pub fn name(&self) -> &str {
        self.session.broker_name()
    }

    /// The process id of the broker that this process started, if it did.
    pub fn child_pid(&self) -> Option<u32> {
        self.channel.child_pid()
    }

    /// Shares a value.
    ///
    /// # Errors
    /// `RegionFull`, `TableFull`, `BrokerGone`.
    pub fn value<T: Shareable>(&self, value: T) -> Result<Value<T>> {
        let len = 2 * 8 * copy_words::<T>() as u64;
        let create = create_of::<T>(Kind::Value, len, align_of::<T>().max(8) as u64);
        let hold = self.create(&create)?;
        let words: Payload<AtomicU64> = Payload::of(&hold)?;
        payload::store(words.words(&hold), &value);
        <Value<T> as crate::object::proxy::sealed::Typed>::of(hold)
    }

    /// Shares a copy of a slice.
    ///
    /// # Errors
    /// `RegionFull` with the size asked for and the largest free piece, `TableFull`, `BrokerGone`.
    pub fn array<T: Shareable>(&self, elements: &[T]) -> Result<Array<T>> {
        self.new_array(elements.len(), 1, |place| {
            place.copy_from_slice(elements);
            Ok(())
        })
    }

    /// Shares an array of zeros.
    ///
    /// # Errors
    /// As [`Manager::array`].
    pub fn array_zeroed<T: Shareable>(&self, len: usize) -> Result<Array<T>> {
        self.array_aligned(len, 1)
    }

    /// Shares an array of zeros that starts on a multiple of `align` bytes, a power of two up to 4096, in every process.
    ///
    /// # Errors
    /// As [`Manager::array`], and `InvalidArgument`.
    pub fn array_aligned<T: Shareable>(&self, len: usize, align: usize) -> Result<Array<T>> {
        self.new_array(len, align, |place| {
            place.fill(T::zeroed());
            Ok(())
        })
    }

    /// Shares an array that `fill` writes in place, for instance straight from a file. `fill` writes all of it: what it leaves out may hold bytes of
    /// earlier objects.
    ///
    /// ```
    /// use sharehold::{Error, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let squares = manager.array_with(4, |place: &mut [u64]| {
    ///     place.iter_mut().zip(0..).for_each(|(place, i)| *place = i * i);
    ///     Ok::<(), Error>(())
    /// })?;
    /// assert_eq!(*squares.read()?, [0, 1, 4, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// What `fill` returns; else as [`Manager::array`].
    pub fn array_with<T: Shareable, E: From<Error>>(
        &self,
        len: usize,
        fill: impl FnOnce(&mut [T]) -> Result<(), E>,
    ) -> Result<Array<T>, E> {
        self.new_array(len, 1, fill)
    }

    #[expect(unsafe_code, reason = "an object that nobody else knows yet is written in place")]
    fn new_array<T: Shareable, E: From<Error>>(
        &self,
        len: usize,
        align: usize,
        fill: impl FnOnce(&mut [T]) -> Result<(), E>,
    ) -> Result<Array<T>, E> {
        if size_of::<T>() == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "an array's elements have at least one byte").into());
        }
        let bytes = len.checked_mul(size_of::<T>()).and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| {
            Error::new(
                ErrorKind::RegionFull,
                format!("{len} elements of {} bytes do not fit any memory", size_of::<T>()),
            )
        })?;
        let hold = self.create(&create_of::<T>(Kind::Array, bytes, align.max(align_of::<T>()) as u64))?;
        let place: Payload<T> = Payload::of(&hold)?;
        // SAFETY: only this call has the object's id, so nobody else reads or writes it yet.
        fill(unsafe { place.slice_mut() })?;
        Ok(<Array<T> as crate::object::proxy::sealed::Typed>::of(hold)?)
    }

    /// Shares an immutable archive of a value.
    ///
    /// # Errors
    /// `ArchiveInvalid` if it can't be serialised; else as [`Manager::array`].
    #[expect(unsafe_code, reason = "an object that nobody else knows yet is written in place")]
    pub fn archive<T: Archivable>(&self, value: &T) -> Result<Archive<T>> {
        let bytes = rkyv::to_bytes::<rancor::Error>(value).map_err(|error| {
            Error::new(ErrorKind::ArchiveInvalid, format!("a {} can't be archived: {error}", short_name::<T>()))
        })?;
        let create = Create {
            kind: Kind::Archive as u32,
            type_name: cut(short_name::<T>()),
            type_fingerprint: archive_fingerprint::<T>(),
            element_size: size_of::<T::Archived>() as u64,
            element_align: align_of::<T::Archived>() as u32,
            len: bytes.len() as u64,
            align: align_of::<T::Archived>().max(16) as u64,
        };
        let hold = self.create(&create)?;
        let place: Payload<u8> = Payload::of(&hold)?;
        // SAFETY: only this call has the object's id, so nobody else reads or writes it yet.
        unsafe { place.slice_mut() }.copy_from_slice(&bytes);
        // Release: whoever sees the mark sees the bytes.
        slot_of(&hold)?.flags.fetch_or(SEALED, Ordering::Release);
        <Archive<T> as crate::object::proxy::sealed::Typed>::of(hold)
    }

    /// Asks for an object, counts and claims it, and makes sure that its memory is there.
    fn create(&self, create: &Create) -> Result<Hold> {
        self.session.check_ours()?;
        let body = message::archive(create)?;
        for _ in 0..TRIES {
            let granted: Granted = message::fixed(&self.channel.call(Request::Create, &body)?)?;
            let id = ObjectId::from_bits(granted.object);
            let Some(hold) = Hold::claim(&self.session, id, Refs(granted.refs))? else { continue };
            let slot = slot_of(&hold)?;
            if granted.warm == 0 {
                // On failure the hold is dropped, and with it the object.
                self.session.region().reserve(Offset(slot.offset.load(Ordering::Relaxed)), create.len)?;
            }
            slot.flags.fetch_or(FILLED, Ordering::Relaxed);
            return Ok(hold);
        }
        Err(Error::new(ErrorKind::BrokerGone, "the broker withdrew what it had granted"))
    }

    /// Takes one use of a ticket and gives the proxy that it stands for.
    ///
    /// # Errors
    /// `TicketSpent`, `TicketExpired`, `TicketForged`, `TicketForeign`; `TypeMismatch`, which takes no use: ask again with the right type.
    pub fn redeem<P: Proxy>(&self, ticket: &Ticket) -> Result<P> {
        let place = ticket.verify(self.session.region())?;
        let id = ticket.object();
        // Of a later object in the slot nothing is to be said: the ticket is spent then, and the claim below fails.
        if self.session.region().id_of(id.slot()) == Some(id) {
            P::check(self.session.region(), id)?;
        }
        match Hold::redeem(&self.session, place, id)? {
            Ok(hold) => P::of(hold),
            Err(Refused::Spent | Refused::Gone) => {
                Err(Error::new(ErrorKind::TicketSpent, format!("all uses of the ticket for object {id} are taken"))
                    .help("ask the sender for another one, or for one with more uses"))
            }
        }
    }

    /// Publishes an object under a name, which holds it until it is removed.
    ///
    /// # Errors
    /// `NameTaken`, `TableFull`, `InvalidArgument`, `BrokerGone`.
    pub fn publish<P: Proxy>(&self, name: &str, proxy: &P) -> Result<()> {
        self.publish_as(name, proxy, false)
    }

    /// As [`Manager::publish`], but takes the name over if another object has it.
    ///
    /// # Errors
    /// As [`Manager::publish`], but `NameTaken`.
    pub fn publish_over<P: Proxy>(&self, name: &str, proxy: &P) -> Result<()> {
        self.publish_as(name, proxy, true)
    }

    fn publish_as<P: Proxy>(&self, name: &str, proxy: &P, replace: bool) -> Result<()> {
        names::check_name(name)?;
        if !std::ptr::eq(proxy.hold().session().region(), self.session.region()) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the object belongs to another broker"));
        }
        let body = message::archive(&Publish { name: name.into(), object: proxy.id().to_bits(), replace })?;
        self.channel.call(Request::Publish, &body).map(|_| ())
    }

    /// A proxy of the object that is published under a name. Makes no system call.
    ///
    /// # Errors
    /// `NameNotFound`, `TypeMismatch`.
    pub fn lookup<P: Proxy>(&self, name: &str) -> Result<P> {
        names::check_name(name)?;
        while let Some(found) = names::find(self.session.region(), name) {
            // Gone: it was removed after it was found. Look again.
            if let Some(hold) = Hold::take(&self.session, found.object)? {
                return P::of(hold);
            }
        }
        Err(Error::new(ErrorKind::NameNotFound, format!("nothing is published as '{name}'"))
            .help("wait for it with a timeout, or look at what is there with `sharehold ls`"))
    }

    /// As [`Manager::lookup`], but waits until the name is published.
    ///
    /// # Errors
    /// `Timeout`, `TypeMismatch`, `BrokerGone`.
    pub fn wait<P: Proxy>(&self, name: &str, timeout: Duration) -> Result<P> {
        let until = clock::boot_nanos_after(timeout);
        loop {
            match self.lookup(name) {
                Err(error) if error.kind() == ErrorKind::NameNotFound => {}
                found => return found,
            }
            let left = Duration::from_nanos(until.saturating_sub(clock::boot_nanos()));
            let millis = u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            let body = message::archive(&Named { name: name.into(), millis })?;
            self.channel.call_for(Request::Wait, &body, left.saturating_add(PATIENCE))?;
        }
    }

    /// All published names.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn names(&self) -> Result<Vec<PublishedName>> {
        self.session.check_ours()?;
        let mut all: Vec<PublishedName> = names::all(self.session.region())
            .map(|found| PublishedName { name: found.name, object: found.object, publisher: found.publisher })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes a name; its object dies if nothing else holds it.
    ///
    /// # Errors
    /// `NameNotFound`, `BrokerGone`.
    pub fn unpublish(&self, name: &str) -> Result<()> {
        let body = message::archive(&Named { name: name.into(), millis: 0 })?;
        self.channel.call(Request::Unpublish, &body).map(|_| ())
    }

    /// How many objects are alive, at this moment, whoever holds them.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn number_of_objects(&self) -> Result<u64> {
        self.session.check_ours()?;
        Ok(census::count(self.session.region()))
    }

    /// Every live object, with the exact number of proxies in each process.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn debug_info(&self) -> Result<Vec<ObjectInfo>> {
        self.session.check_ours()?;
        Ok(census::objects(self.session.region()).filter_map(ObjectInfo::of).collect())
    }

    /// One live object.
    ///
    /// # Errors
    /// `Gone` if it is not alive.
    pub fn object_info(&self, id: ObjectId) -> Result<ObjectInfo> {
        self.session.check_ours()?;
        census::object(self.session.region(), id).and_then(ObjectInfo::of).ok_or_else(|| tickets::gone(id))
    }

    /// All tickets that can be redeemed.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn tickets(&self) -> Result<Vec<TicketInfo>> {
        self.session.check_ours()?;
        let now = clock::boot_nanos();
        let expires = |deadline: u64| (deadline != 0).then(|| Duration::from_nanos(deadline.saturating_sub(now)));
        Ok(tickets::live(self.session.region())
            .map(|ticket| TicketInfo {
                object: ticket.object,
                uses: ticket.uses,
                issuer: ticket.issuer,
                expires_in: expires(ticket.deadline),
            })
            .collect())
    }

    /// How full everything is.
    ///
    /// # Errors
    /// `BrokerGone`.
    pub fn stats(&self) -> Result<Stats> {
        let heap: HeapUse = message::fixed(&self.channel.call(Request::Usage, &[])?)?;
        let region = self.session.region();
        let (header, capacities) = (region.header(), region.capacities());
        let created = header.created_at.load(Ordering::Relaxed);
        let is_memfd = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&region.file())))
            .is_ok_and(|path| path.to_string_lossy().contains("memfd:"));
        Ok(Stats {
            name: self.name().into(),
            broker_pid: header.broker_pid.load(Ordering::Relaxed),
            backing: if is_memfd { "memfd" } else { "segment" }.into(),
            uptime_seconds: clock::unix_seconds().saturating_sub(created),
            objects: census::count(region),
            objects_capacity: capacities.objects,
            sessions: sessions::attached(region).count() as u32,
            sessions_capacity: capacities.sessions,
            tickets: tickets::live(region).count() as u32,
            tickets_capacity: capacities.tickets,
            names: names::all(region).count() as u32,
            names_capacity: capacities.names,
            heap_capacity: heap.capacity,
            heap_used: heap.capacity - heap.free,
            heap_free: heap.free,
            largest_free: heap.largest,
            warm: heap.warm,
            resident: region.resident(),
            granted: header.granted.load(Ordering::Relaxed),
            deaths: header.deaths.load(Ordering::Relaxed),
            repaired: header.repaired.load(Ordering::Relaxed),
        })
    }

    /// Has the broker recompute all pins from the tickets and names that are really there.
    ///
    /// # Errors
    /// `BrokerGone`.
    pub fn audit(&self) -> Result<AuditReport> {
        let done: AuditDone = message::fixed(&self.channel.call(Request::Audit, &[])?)?;
        Ok(AuditReport { repaired: done.repaired, freed: done.freed, busy: done.busy })
    }

    /// Ends the broker in order. Objects that are held can still be read; nothing new can be created.
    ///
    /// # Errors
    /// `BrokerGone` if it has ended already.
    pub fn shutdown(&self) -> Result<()> {
        self.channel.call(Request::Shutdown, &[]).map(|_| ())
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manager({})", self.name())
    }
}

/// Redeems a ticket in a process that may have nothing but the ticket: connects to the broker that it names.
///
/// # Errors
/// As [`Manager::connect`] and [`Manager::redeem`].
pub fn redeem<P: Proxy>(ticket: &Ticket) -> Result<P> {
    Manager::connect(ticket.broker())?.redeem(ticket)
}

fn create_of<T: Shareable>(kind: Kind, len: u64, align: u64) -> Create {
    Create {
        kind: kind as u32,
        type_name: cut(T::type_name()),
        type_fingerprint: T::FINGERPRINT,
        element_size: size_of::<T>() as u64,
        element_align: align_of::<T>() as u32,
        len,
        align,
    }
}

/// A type's name as the region has room for it.
fn cut(mut name: String) -> String {
    let mut end = name.len().min(TYPE_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}
