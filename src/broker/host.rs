//! The objects that the broker hosts: found by their ids, called on any thread, dropped where nobody waits.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::collect;
use super::grants::{Grants, Pending};
use super::mailbox::{Errand, Mailbox};
use super::peer::Connection;
use crate::class::cell::AnyCell;
use crate::class::failure::guarded;
use crate::class::table::{Made, class_fingerprint};
use crate::class::{ClassTable, builtin};
use crate::control::create::{self, cut};
use crate::control::message::{self, Create, CreateWithin, Granted, Of, Request};
use crate::control::{ControlChannel, PATIENCE};
use crate::error::{Error, ErrorKind, Result};
use crate::object::proxy::sealed::Typed;
use crate::object::transit::{self, Written};
use crate::object::{Array, Kind, Object, Proxy, scope};
use crate::region::{ObjectId, Region, SessionIndex, SlotIndex};
use crate::session::{Ask, Hold, Link, Session};
use crate::sync::atomic::Ordering;
use crate::table::refs::Refs;
use crate::table::types::TypeRecord;
use crate::table::{census, channels, tickets};

/// How often a method that waits for room looks for some.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(5);

/// A hosted object.
pub(super) struct Hosted {
    pub(super) id: ObjectId,
    pub(super) class: Arc<ClassTable>,
    pub(super) cell: Box<dyn AnyCell>,
    /// What brings it back after the broker's death, if its class wants that. The slot names it too.
    kept: Mutex<Option<Array<u8>>>,
}

/// What the broker's threads share: the books, the classes and the objects.
pub(crate) struct Host {
    /// The broker is a session like any other: what hosted objects hold, it holds.
    session: Arc<Session>,
    books: Mutex<Grants>,
    classes: HashMap<String, Arc<ClassTable>>,
    /// By slot. Whoever calls keeps the object itself alive, so that it is dropped only after the call.
    objects: RwLock<Vec<Option<Arc<Hosted>>>>,
    dead: Sender<Burial>,
    /// One at a time.
    collecting: Mutex<()>,
    /// Slots that were killed with their cycle and are still counted: a destructor has kept a proxy.
    killed: Mutex<Vec<ObjectId>>,
    mailbox: Arc<Mailbox>,
}

/// Objects to be dropped, and whom to tell afterwards.
struct Burial {
    dead: Vec<Arc<Hosted>>,
    done: Option<Sender<()>>,
}

thread_local! {
    /// The host for which this thread executes a method, a constructor or a destructor.
    static HERE: RefCell<Option<Arc<Host>>> = const { RefCell::new(None) };
    /// Whether this thread is the one that drops the dead: it looks itself for what dies with them.
    static REAPING: Cell<bool> = const { Cell::new(false) };
}

/// The host for which this thread works.
pub(crate) fn here() -> Option<Arc<Host>> {
    HERE.with_borrow(Clone::clone)
}

