//! A class: its name, its constructor and its method table, which is the only truth of what may be called.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cell::{AnyCell, Cell, References};
use super::failure::MethodError;
use super::snapshot::{Keeping, Snapshot};
use crate::error::{Error, ErrorKind, Result};
use crate::object::proxy::{expect_type, sealed};
use crate::object::schema::{fingerprint, short_name};
use crate::object::transit::{self, Written};
use crate::object::{Kind, Object, Proxy};
use crate::region::layout::TYPE_NAME_BYTES;
use crate::region::{ObjectId, Region};
use crate::session::{Hold, Session};

/// A type whose objects a broker can host. Implemented by the attribute [`class`](macro@crate::class), which refuses what can't be called from other processes:
///
/// ```compile_fail
/// pub struct Counter(u64);
///
/// #[sharehold::class]
/// impl Counter {
///     pub fn into_inner(self) -> u64 { // a method of a class takes `&self` or `&mut self`: others hold the object too
///         self.0
///     }
/// }
/// ```
pub trait Class: Send + Sync + Sized + 'static {
    /// The class's name.
    const NAME: &'static str;
    /// The typed proxy.
    type Proxy: ClassProxy;

    /// What can be called.
    fn table() -> ClassTable;
}

/// A typed proxy of a hosted object. Implemented by the attribute [`class`](macro@crate::class).
pub trait ClassProxy: Clone {
    /// The class's name.
    const CLASS: &'static str;

    /// Wraps a proxy of an object of the class.
    fn from_object(object: Object) -> Self;
    /// The proxy without its type.
    fn object(&self) -> &Object;
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<P: ClassProxy> sealed::Typed for P {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        expect_type(region, id, Kind::Hosted, class_fingerprint(P::CLASS), || P::CLASS.into())
    }

    fn of(hold: Hold) -> Result<Self> {
        Self::check(hold.session().region(), hold.id())?;
        Object::of(hold).map(Self::from_object)
    }

    fn hold(&self) -> &Hold {
        self.object().hold()
    }

    fn item() -> (u64, String) {
        (class_fingerprint(P::CLASS), P::CLASS.into())
    }
}

/// Tells the objects of a class from others. A class is its name: programs that call it need not have been built with its code.
pub(crate) fn class_fingerprint(name: &str) -> u64 {
    fingerprint(name, 0, 1, &[("class", 0, 0)])
}

/// What a class can do: made by [`ClassBuilder`], or by the attribute [`class`](macro@crate::class).
pub struct ClassTable {
    pub(crate) name: String,
    /// Whether dropping an object runs any code of the user's.
    pub(crate) needs_drop: bool,
    host: Host,
    /// Brings an object back from what was kept of it.
    restore: Option<Make<Box<dyn AnyCell>>>,
    constructor: Option<Constructor<Made>>,
    is_internal: bool,
    methods: BTreeMap<String, Method>,
    debug: DebugForm,
}

struct Constructor<M> {
    signature: String,
    make: Make<M>,
}

struct Method {
    signature: String,
    invoke: Invoke,
}

/// Puts an object into a cell, unless it is of another type.
type Host = Box<dyn Fn(Box<dyn Any>) -> Option<Box<dyn AnyCell>> + Send + Sync>;
/// Makes something from arguments.
type Make<M> = Box<dyn Fn(&Arc<Session>, &[u8]) -> Result<M> + Send + Sync>;
/// Calls a method of the object in a cell, with arguments.
type Invoke = Box<dyn Fn(&dyn AnyCell, ObjectId, &Arc<Session>, &[u8]) -> Result<Written> + Send + Sync>;
type DebugForm = Box<dyn Fn(&dyn AnyCell) -> Option<String> + Send + Sync>;

/// What a constructor has made.
pub(crate) enum Made {
    New(Box<dyn AnyCell>),
    Existing(Object),
}

