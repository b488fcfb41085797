//! The handle that users create objects with.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use rkyv::rancor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::attach::{attach, attached_to};
use super::report::{AuditReport, ClassInfo, ObjectInfo, PublishedName, Stats, TicketInfo};
use crate::broker::child::BrokerChild;
use crate::broker::config::{Config, config_setters};
use crate::broker::host;
use crate::class::{Class, ClassProxy, MethodError};
use crate::control::authkey::{Authkey, Login};
use crate::control::create::{Element, Wanted};
use crate::control::message::{self, AuditDone, HeapUse, Named, Of, Publish, Request};
use crate::control::{ControlChannel, PATIENCE, create};
use crate::error::{Error, ErrorKind, Result};
use crate::object::archive::archive_fingerprint;
use crate::object::payload::{self, Payload, slot_of};
use crate::object::proxy::sealed::Typed;
use crate::object::queue::Form;
use crate::object::schema::short_name;
use crate::object::value::copy_words_of;
use crate::object::{
    Archivable, Archive, Array, Channel, Frozen, Kind, Object, Proxy, RawValue, Schema, Shareable, Ticket, Value,
    transit,
};
use crate::region::layout::SEALED;
use crate::region::{ObjectId, Rights};
use crate::session::{Ask, Hold, Session};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::clock;
use crate::table::tickets::Refused;
use crate::table::{census, names, sessions, tickets};

/// How often it is tried to connect to a broker that is not there yet.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// A process's handle on a broker: creates objects, redeems tickets, publishes and finds names, and tells who holds what.
///
/// Clones are handles on the same session. A process has one session with a broker, however often it connects; it ends when the last manager and the last proxy
/// have gone.
#[derive(Clone)]
pub struct Manager {
    session: Arc<Session>,
    channel: Arc<dyn ControlChannel>,
    /// How long creating waits for room.
    room: Duration,
}

/// Sets up a manager with a broker of its own. Made by [`Manager::builder`].
#[derive(Debug, Clone)]
pub struct ManagerBuilder {
    config: Config,
    room: Duration,
    rights: Rights,
}

impl ManagerBuilder {
    config_setters!();

    /// Hosts objects of a class, which this program declares with the attribute [`class`](macro@crate::class): the broker is this program, run again, and finds
    /// it there. Classes that are made by hand need a program that serves them: [`Broker::builder`](crate::Broker::builder).
    #[must_use]
    pub fn class<T: Class>(mut self) -> Self {
        self.config.classes.push(T::NAME.into());
        self
    }

    /// Has a command run as the broker instead of this program again: where something else has to be set up first, as an interpreter with the classes that are written in its language. What is run calls
    /// [`Broker::serve_parent`](crate::Broker::serve_parent) then.
    ///
    /// ```standalone_crate
    /// use sharehold::{Broker, ClassBuilder, Manager, Object};
    ///
    /// if std::env::args().any(|argument| argument == "--serve") {
    ///     let counter = ClassBuilder::<u64>::new("Counter")
    ///         .constructor("start: u64", |(start,): (u64,)| Ok(start))
    ///         .method_mut("next", "", |count, (): ()| Ok(std::mem::replace(count, *count + 1)))
    ///         .build();
    ///     return Broker::serve_parent([counter]);
    /// }
    /// let this_program = std::env::current_exe().expect("a path");
    /// let manager = Manager::builder().command(this_program, ["--serve"]).start()?;
    /// let counter: Object = manager.create("Counter", &(41,))?;
    /// assert_eq!(counter.call::<u64>("next", &())?, 41);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    #[must_use]
    pub fn command<A: Into<OsString>>(
        mut self,
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.config.command = vec![program.into()];
        self.config.command.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Has creating wait for room when there is none: [`Manager::wait_for_room`].
    #[must_use]
    pub fn wait_for_room(mut self, timeout: Duration) -> Self {
        self.room = timeout;
        self
    }

    /// Has the region mapped for reading: nothing that this manager or its proxies do can change a byte of it, whatever goes wrong in this process.
    ///
    /// Values, archives and sealed arrays are read, names are looked up and tickets redeemed; the broker counts for this process, which costs a round trip for the first and after the last proxy of an object.
    /// Arrays that are not sealed can't be read, since a reader has to tell writers that it reads. All that changes something is refused with `ReadOnly`.
    ///
    /// ```
    /// use sharehold::{Array, ErrorKind, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let prices = manager.array(&[1.0, 2.5])?;
    /// prices.seal()?;
    /// manager.publish("prices", &prices)?;
    ///
    /// let reader = Manager::builder().read_only().connect(manager.name())?;
    /// let prices: Array<f64> = reader.lookup("prices")?;
    /// assert_eq!(prices.sealed()?, [1.0, 2.5]);
    /// assert_eq!(reader.value(1).unwrap_err().kind(), ErrorKind::ReadOnly);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.rights = Rights::Read;
        self
    }