impl Host {
    pub(super) fn new(
        session: Arc<Session>,
        books: Grants,
        classes: &[Arc<ClassTable>],
        mailbox: Arc<Mailbox>,
    ) -> Result<Arc<Self>> {
        let mut by_name: HashMap<String, Arc<ClassTable>> = HashMap::new();
        for table in builtin::tables().map(Arc::new).iter().chain(classes) {
            if let Some(other) = by_name.get(&table.name) {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("two classes are named {}: {other:?} and {table:?}", table.name),
                ));
            }
            by_name.insert(table.name.clone(), Arc::clone(table));
        }
        let (dead, to_be_dropped) = channel();
        let host = Arc::new(Self {
            books: Mutex::new(books),
            session,
            classes: by_name,
            objects: RwLock::default(),
            dead,
            collecting: Mutex::default(),
            killed: Mutex::default(),
            mailbox,
        });
        host.session.set_link(Box::new(Inside(Arc::downgrade(&host))));
        let reaper = Arc::downgrade(&host);
        std::thread::Builder::new()
            .name("sharehold-reaper".into())
            .spawn(move || reap(&reaper, &to_be_dropped))
            .map_err(|error| Error::os("start a thread", error))?;
        Ok(host)
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(super) fn region(&self) -> &Region {
        self.session.region()
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Grants> {
        self.books.lock()
    }

    /// Frees what has died, and has the hosted ones among it dropped.
    pub(super) fn take_back(&self) {
        let buried = self.free_returned();
        self.bury(&buried);
    }

    /// Frees what is dead, and what dies with the channels among it: those come back on the stack, so a chain of any length takes none.
    fn free_returned(&self) -> Vec<ObjectId> {
        let mut buried = self.free_once();
        loop {
            let full = self.books().full();
            if full.is_empty() {
                return buried;
            }
            for channel in full {
                self.session.with_lane(|lane| channels::empty(self.region(), lane, channel.slot()));
                self.books().free_emptied(channel);
            }
            buried.extend(self.free_once());
        }
    }

    fn free_once(&self) -> Vec<ObjectId> {
        let killed = std::mem::take(&mut *self.killed.lock());
        let mut books = self.books();
        books.take_back();
        if !killed.is_empty() {
            let still: Vec<ObjectId> = killed.into_iter().filter(|id| !self.free_uncounted(&mut books, *id)).collect();
            self.killed.lock().extend(still);
        }
        books.buried()
    }

    /// Frees a slot that is dead, unless somebody in the broker still has a proxy of what it was: its drop counts down here.
    fn free_uncounted(&self, books: &mut Grants, id: ObjectId) -> bool {
        let cell = self.region().cell(SessionIndex::BROKER, id.slot());
        let is_counted = cell.is_some_and(|cell| cell.load(Ordering::Acquire) != 0);
        !is_counted && books.free(id.slot())
    }

    /// Whether a slot was killed with a cycle and waits for a proxy in the broker to go.
    pub(super) fn is_killed(&self, index: SlotIndex) -> bool {
        self.killed.lock().iter().any(|id| id.slot() == index)
    }

    pub(super) fn collecting(&self) -> MutexGuard<'_, ()> {
        self.collecting.lock()
    }

    pub(super) fn try_collecting(&self) -> Option<MutexGuard<'_, ()>> {
        self.collecting.try_lock()
    }

    /// Frees the slots of objects that were killed with their cycle.
    pub(super) fn free_killed(&self, killed: impl Iterator<Item = ObjectId>) {
        self.killed.lock().extend(killed);
        self.take_back();
    }

    /// Grants an object to a session. What has died is freed first, and buried.
    pub(super) fn grant(&self, create: &Create, to: SessionIndex) -> Result<(Granted, Pending)> {
        // Relaxed: what comes later waits for the next visit.
        if self.region().header().returned.load(Ordering::Relaxed) != 0 {
            self.take_back();
        }
        let (granted, buried) = {
            let mut books = self.books();
            (books.create(create, to), books.buried())
        };
        self.bury(&buried);
        granted
    }

    /// Grants a slab to a session.
    pub(super) fn grant_slab(
        &self,
        create: &Create,
        count: u32,
        owner: SessionIndex,
    ) -> Result<Vec<(Granted, Pending)>> {
        let (slab, buried) = {
            let mut books = self.books();
            (books.create_slab(create, count, owner), books.buried())
        };
        self.bury(&buried);
        slab
    }

    /// Grants an object to a method, which waits here for room.
    fn grant_within(&self, asked: &CreateWithin) -> Result<Granted> {
        let until = Instant::now().checked_add(Duration::from_millis(asked.millis));
        loop {
            match self.grant(&asked.create, SessionIndex::BROKER) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::RegionFull | ErrorKind::TableFull)
                        && self.books().could_hold(&asked.create)
                        && until.is_none_or(|until| Instant::now() < until) =>
                {
                    std::thread::sleep(LOOK_FOR_ROOM);
                }
                other => return other.map(|(granted, _)| granted),
            }
        }
    }

    /// Has hosted objects dropped whose slots were freed: by another thread, since their destructors are the user's and may take long.
    pub(super) fn bury(&self, buried: &[ObjectId]) {
        let mut dead = self.remove(buried);
        dead.retain(|hosted| hosted.class.needs_drop);
        if !dead.is_empty() {
            let _ = self.dead.send(Burial { dead, done: None });
        }
    }

    fn remove(&self, buried: &[ObjectId]) -> Vec<Arc<Hosted>> {
        if buried.is_empty() {
            return Vec::new();
        }
        let mut objects = self.objects.write();
        let removed = buried.iter().filter_map(|id| {
            let place = objects.get_mut(id.slot().0 as usize)?;
            // A later object may have the slot already.
            if place.as_ref().is_some_and(|hosted| hosted.id == *id) { place.take() } else { None }
        });
        removed.collect()
    }

    /// Gives up what the last answer brought and the client has not taken: when its next message comes, or it is gone.
    pub(super) fn settle(&self, connection: &mut Connection) {
        if let Some(pending) = connection.pending.take() {
            self.books().withdraw(pending);
        }
        if !connection.slab.is_empty() {
            let mut books = self.books();
            connection.slab.drain(..).for_each(|pending| books.withdraw(pending));
        }
        if !connection.issued.is_empty() {
            Written::cancel(&std::mem::take(&mut connection.issued), &self.session);
        }
    }

    pub(super) fn find(&self, id: ObjectId) -> Result<Arc<Hosted>> {
        let objects = self.objects.read();
        let found = objects.get(id.slot().0 as usize).and_then(Option::as_ref).filter(|hosted| hosted.id == id);
        found.map(Arc::clone).ok_or_else(|| match census::object(self.region(), id) {
            Some(record) if record.kind == Kind::Hosted as u32 => Error::new(
                ErrorKind::Lost,
                format!("object {id} is lost: it was in the memory of a broker that has died, and its class keeps no snapshots"),
            )
            .help("make a new one; objects of a class with #[class(snapshot)] come back"),
            Some(_) => Error::new(ErrorKind::InvalidArgument, format!("object {id} is not hosted: it has no methods")),
            None => tickets::gone(id),
        })
    }

    /// All hosted objects, as they are at this moment.
    pub(super) fn all(&self) -> Vec<Arc<Hosted>> {
        self.objects.read().iter().flatten().map(Arc::clone).collect()
    }

    /// Lets this thread execute for the host.
    pub(super) fn enter<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Arc<Host>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                HERE.set(self.0.take());
            }
        }
        let _restore = Restore(HERE.replace(Some(Arc::clone(self))));
        work()
    }

    /// Executes what a caller asks, on a thread that has entered. `inside`: a method asks, which may create what others may not.
    pub(super) fn execute(self: &Arc<Self>, ask: Ask<'_>, inside: bool) -> Result<Written> {
        match ask {
            Ask::Call { object, method, arguments } => self.find(object).and_then(|hosted| {
                let call = || hosted.class.call(&*hosted.cell, object, method, &self.session, arguments);
                guarded(format_args!("{}.{}", hosted.class.name, method), call)
            }),
            Ask::New { class, arguments } => self.class(class).and_then(|class| {
                guarded(format_args!("{}.new", class.name), || {
                    let object = match class.construct(&self.session, arguments, inside)? {
                        Made::New(cell) => self.host(class, cell)?,
                        Made::Existing(object) => object,
                    };
                    transit::write_result(&self.session, &object)
                })
            }),
            Ask::Describe { object } => self.find(object).and_then(|hosted| {
                guarded(format_args!("{}.debug", hosted.class.name), || {
                    let mut form = hosted.class.describe(&*hosted.cell).unwrap_or_else(|| "(busy)".into());
                    if hosted.cell.is_poisoned() {
                        form += " (poisoned)";
                    }
                    transit::write_result(&self.session, &form)
                })
            }),
            Ask::Collect => {
                guarded(format_args!("collect"), || transit::write_result(&self.session, &collect::collect(self)))
            }
            Ask::Classes => {
                let mut classes: Vec<(&str, Vec<String>)> =
                    self.classes.values().map(|class| (class.name(), class.signatures())).collect();
                classes.sort_unstable();
                transit::write_result(&self.session, &classes)
            }
        }
    }

    fn class(&self, name: &str) -> Result<&Arc<ClassTable>> {
        self.classes.get(name).ok_or_else(|| {
            let mut there: Vec<&str> = self.classes.keys().map(String::as_str).collect();
            there.sort_unstable();
            let shown: String = name.chars().take(64).collect();
            Error::new(
                ErrorKind::ClassNotFound,
                format!("this broker has no class '{shown}'; it has {}", there.join(", ")),
            )
            .help(
                "register it where the broker is started: Manager::builder() and Broker::builder() have class::<...>()",
            )
        })
    }

    /// Hosts an object of a registered class.
    pub(crate) fn adopt(&self, class: &str, object: Box<dyn Any>) -> Result<Object> {
        let class = self.class(class)?;
        let cell = class.host(object).ok_or_else(|| {
            Error::new(
                ErrorKind::TypeMismatch,
                format!("class {} has objects of another type in this broker", class.name),
            )
        })?;
        self.host(class, cell)
    }

    /// Gives an object a slot, and the first proxy of it.
    fn host(&self, class: &Arc<ClassTable>, cell: Box<dyn AnyCell>) -> Result<Object> {
        let create = Create {
            kind: Kind::Hosted as u32,
            type_name: cut(class.name.clone()),
            type_fingerprint: class_fingerprint(&class.name),
            element_size: 0,
            element_align: 1,
            len: 0,
            align: 1,
        };
        let (granted, pending) = self.grant(&create, SessionIndex::BROKER)?;
        let id = ObjectId::from_bits(granted.object);
        let hosted = Arc::new(Hosted { id, class: Arc::clone(class), cell, kept: Mutex::default() });
        let kept =
            hosted.cell.save(&self.session).and_then(|saved| saved.map_or(Ok(()), |saved| self.keep(&hosted, &saved)));
        if let Err(error) = kept {
            self.books().withdraw(pending);
            return Err(error);
        }
        self.insert(hosted);
        // Only now, that calls find it, is it alive.
        let hold = Hold::claim(&self.session, id, Refs(granted.refs))?;
        Object::of(hold.ok_or_else(|| tickets::gone(id))?)
    }

    fn insert(&self, hosted: Arc<Hosted>) {
        let mut objects = self.objects.write();
        let place = hosted.id.slot().0 as usize;
        if objects.len() <= place {
            objects.resize(place + 1, None);
        }
        // What was there is dead, and on its way to be buried.
        let before = objects[place].replace(hosted);
        drop(objects);
        if let Some(before) = before {
            let _ = self.dead.send(Burial { dead: vec![before], done: None });
        }
    }

    /// Keeps what brings an object back, in place of what was kept before. The slot names it before the earlier one goes: a crash leaves one of them.
    fn keep(&self, hosted: &Hosted, snapshot: &[u8]) -> Result<()> {
        let array = create::bytes(&self.session, self, snapshot)?;
        let mut kept = hosted.kept.lock();
        self.books().keep(hosted.id, array.id())?;
        let before = kept.replace(array);
        drop(kept);
        drop(before);
        Ok(())
    }

    /// Brings back, in a region that was taken over, the objects of which something was kept. The references in them are taken while the dead broker's still count.
    pub(super) fn restore(self: &Arc<Self>) {
        let hosted: Vec<ObjectId> = self.books().hosted().collect();
        let (mut restored, mut lost) = (0_usize, 0_usize);
        for id in hosted {
            match self.enter(|| self.restore_one(id)) {
                Ok(true) => restored += 1,
                Ok(false) => lost += 1,
                Err(error) => {
                    lost += 1;
                    tracing::warn!(object = %id, %error, "a hosted object can't be brought back");
                }
            }
        }
        if restored + lost > 0 {
            tracing::info!(restored, lost, "hosted objects of the dead broker");
        }
    }

    /// False: nothing was kept of the object.
    fn restore_one(&self, id: ObjectId) -> Result<bool> {
        let slot = self.region().slot(id.slot()).ok_or_else(|| tickets::gone(id))?;
        let kept = ObjectId::from_bits(slot.offset.load(Ordering::Acquire));
        let record = TypeRecord::read(self.region(), slot.type_index.load(Ordering::Relaxed));
        let Some(class) = record.and_then(|record| self.classes.get(&record.name)) else { return Ok(false) };
        if kept == ObjectId::from_bits(0) {
            return Ok(false);
        }
        let array = <Array<u8> as Typed>::of(Hold::take(&self.session, kept)?.ok_or_else(|| tickets::gone(kept))?)?;
        let restored = guarded(format_args!("{}.restore", class.name), || {
            class.restore(&self.session, array.sealed()?).transpose()
        })?;
        let Some(cell) = restored else { return Ok(false) };
        self.insert(Arc::new(Hosted { id, class: Arc::clone(class), cell, kept: Mutex::new(Some(array)) }));
        Ok(true)
    }

    pub(super) fn clear_poison(&self, of: &Of) -> Result<()> {
        self.find(ObjectId::from_bits(of.object)).map(|hosted| hosted.cell.clear_poison())
    }

    /// Drops all objects at the end of the broker. Waits for their destructors, but not for ever.
    pub(super) fn clear(&self, patience: Duration) {
        let all = std::mem::take(&mut *self.objects.write());
        let (done, is_done) = channel();
        let _ = self.dead.send(Burial { dead: all.into_iter().flatten().collect(), done: Some(done) });
        if is_done.recv_timeout(patience).is_err() {
            tracing::warn!("destructors are still running at the end of the broker");
        }
    }
}

