//! What a method returns when it fails, and how it reaches the caller: with its causes, its place and its backtrace.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, Location};
use std::sync::Once;

use crate::error::{Cause, Error, ErrorKind, Place, RemoteError, Result};
use crate::object::schema::short_name;

/// The error type for methods of classes: any error becomes one with `?`, which notes its type, the place and the backtrace.
///
/// A method may also return errors of a type of its own; then the place is the method itself.
///
/// ```
/// use sharehold::MethodError;
///
/// fn parse(text: &str) -> Result<u32, MethodError> {
///     let number: u32 = text.parse()?; // noted: this line
///     if number > 100 {
///         return Err(MethodError::new(format!("{number} is too large")));
///     }
///     Ok(number)
/// }
/// assert!(parse("x").unwrap_err().to_string().contains("invalid digit"));
/// ```
pub struct MethodError(Box<Inner>);

struct Inner {
    source: Box<dyn StdError + Send + Sync>,
    type_name: String,
    place: &'static Location<'static>,
    stack: Stack,
}

/// Where an error came about.
enum Stack {
    Own(Backtrace),
    /// As another language tells it, with the error as that language has it.
    Foreign {
        told: String,
        original: Vec<u8>,
    },
}

impl MethodError {
    /// An error that is only a text.
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        Self::noted(message.into().into(), "MethodError".into(), Location::caller())
    }

    /// An error whose type is known no more, such as those of crates that box errors.
    #[track_caller]
    pub fn boxed(source: Box<dyn StdError + Send + Sync>) -> Self {
        Self::noted(source, String::new(), Location::caller())
    }

    /// An error that is only a text, of the library's own classes: to miss a key is common, and the backtrace would tell nothing.
    #[track_caller]
    pub(super) fn plain(message: String) -> Self {
        let (source, type_name) = (message.into(), "MethodError".into());
        Self(Box::new(Inner { source, type_name, place: Location::caller(), stack: Stack::Own(Backtrace::disabled()) }))
    }

    /// An error of a method that is written in another language: its type, its text and its stack as that language tells them, and the error itself in whatever bytes that language reads
    /// again, or none. Callers find all of it in [`Error::remote`].
    ///
    /// ```
    /// use sharehold::{Broker, ClassBuilder, Manager, MethodError, Object};
    ///
    /// let script = ClassBuilder::<()>::new("Script")
    ///     .constructor("", |(): ()| Ok(()))
    ///     .method("run", "", |(), (): ()| {
    ///         Err::<(), _>(MethodError::foreign("ValueError", "no such row", "script.py:7 in run", b"pickled".to_vec()))
    ///     })
    ///     .build();
    /// let _broker = Broker::builder().name("doc-scripts").class_table(script).spawn()?;
    /// let manager = Manager::connect("doc-scripts")?;
    /// let script: Object = manager.create("Script", &())?;
    ///
    /// let error = script.call::<()>("run", &()).unwrap_err();
    /// let remote = error.remote().unwrap();
    /// assert_eq!((&*remote.causes[0].type_name, &*remote.backtrace), ("ValueError", "script.py:7 in run"));
    /// assert_eq!(remote.original, b"pickled");
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    #[track_caller]
    pub fn foreign(
        type_name: impl Into<String>,
        message: impl Into<String>,
        stack: impl Into<String>,
        original: Vec<u8>,
    ) -> Self {
        Self(Box::new(Inner {
            source: message.into().into(),
            type_name: type_name.into(),
            place: Location::caller(),
            stack: Stack::Foreign { told: stack.into(), original },
        }))
    }

    fn noted(source: Box<dyn StdError + Send + Sync>, type_name: String, place: &'static Location<'static>) -> Self {
        Self(Box::new(Inner { source, type_name, place, stack: Stack::Own(backtrace()) }))
    }

    /// The error that reaches the caller of `call`, which is class and method.
    pub(crate) fn into_error(self, call: &str) -> Error {
        let Inner { source, type_name, place, stack } = *self.0;
        let (backtrace, original) = match stack {
            Stack::Own(backtrace) if backtrace.status() == BacktraceStatus::Captured => {
                (shortened(&backtrace.to_string()), Vec::new())
            }
            Stack::Own(_) => Default::default(),
            Stack::Foreign { told, original } => (told, original),
        };
        let mut remote = RemoteError { causes: Vec::new(), places: Vec::new(), backtrace, original };
        let mut next: Option<&(dyn StdError + 'static)> = Some(&*source);
        let mut type_name = Some(type_name);
        while let Some(error) = next {
            next = error.source();
            // A call that this method made has failed: what is known of that is part of this.
            if let Some(inner) = error.downcast_ref::<Error>().and_then(Error::remote) {
                remote.causes.extend_from_slice(&inner.causes);
                remote.places.extend_from_slice(&inner.places);
                if !inner.backtrace.is_empty() {
                    remote.backtrace.clone_from(&inner.backtrace);
                }
                remote.original.clone_from(&inner.original);
                break;
            }
            remote.causes.push(Cause { type_name: type_name.take().unwrap_or_default(), message: error.to_string() });
        }
        remote.places.push(Place { call: call.into(), file: place.file().into(), line: place.line() });
        let message = told("failed", &remote);
        Error::new(ErrorKind::MethodFailed, message).with_remote(Some(remote))
    }
}