    /// Joins a broker that runs already.
    ///
    /// # Errors
    /// As [`Manager::connect`].
    pub fn connect(self, name: &str) -> Result<Manager> {
        let login = match self.config.authkey {
            Some(authkey) => authkey.check().map(|()| Login::Demand(authkey))?,
            None => Login::from_environment()?,
        };
        let (session, channel) = attach(name, &login, self.rights)?;
        Ok(Manager { session, channel, room: self.room })
    }

    /// As [`ManagerBuilder::connect`], but waits until such a broker serves.
    ///
    /// # Errors
    /// As there; `BrokerNotFound` if none serves in time.
    pub fn connect_within(self, name: &str, timeout: Duration) -> Result<Manager> {
        let until = clock::boot_nanos_after(timeout);
        loop {
            match self.clone().connect(name) {
                Err(error) if error.kind() == ErrorKind::BrokerNotFound && clock::boot_nanos() < until => {
                    std::thread::sleep(ASK_AGAIN);
                }
                connected => return connected,
            }
        }
    }

    /// Starts the broker as a child process and connects to it.
    ///
    /// The broker ends when this process's last manager and proxy have gone, and also when this process dies, however it does.
    ///
    /// # Errors
    /// `BrokerExists` if one of this name runs, `InvalidArgument`, also for a manager that only reads, `RegionFull`, `Os`.
    pub fn start(self) -> Result<Manager> {
        if self.rights == Rights::Read {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "there is nothing to read in a region that is only begun",
            )
            .help("connect to a broker that others use"));
        }
        let child = BrokerChild::start(&self.config)?;
        let login = self.config.authkey.clone().map_or(Login::Plain, Login::Demand);
        let (session, channel) = attach(&self.config.name, &login, Rights::All)?;
        channel.set_child(child);
        Ok(Manager { session, channel, room: self.room })
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
        let config = Config { name, is_unnamed: true, ..Config::default() };
        ManagerBuilder { config, room: Duration::ZERO, rights: Rights::All }
    }

    /// Joins the broker of this name. A name alone is one of this user's brokers; that of another user, who has allowed it, is named with its directory, as in
    /// `/srv/lab/prices`.
    ///
    /// # Errors
    /// `BrokerNotFound`, `Refused` if it is another user's and does not allow this one, `WrongAuthkey` if it has an authkey and `SHAREHOLD_AUTHKEY_FILE` does not name the file with it, `LayoutMismatch` with both layouts, `TableFull` if it has no session free.
    pub fn connect(name: &str) -> Result<Self> {
        Self::builder().connect(name)
    }

    /// As [`Manager::connect`], with the broker's authkey. A broker that does not know it is none.
    ///
    /// # Errors
    /// As there; `WrongAuthkey` if the broker has another one or none, `TooManyTries` if this user has given so many wrong ones that it has to wait.
    pub fn connect_with(name: &str, authkey: impl Into<Authkey>) -> Result<Self> {
        Self::builder().authkey(authkey).connect(name)
    }

    /// As [`Manager::connect`], but waits until such a broker serves: for programs that are started together.
    ///
    /// # Errors
    /// As there; `BrokerNotFound` if none serves in time.
    pub fn connect_within(name: &str, timeout: Duration) -> Result<Self> {
        Self::builder().connect_within(name, timeout)
    }

    /// The manager of the broker that executes this method: with it a method creates objects, hosts others and finds names.
    ///
    /// # Errors
    /// `Refused` outside of methods, constructors and destructors of hosted objects.
    pub fn current() -> Result<Self> {
        let host = host::here().ok_or_else(|| {
            Error::new(ErrorKind::Refused, "this thread is not executing a method of a hosted object")
                .help("elsewhere use Manager::connect or Manager::start")
        })?;
        Ok(Self { session: Arc::clone(host.session()), channel: host, room: Duration::ZERO })
    }

    /// The manager of the broker that an object belongs to, for those who were handed a proxy and nothing else.
    ///
    /// ```
    /// use sharehold::{List, Manager};
    ///
    /// let list = List::new(&Manager::start()?)?;
    /// assert_eq!(Manager::of(&list)?.number_of_objects()?, 1);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BrokerGone` in a forked child that has no session.
    pub fn of<P: Proxy>(proxy: &P) -> Result<Self> {
        let session = proxy.hold().session_arc();
        if let Some(host) = host::here().filter(|host| Arc::ptr_eq(host.session(), &session)) {
            return Ok(Self { session, channel: host, room: Duration::ZERO });
        }
        let region_id = session.region().header().region_id.load(Ordering::Relaxed);
        let (session, channel) = attached_to(region_id).ok_or_else(|| {
            Error::new(ErrorKind::BrokerGone, "this process has no session with the broker of this object")
                .help("connect to it")
        })?;
        Ok(Self { session, channel, room: Duration::ZERO })
    }

    /// A handle on the same session whose [`value`](Manager::value), [`array`](Manager::array), [`archive`](Manager::archive) and their kin wait when memory or the object table is full, until
    /// others have given up enough, at most for `timeout`; then the error is the same as without waiting.
    ///
    /// Those who wait stand in a line, so a large object gets its turn among small ones. Whoever does not wait takes what is free at that moment, also past the line.
    /// What could not fit into an empty region is refused at once. Hosted objects do not wait: their constructors run first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sharehold::{ErrorKind, Manager};
    ///
    /// let manager = Manager::builder().capacity(1 << 20).start()?;
    /// let first = manager.array(&vec![1_u8; 600_000])?;
    /// let patient = manager.wait_for_room(Duration::from_secs(10));
    /// let second = std::thread::spawn(move || patient.array(&vec![2_u8; 600_000]));
    /// drop(first);
    /// assert_eq!(second.join().unwrap()?.read()?[0], 2);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    #[must_use]
    pub fn wait_for_room(&self, timeout: Duration) -> Self {
        Self { room: timeout, ..self.clone() }
    }

    /// The broker's name: what other processes connect to.
    pub fn name(&self) -> &str {
        self.session.broker_name()
    }

    /// The process id of the broker that this process started, if it did.
    pub fn child_pid(&self) -> Option<u32> {
        self.channel.child_pid()
    }

    /// Starts the broker that this process started again, if it has died, with all objects in the region as they are. Other processes' brokers are started again by
    /// whoever started them. In either case managers and proxies find the new broker by themselves, and tickets, names and counts are as they were; calls on hosted
    /// objects fail with `Lost`, unless their class keeps snapshots.
    ///
    /// ```
    /// use std::process::Command;
    /// use sharehold::{ErrorKind, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let prices = manager.array(&[1.0, 2.0])?;
    /// let broker = manager.child_pid().expect("it is our child").to_string();
    /// Command::new("kill").args(["-9", &broker]).status().expect("kill runs");
    /// while manager.value(0).is_ok() {} // until the signal has arrived
    ///
    /// prices.write()?[0] = 3.0; // needs no broker
    /// manager.restart()?;
    /// manager.publish("prices", &prices)?;
    /// assert_eq!(manager.number_of_objects()?, 1);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if another process has started the broker; as [`ManagerBuilder::start`].
    pub fn restart(&self) -> Result<()> {
        self.channel.restart()
    }

    /// Shares a value.
    ///
    /// # Errors
    /// `RegionFull`, `TableFull`, `BrokerGone`.
    pub fn value<T: Shareable>(&self, value: T) -> Result<Value<T>> {
        let (hold, payload) = self.new_value(&Element::of::<T>(), bytemuck::bytes_of(&value))?;
        Ok(Value::created(hold, payload))
    }

    /// As [`Manager::value`], for a type that is known only when the program runs, of the value's bytes.
    ///
    /// ```
    /// use sharehold::{Manager, Proxy, Schema, Value};
    ///
    /// let manager = Manager::start()?;
    /// let price = manager.value_of(&Schema::of::<f64>(), &41.5_f64.to_ne_bytes())?;
    /// let price: Value<f64> = price.untyped().downcast()?;
    /// assert_eq!(price.get()?, 41.5);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there, and `InvalidArgument` if the type has another number of bytes.
    pub fn value_of(&self, schema: &Schema, bytes: &[u8]) -> Result<RawValue> {
        if bytes.len() as u64 != schema.size {
            let what = format!("a {} has {} bytes, not {}", schema.name, schema.size, bytes.len());
            return Err(Error::new(ErrorKind::InvalidArgument, what));
        }
        let name = || schema.name.clone();
        self.new_value(&Element::of_schema(schema, &name), bytes).and_then(|(hold, _)| RawValue::of(hold))
    }

    fn new_value(&self, element: &Element<'_>, bytes: &[u8]) -> Result<(Hold, Payload<AtomicU64>)> {
        let len = 2 * 8 * copy_words_of(bytes.len(), element.align as usize) as u64;
        let wanted = Wanted::of(element, Kind::Value, len, u64::from(element.align).max(8));
        let created = create::create(&self.session, &*self.channel, &wanted, self.room)?;
        let words: Payload<AtomicU64> = created.payload()?;
        payload::store_bytes(words.words(&created.hold), bytes);
        Ok((created.hold, words))
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

    /// As [`Manager::array_with`], for a type of elements that is known only when the program runs: `fill` gets their bytes, and the proxy is one of the bytes too. Who knows the type finds, as any other, an
    /// array of it.
    ///
    /// ```
    /// use sharehold::{Array, Error, Manager, Proxy, Schema};
    ///
    /// let manager = Manager::start()?;
    /// let pairs = Schema::primitive("u16").unwrap().array(2);
    /// let array = manager.array_of(&pairs, 3, |place| {
    ///     place.fill(1);
    ///     Ok::<(), Error>(())
    /// })?;
    /// let array: Array<[u16; 2]> = manager.redeem(&array.ticket()?)?;
    /// assert_eq!(*array.read()?, [[257, 257]; 3]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Manager::array_with`].
    pub fn array_of<E: From<Error>>(
        &self,
        schema: &Schema,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Array<u8>, E> {
        create::array_of(&self.session, &*self.channel, schema, len, self.room, fill)
    }

    fn new_array<T: Shareable, E: From<Error>>(
        &self,
        len: usize,
        align: usize,
        fill: impl FnOnce(&mut [T]) -> Result<(), E>,
    ) -> Result<Array<T>, E> {
        create::array(&self.session, &*self.channel, len, align, self.room, fill)
    }

    /// Shares a copy of a slice that nobody can change any more, also not a process that writes what is not its own: see [`Frozen`]. An array is frozen as it is by
    /// `manager.freeze(array.sealed()?)`, or under a guard by `manager.freeze(&array.read()?)`.
    ///
    /// # Errors
    /// `RegionFull` if the system has no memory; `TableFull` if the broker has no descriptor or no slot for it; `BrokerGone`.
    pub fn freeze<T: Shareable>(&self, elements: &[T]) -> Result<Frozen<T>> {
        create::frozen(&self.session, &*self.channel, elements)
    }

    /// As [`Manager::freeze`], for a type of elements that is known only when the program runs.
    ///
    /// # Errors
    /// As there, and `InvalidArgument` if these are not the bytes of a number of elements.
    pub fn freeze_of(&self, schema: &Schema, bytes: &[u8]) -> Result<Frozen<u8>> {
        create::frozen_of(&self.session, &*self.channel, schema, bytes)
    }

    /// A queue by which processes hand objects over, with room for `capacity` of them (rounded up to a power of two) and any number of senders and receivers: see
    /// [`Channel`].
    ///
    /// ```
    /// use sharehold::{Channel, ErrorKind, Manager, Value};
    ///
    /// let manager = Manager::start()?;
    /// let channel: Channel<Value<u64>> = manager.channel(2)?;
    /// let (sender, receiver) = (channel.sender()?, channel.receiver()?);
    /// sender.send(manager.value(1)?)?;
    /// sender.send(manager.value(2)?)?;
    /// let refused = sender.try_send(manager.value(3)?).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::ChannelFull);
    /// assert_eq!(receiver.recv()?.get()?, 1);
    /// sender.send(refused.proxy)?;
    /// assert_eq!(channel.len(), 2);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a capacity of 0 or above 1,048,576; else as [`Manager::array`].
    pub fn channel<P: Proxy>(&self, capacity: usize) -> Result<Channel<P>> {
        create::channel(&self.session, &*self.channel, capacity, Form::Many, self.room)
    }

    /// As [`Manager::channel`], for one sender and one receiver at a time, in whatever processes: a second one is refused.
    ///
    /// # Errors
    /// As [`Manager::channel`].
    pub fn single_channel<P: Proxy>(&self, capacity: usize) -> Result<Channel<P>> {
        create::channel(&self.session, &*self.channel, capacity, Form::Single, self.room)
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
        let element = Element {
            fingerprint: archive_fingerprint::<T>(),
            size: size_of::<T::Archived>() as u64,
            align: align_of::<T::Archived>() as u32,
            name: &short_name::<T>,
        };
        let align = align_of::<T::Archived>().max(16) as u64;
        let wanted = Wanted::of(&element, Kind::Archive, bytes.len() as u64, align);
        let created = create::create(&self.session, &*self.channel, &wanted, self.room)?;
        let (place, hold): (Payload<u8>, Hold) = (created.payload()?, created.hold);
        // SAFETY: only this call has the object's id, so nobody else reads or writes it yet.
        unsafe { place.slice_mut() }.copy_from_slice(&bytes);
        // Release: whoever sees the mark sees the bytes.
        slot_of(&hold)?.flags.fetch_or(SEALED, Ordering::Release);
        <Archive<T> as Typed>::of(hold)
    }

    /// Makes an object of a class in the broker: by the class's name, with the constructor's arguments as a tuple. Generated proxies have a `new` of their own.
    ///
    /// ```
    /// use sharehold::{List, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let list: List = manager.create("List", &())?;
    /// list.push("hosted")?;
    /// assert_eq!(list.len()?, 1);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ClassNotFound` with the classes that there are; `Refused` if the class can't be created from outside; `TypeMismatch` for other arguments; what the
    /// constructor returns as `MethodFailed`; `TableFull`, `BrokerGone`.
    pub fn create<P: Proxy + DeserializeOwned>(&self, class: &str, arguments: &(impl Serialize + ?Sized)) -> Result<P> {
        let arguments = transit::write_arguments(self.session.region(), arguments)?;
        transit::ask(&self.session, Ask::New { class, arguments: &arguments })
    }

    /// Hosts an object that a method has made, and gives the first proxy of it.
    ///
    /// # Errors
    /// `Refused` outside of the broker; `ClassNotFound` if the class is not registered; `TableFull`.
    pub fn host<T: Class>(&self, object: T) -> Result<T::Proxy> {
        self.host_as(T::NAME, object).map(T::Proxy::from_object)
    }

    /// As [`Manager::host`], for a class that was made by hand.
    ///
    /// # Errors
    /// As [`Manager::host`], and `TypeMismatch` if objects of the class are of another type.
    pub fn host_as<T: Send + Sync + 'static>(&self, class: &str, object: T) -> Result<Object> {
        let host = host::here().filter(|host| Arc::ptr_eq(host.session(), &self.session)).ok_or_else(|| {
            Error::new(ErrorKind::Refused, "only a method in the broker can have an object hosted that it has made")
                .help("give the class a constructor, and use Manager::create")
        })?;
        host.adopt(class, Box::new(object))
    }

    /// Every class of the broker, with what can be called.
    ///
    /// # Errors
    /// `BrokerGone`.
    pub fn classes(&self) -> Result<Vec<ClassInfo>> {
        let classes: Vec<(String, Vec<String>)> = transit::ask(&self.session, Ask::Classes)?;
        Ok(classes.into_iter().map(|(name, signatures)| ClassInfo { name, signatures }).collect())
    }

    /// The debug form of a hosted object, as it is at this moment.
    ///
    /// # Errors
    /// `Gone`; `InvalidArgument` if it is not hosted; `BrokerGone`.
    pub fn describe(&self, id: ObjectId) -> Result<String> {
        transit::ask(&self.session, Ask::Describe { object: id })
    }

    /// Clears the mark of a hosted object that a panic may have left half changed: its methods can be called again.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not hosted; `BrokerGone`.
    pub fn clear_poison<P: Proxy>(&self, proxy: &P) -> Result<()> {
        let of = Of { object: proxy.id().to_bits() };
        self.ask(Request::ClearPoison, bytemuck::bytes_of(&of)).map(|_| ())
    }

    /// Finds hosted objects that only hold each other, as two lists that contain one another, and frees them. Returns how many. Calls go on meanwhile.
    ///
    /// ```
    /// use sharehold::{Dict, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let (first, second) = (Dict::new(&manager)?, Dict::new(&manager)?);
    /// first.set("other", second.clone())?;
    /// second.set("other", first.clone())?;
    /// drop((first, second));
    /// assert_eq!(manager.number_of_objects()?, 2); // each holds the other
    /// assert_eq!(manager.collect()?, 2);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BrokerGone`.
    pub fn collect(&self) -> Result<u64> {
        transit::ask(&self.session, Ask::Collect)
    }

    fn ask(&self, request: Request, body: &[u8]) -> Result<Vec<u8>> {
        if !request.only_reads() {
            self.session.check_writes("ask that of its broker")?;
        }
        self.channel.call(request, body, PATIENCE)
    }

    /// Takes one use of a ticket and gives the proxy that it stands for.
    ///
    /// # Errors
    /// `TicketSpent`, `TicketExpired`, `TicketForged`, `TicketForeign`; `TypeMismatch`, which takes no use: ask again with the right type.
    pub fn redeem<P: Proxy>(&self, ticket: &Ticket) -> Result<P> {
        let id = ticket.object();
        self.session.region().prefetch_ticket(ticket.place().index);
        self.session.prefetch(id.slot());
        let place = ticket.verify(self.session.region())?;
        // Of a later object in the slot nothing is to be said: the ticket is spent then, and the claim below fails.
        let is_still_there = || self.session.region().id_of(id.slot()) == Some(id);
        if is_still_there() {
            P::check(self.session.region(), id).or_else(|error| if is_still_there() { Err(error) } else { Ok(()) })?;
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
        self.ask(Request::Publish, &body).map(|_| ())
    }

    /// A proxy of the object that is published under a name. Makes no system call.
    ///
    /// # Errors
    /// `NameNotFound`, `TypeMismatch`; `Damaged` if the name holds what is gone.
    pub fn lookup<P: Proxy>(&self, name: &str) -> Result<P> {
        let mut gone = None;
        while let Some(found) = names::holder(self.session.region(), name) {
            self.session.prefetch(found.object.slot());
            // A name keeps its object alive.
            if gone == Some(found.object) {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!("the name '{name}' says that it holds object {}, which is gone", found.object),
                )
                .help("remove the name; `sharehold check` says more"));
            }
            // Gone: it was removed after it was found. Look again.
            match Hold::take_pinned(&self.session, found.object, || found.stands()) {
                Ok(Some(hold)) => return P::of(hold),
                Err(error) if error.kind() != ErrorKind::Gone => return Err(error),
                _ => gone = Some(found.object),
            }
        }
        names::check_name(name)?;
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
            self.channel.call(Request::Wait, &body, left.saturating_add(PATIENCE))?;
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
        self.ask(Request::Unpublish, &body).map(|_| ())
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
        let heap: HeapUse = message::fixed(&self.ask(Request::Usage, &[])?)?;
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
            heap_kept: heap.kept,
            largest_free: heap.largest,
            warm: heap.warm,
            damaged: heap.damaged as u32,
            waiting: heap.waiting as u32,
            resident: region.resident(),
            granted: census::created(region),
            deaths: header.deaths.load(Ordering::Relaxed),
            repaired: header.repaired.load(Ordering::Relaxed),
        })
    }

    /// Has the broker recompute all pins from the tickets, names and entries of channels that are really there.
    ///
    /// # Errors
    /// `BrokerGone`.
    pub fn audit(&self) -> Result<AuditReport> {
        let done: AuditDone = message::fixed(&self.ask(Request::Audit, &[])?)?;
        Ok(AuditReport { repaired: done.repaired, freed: done.freed, busy: done.busy })
    }

    /// Ends the broker in order. Objects that are held can still be read; nothing new can be created.
    ///
    /// # Errors
    /// `BrokerGone` if it has ended already.
    pub fn shutdown(&self) -> Result<()> {
        self.ask(Request::Shutdown, &[]).map(|_| ())
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manager({})", self.name())
    }
}

/// Redeems a ticket in a process that may have nothing but the ticket: connects to the broker that it names, unless this process is attached to the ticket's region already.
///
/// # Errors
/// As [`Manager::connect`] and [`Manager::redeem`].
pub fn redeem<P: Proxy>(ticket: &Ticket) -> Result<P> {
    match attached_to(ticket.region_id()) {
        Some((session, channel)) => Manager { session, channel, room: Duration::ZERO }.redeem(ticket),
        None => Manager::connect(ticket.broker())?.redeem(ticket),
    }
}

/// Has the result of a method hosted. For the code that the attribute `class` writes.
#[doc(hidden)]
#[track_caller]
pub fn host<T: Class>(object: T) -> Result<T::Proxy, MethodError> {
    match Manager::current().and_then(|manager| manager.host(object)) {
        Ok(proxy) => Ok(proxy),
        // Not by `?` or `map_err`: the place is the method's.
        Err(error) => Err(MethodError::from(error)),
    }
}