/// Drops dead objects until the host is gone. What they held dies with them and comes back on the stack of returned slots, level by level:
/// no depth of nesting takes stack.
fn reap(host: &Weak<Host>, dead: &Receiver<Burial>) {
    REAPING.set(true);
    while let Ok(Burial { dead: mut batch, done }) = dead.recv() {
        let host = host.upgrade();
        HERE.set(host.clone());
        while !batch.is_empty() {
            batch.into_iter().for_each(drop_guarded);
            batch = host.as_ref().map_or_else(Vec::new, |host| host.remove(&host.free_returned()));
        }
        HERE.set(None);
        drop(host);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

fn drop_guarded(hosted: Arc<Hosted>) {
    let class = Arc::clone(&hosted.class);
    // What went wrong is in the log; there is nobody to tell.
    let _ = guarded(format_args!("{}.drop", class.name), || {
        drop(hosted);
        Ok(())
    });
}

/// The way of the broker's own session to the broker: calls are made on the thread that asks.
struct Inside(Weak<Host>);

impl Link for Inside {
    fn returned(&self) {
        if !REAPING.get()
            && let Some(host) = self.0.upgrade()
        {
            host.mailbox.ring();
        }
    }

    fn deadline(&self, at: u64) {
        if let Some(host) = self.0.upgrade() {
            host.mailbox.send(Errand::Deadline(at));
        }
    }

    fn fetch(&self, object: ObjectId) -> Result<OwnedFd> {
        let gone = || Error::new(ErrorKind::BrokerGone, "the broker of this object has ended");
        self.0.upgrade().ok_or_else(gone)?.fetch(object)
    }

    fn keep(&self, object: ObjectId, snapshot: &[u8]) -> Result<()> {
        // Without a host nothing outlives anything.
        self.0.upgrade().map_or(Ok(()), |host| host.keep(&*host.find(object)?, snapshot))
    }

    fn call(&self, session: &Arc<Session>, ask: Ask<'_>, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let host =
            self.0.upgrade().ok_or_else(|| Error::new(ErrorKind::BrokerGone, "the broker of this object has ended"))?;
        scope::current().check()?;
        let written = host.enter(|| host.execute(ask, true))?;
        let done = read(written.value());
        if done.is_err() {
            Written::cancel(&written.issued, session);
        }
        done
    }
}

/// The broker as a channel for methods that create objects.
impl ControlChannel for Host {
    fn freeze(&self, create: &Create, file: OwnedFd, read: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (granted, _) = Host::freeze(self, create, file, SessionIndex::BROKER)?;
        read(bytemuck::bytes_of(&granted))
    }

    fn call_with(
        &self,
        request: Request,
        body: &[u8],
        patience: Duration,
        read: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match request {
            Request::Create => {
                let (granted, _) = self.grant(&message::unarchive(body)?, SessionIndex::BROKER)?;
                read(bytemuck::bytes_of(&granted))
            }
            Request::CreateWithin => read(bytemuck::bytes_of(&self.grant_within(&message::unarchive(body)?)?)),
            // The loop does all else; it never waits for a method.
            _ => read(&self.mailbox.ask(request, body, patience.max(PATIENCE))?),
        }
    }
}