impl ClassTable {
    /// The class's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What can be called, as `scale(x: f64)`; the constructor, if there is one, comes first, as `Magnifier(factor: f64)`.
    pub fn signatures(&self) -> Vec<String> {
        let constructor = self.constructor.iter().filter(|_| !self.is_internal);
        constructor
            .map(|constructor| format!("{}({})", self.name, constructor.signature))
            .chain(self.methods())
            .collect()
    }

    fn methods(&self) -> impl Iterator<Item = String> {
        self.methods.iter().map(|(name, method)| format!("{name}({})", method.signature))
    }

    /// Makes an object. `inside`: a method of the broker asks, which may create what others may not.
    pub(crate) fn construct(&self, session: &Arc<Session>, arguments: &[u8], inside: bool) -> Result<Made> {
        let allowed = self.constructor.as_ref().filter(|_| inside || !self.is_internal);
        let constructor = allowed.ok_or_else(|| {
            let why = if self.constructor.is_some() { "its constructor is internal" } else { "it has no constructor" };
            Error::new(ErrorKind::Refused, format!("class {} can't be created from outside: {why}", self.name))
                .help("its objects come from methods of other classes")
        })?;
        (constructor.make)(session, arguments)
    }

    /// Calls a method.
    pub(crate) fn call(
        &self,
        cell: &dyn AnyCell,
        id: ObjectId,
        method: &str,
        session: &Arc<Session>,
        arguments: &[u8],
    ) -> Result<Written> {
        let method = self.methods.get(method).ok_or_else(|| {
            let there: Vec<String> = self.methods().collect();
            let shown: String = method.chars().take(64).collect();
            let there = if there.is_empty() { "no methods".into() } else { there.join(", ") };
            Error::new(
                ErrorKind::MethodNotFound,
                format!("class {} has no method '{shown}'; it has {there}", self.name),
            )
        })?;
        (method.invoke)(cell, id, session, arguments)
    }

    /// Puts an object of the class into a cell. `None` if it is of another type.
    pub(crate) fn host(&self, object: Box<dyn Any>) -> Option<Box<dyn AnyCell>> {
        (self.host)(object)
    }

    /// Brings an object back from what was kept of it. `None` if the class keeps nothing.
    pub(crate) fn restore(&self, session: &Arc<Session>, kept: &[u8]) -> Option<Result<Box<dyn AnyCell>>> {
        self.restore.as_ref().map(|restore| restore(session, kept))
    }

    /// The debug form of an object. `None` if a method changes it just now.
    pub(crate) fn describe(&self, cell: &dyn AnyCell) -> Option<String> {
        (self.debug)(cell)
    }
}

impl fmt::Debug for ClassTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClassTable({}: {})", self.name, self.signatures().join(", "))
    }
}

/// Makes a class by hand, from closures: what the attribute [`class`](macro@crate::class) writes for you.
///
/// Arguments come as a tuple. Methods added with [`ClassBuilder::method`] run together, those with [`ClassBuilder::method_mut`] alone on their object.
///
/// ```
/// use sharehold::{Broker, ClassBuilder, Manager, Object};
///
/// let counter = ClassBuilder::<u64>::new("Counter")
///     .constructor("start: u64", |(start,): (u64,)| Ok(start))
///     .method("get", "", |count, (): ()| Ok(*count))
///     .method_mut("add", "n: u64", |count, (n,): (u64,)| {
///         *count += n;
///         Ok(*count)
///     })
///     .build();
/// let broker = Broker::builder().name("doc-counters").class_table(counter).spawn()?;
///
/// let manager = Manager::connect("doc-counters")?;
/// let counter: Object = manager.create("Counter", &(40,))?;
/// assert_eq!(counter.call::<u64>("add", &(2,))?, 42);
/// let error = counter.call::<u64>("substract", &(2,)).unwrap_err();
/// assert!(error.to_string().contains("it has add(n: u64), get()"));
/// # drop(counter);
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct ClassBuilder<T> {
    name: String,
    constructor: Option<Constructor<Product<T>>>,
    is_internal: bool,
    methods: BTreeMap<String, Method>,
    debug: Option<fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result>,
    references: Option<References<T>>,
    keeping: Option<Keeping<T>>,
    object: PhantomData<fn() -> T>,
}