/// `Account.withdraw failed: too little at src/bank.rs:17; called by Shop.buy at src/shop.rs:40`.
fn told(what: &str, remote: &RemoteError) -> String {
    let mut text = String::new();
    if let Some(place) = remote.places.first() {
        text += &format!("{} {what}", place.call);
    }
    for cause in &remote.causes {
        text += ": ";
        text += &cause.message;
    }
    for (index, place) in remote.places.iter().enumerate() {
        text += &if index == 0 { format!(" at {}:{}", place.file, place.line) } else { format!("; called by {place}") };
    }
    text
}

impl<E: StdError + Send + Sync + 'static> From<E> for MethodError {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::noted(Box::new(error), short_name::<E>(), Location::caller())
    }
}

impl fmt::Display for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source.fmt(f)
    }
}

impl fmt::Debug for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.0.source, self.0.place)
    }
}

/// The stack of this thread, unless the user wants none. By default there is one, although it takes 0.2 ms: who sees the error is in another process.
fn backtrace() -> Backtrace {
    let unwanted = |name| std::env::var_os(name).is_some_and(|value| value == "0");
    if unwanted("RUST_LIB_BACKTRACE") || unwanted("RUST_BACKTRACE") {
        return Backtrace::disabled();
    }
    Backtrace::force_capture()
}

/// The part of a backtrace that is the user's: without how it was taken, and without how the broker called the method.
fn shortened(backtrace: &str) -> String {
    let mut kept = String::new();
    let mut frame: Vec<&str> = Vec::new();
    // A frame is a line with a number and a name, and mostly one with the place.
    for line in backtrace.lines().map(Some).chain([None]) {
        let is_next = line.is_none_or(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
        if is_next && !frame.is_empty() {
            let text = frame.join("\n");
            let ours = is_of(&text, "failure");
            // Where the table calls the method, or else where that was guarded.
            if is_of(&text, "table") || ours && text.contains("guarded") {
                break;
            }
            if !ours && NOISE.iter().all(|noise| !text.contains(noise)) {
                kept.push_str(&text);
                kept.push('\n');
            }
            frame.clear();
        }
        frame.extend(line);
    }
    kept
}

/// Frames between the place and the function that notes it.
const NOISE: [&str; 7] = [
    "std::backtrace",
    "/std/src/panicking.rs",
    "/std/src/sys/backtrace.rs",
    "/core/src/panicking.rs",
    "from_residual",
    "/alloc/src/boxed.rs",
    "/std/src/backtrace.rs",
];

/// Whether a frame is of this file or one beside it. By its name or by its place: which of them is complete depends on how much is known of the program.
fn is_of(frame: &str, file: &str) -> bool {
    frame.contains(&format!("sharehold::class::{file}::")) || frame.contains(&file!().replace("failure", file))
}

thread_local! {
    /// Whether this thread is in a method, and what is known of its last panic there.
    static PANIC: RefCell<Option<Option<Box<Panicked>>>> = const { RefCell::new(None) };
}

struct Panicked {
    file: String,
    line: u32,
    backtrace: Backtrace,
}

/// Runs code of a class: a panic in it becomes an error of the call, and is logged instead of printed.
#[inline(never)]
pub(crate) fn guarded<R>(call: fmt::Arguments<'_>, work: impl FnOnce() -> Result<R>) -> Result<R> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = PANIC.try_with(|panic| {
                panic.try_borrow_mut().is_ok_and(|mut panic| match &mut *panic {
                    Some(noted) => {
                        let (file, line) =
                            info.location().map_or_else(Default::default, |place| (place.file().into(), place.line()));
                        *noted = Some(Box::new(Panicked { file, line, backtrace: backtrace() }));
                        true
                    }
                    None => false,
                })
            });
            if !is_ours.unwrap_or(false) {
                others(info);
            }
        }));
    });
    // A method that calls another one is in the middle of one already.
    let outer = PANIC.replace(Some(None));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    let noted = PANIC.replace(outer).flatten();
    result.unwrap_or_else(|payload| {
        let call = &*call.to_string();
        let message = message_of(&*payload);
        // The payload is somebody else's, and so is what its destructor does.
        if panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err() {
            tracing::error!(call, "the destructor of a panic's payload panicked");
        }
        let error = panic_error(call, message, noted);
        tracing::error!(call, %error, "a method panicked");
        Err(error)
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a value that is no text".into())
}

fn panic_error(call: &str, message: String, noted: Option<Box<Panicked>>) -> Error {
    let (file, line, backtrace) =
        noted.map_or_else(Default::default, |noted| (noted.file, noted.line, shortened(&noted.backtrace.to_string())));
    let remote = RemoteError {
        causes: vec![Cause { type_name: "panic".into(), message }],
        places: vec![Place { call: call.into(), file, line }],
        backtrace,
        original: Vec::new(),
    };
    Error::new(ErrorKind::MethodPanicked, told("panicked", &remote)).with_remote(Some(remote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the setting is wrong")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    fn fails() -> Result<(), MethodError> {
        Err(Outer("x".parse::<u8>().expect_err("no number")))?;
        Ok(())
    }

    #[test]
    fn the_caller_learns_the_causes_the_type_and_the_line_of_the_question_mark() {
        let error = fails().expect_err("it fails").into_error("Config.load");
        let remote = error.remote().expect("remote");
        assert_eq!(remote.causes[0].type_name, "Outer");
        assert_eq!(remote.causes[1].message, "invalid digit found in string");
        assert!(remote.places[0].file.ends_with("failure.rs"));
        // The frames of this file are left out, those of the test's caller are not.
        assert!(remote.backtrace.contains("call_once"), "{}", remote.backtrace);
        let said = error.to_string();
        assert!(said.starts_with("Config.load failed: the setting is wrong: invalid digit"), "{said}");
    }

    #[test]
    fn a_panic_is_an_error_with_its_place_and_prints_nothing() {
        let error =
            guarded(format_args!("Config.load"), || -> Result<()> { panic!("no {}", "luck") }).expect_err("it panics");
        assert_eq!(error.kind(), ErrorKind::MethodPanicked);
        assert!(error.to_string().starts_with("Config.load panicked: no luck at "), "{error}");
    }

    #[test]
    fn what_another_language_tells_of_its_error_arrives_over_calls_within_calls() {
        let inner = MethodError::foreign("ValueError", "no", "run.py:7", vec![1, 2]).into_error("A.inner");
        let outer = MethodError::from(inner).into_error("B.outer");
        assert!(outer.to_string().starts_with("A.inner failed: no at "), "{outer}");
        let remote = outer.remote().expect("remote");
        assert_eq!((&*remote.causes[0].type_name, &*remote.backtrace), ("ValueError", "run.py:7"));
        assert_eq!((remote.original.as_slice(), remote.places.len()), (&[1, 2][..], 2));
    }

    #[test]
    fn calls_within_calls_name_all_places() {
        let inner = fails().expect_err("it fails").into_error("A.inner");
        let outer = MethodError::from(MethodError::from(inner).into_error("B.middle")).into_error("C.outer");
        let calls: Vec<&str> = outer.remote().expect("remote").places.iter().map(|place| &*place.call).collect();
        assert_eq!(calls, ["A.inner", "B.middle", "C.outer"]);
    }
}