/// As [`Made`], before it is known what a cell needs besides the object.
enum Product<T> {
    New(T),
    Existing(Object),
}

/// Reads arguments; an error says what the method takes.
fn arguments<A: DeserializeOwned>(session: &Arc<Session>, bytes: &[u8], call: &str, signature: &str) -> Result<A> {
    transit::read_arguments(session, bytes).map_err(|error| match error.kind() {
        ErrorKind::TypeMismatch => {
            Error::new(ErrorKind::TypeMismatch, format!("{call} takes ({signature}): {}", error.message()))
        }
        _ => error,
    })
}

impl<T: Send + Sync + 'static> ClassBuilder<T> {
    /// A class without constructor and methods: its objects come from methods of others.
    ///
    /// # Panics
    /// If the name is empty, has more than 88 bytes, which would not fit the table of types, or control characters.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        assert!(
            (1..=TYPE_NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control),
            "the name of a class has 1 to {TYPE_NAME_BYTES} bytes and no control characters"
        );
        Self {
            name,
            constructor: None,
            is_internal: false,
            methods: BTreeMap::new(),
            debug: None,
            references: None,
            keeping: None,
            object: PhantomData,
        }
    }

    /// Sets the constructor. `signature` is for errors and lists, as `"factor: f64"`.
    #[must_use]
    pub fn constructor<A, F>(self, signature: &str, make: F) -> Self
    where
        A: DeserializeOwned,
        F: Fn(A) -> Result<T, MethodError> + Send + Sync + 'static,
    {
        self.made_by(signature, move |arguments| make(arguments).map(Product::New))
    }

    /// Sets a constructor that returns a proxy: of an object that exists already, as from a cache, or of one that it has had hosted itself.
    #[must_use]
    pub fn factory<A, P, F>(self, signature: &str, make: F) -> Self
    where
        A: DeserializeOwned,
        P: Proxy,
        F: Fn(A) -> Result<P, MethodError> + Send + Sync + 'static,
    {
        self.made_by(signature, move |arguments| {
            make(arguments).map(|proxy| Product::Existing(Object::from_hold(proxy.hold().clone())))
        })
    }

    fn made_by<A: DeserializeOwned>(
        mut self,
        signature: &str,
        make: impl Fn(A) -> Result<Product<T>, MethodError> + Send + Sync + 'static,
    ) -> Self {
        let (call, expected) = (format!("{}.new", self.name), signature.to_owned());
        let make = move |session: &Arc<Session>, bytes: &[u8]| {
            make(arguments(session, bytes, &call, &expected)?).map_err(|error| error.into_error(&call))
        };
        self.constructor = Some(Constructor { signature: signature.into(), make: Box::new(make) });
        self
    }

    /// Reserves the constructor for methods in the broker.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.is_internal = true;
        self
    }

    /// Adds a method that reads the object.
    #[must_use]
    pub fn method<A, R, F>(self, name: &str, signature: &str, method: F) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        F: Fn(&T, A) -> Result<R, MethodError> + Send + Sync + 'static,
    {
        self.called_by(name, signature, move |cell, id, _, arguments, call| {
            cell.read(id, |object| method(object, arguments).map_err(|error| error.into_error(call)))
        })
    }

    /// Adds a method that changes the object: while it runs no other does, on this object.
    #[must_use]
    pub fn method_mut<A, R, F>(self, name: &str, signature: &str, method: F) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        F: Fn(&mut T, A) -> Result<R, MethodError> + Send + Sync + 'static,
    {
        self.called_by(name, signature, move |cell, id, session, arguments, call| {
            cell.write(id, session, |object| method(object, arguments).map_err(|error| error.into_error(call)))
        })
    }

    fn called_by<A: DeserializeOwned, R: Serialize>(
        mut self,
        name: &str,
        signature: &str,
        run: impl Fn(&Cell<T>, ObjectId, &Session, A, &str) -> Result<R> + Send + Sync + 'static,
    ) -> Self {
        let (call, expected) = (format!("{}.{name}", self.name), signature.to_owned());
        let invoke = move |cell: &dyn AnyCell, id: ObjectId, session: &Arc<Session>, bytes: &[u8]| {
            let arguments = arguments(session, bytes, &call, &expected)?;
            let result = run(cell_of::<T>(cell, id)?, id, session, arguments, &call)?;
            transit::write_result(session, &result)
        };
        self.methods.insert(name.into(), Method { signature: signature.into(), invoke: Box::new(invoke) });
        self
    }

    /// Tells the proxies that an object holds, so that [`Manager::collect`](crate::Manager::collect) can find cycles through it. All of them, each once: a
    /// reference that is not told keeps its cycle alive.
    #[must_use]
    pub fn references(mut self, references: References<T>) -> Self {
        self.references = Some(references);
        self
    }

    /// Has objects saved after each change, so that they outlive their broker: see [`Snapshot`].
    #[must_use]
    pub fn snapshot(mut self) -> Self
    where
        T: Snapshot,
    {
        self.keeping = Some(Keeping::new());
        self
    }

    /// Gives objects a debug form, which `sharehold ls` shows.
    #[must_use]
    pub fn debug(mut self, debug: fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result) -> Self {
        self.debug = Some(debug);
        self
    }

    /// The class.
    pub fn build(self) -> ClassTable {
        let (references, keeping) = (self.references, self.keeping);
        let constructor = self.constructor.map(|Constructor { signature, make }| Constructor {
            signature,
            make: Box::new(move |session: &Arc<Session>, bytes: &[u8]| {
                Ok(match make(session, bytes)? {
                    Product::New(object) => Made::New(Box::new(Cell::new(object, references, keeping))),
                    Product::Existing(object) => Made::Existing(object),
                })
            }),
        });
        let debug = self.debug;
        let debug_form = move |cell: &dyn AnyCell| {
            (cell as &dyn Any).downcast_ref::<Cell<T>>()?.peek(|object| match debug {
                Some(debug) => Start::of(&Form(object, debug)),
                None => short_name::<T>(),
            })
        };
        ClassTable {
            name: self.name,
            needs_drop: std::mem::needs_drop::<T>(),
            host: Box::new(move |object| {
                let object = object.downcast::<T>().ok()?;
                Some(Box::new(Cell::new(*object, references, keeping)) as Box<dyn AnyCell>)
            }),
            restore: keeping.map(|keeping| {
                let restore = move |session: &Arc<Session>, bytes: &[u8]| {
                    let object = (keeping.restore)(session, bytes)?;
                    Ok(Box::new(Cell::new(object, references, Some(keeping))) as Box<dyn AnyCell>)
                };
                Box::new(restore) as Make<Box<dyn AnyCell>>
            }),
            constructor,
            is_internal: self.is_internal,
            methods: self.methods,
            debug: Box::new(debug_form),
        }
    }
}

/// A debug function as something to print.
struct Form<'a, T>(&'a T, fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result);

impl<T> fmt::Display for Form<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.1)(self.0, f)
    }
}

/// The start of a text: an object may have a million elements.
struct Start(String);

impl Start {
    const LONGEST: usize = 4096;

    fn of(text: &impl fmt::Display) -> String {
        use fmt::Write;
        let mut start = Self(String::new());
        if write!(start, "{text}").is_err() {
            start.0.push('…');
        }
        start.0
    }
}

impl fmt::Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() <= Self::LONGEST {
            self.0.push_str(text);
            return Ok(());
        }
        Err(fmt::Error)
    }
}

fn cell_of<T: 'static>(cell: &dyn AnyCell, id: ObjectId) -> Result<&Cell<T>> {
    (cell as &dyn Any).downcast_ref().ok_or_else(|| {
        Error::new(ErrorKind::Damaged, format!("object {id} is not of the type that its class has in the broker"))
    })
}
