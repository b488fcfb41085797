//! One error type: a stable kind, what happened, and what to do next.

use std::borrow::Cow;
use std::fmt;

/// What went wrong, as a number that is shared with other languages. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorKind {
    /// A system call failed; the source says which way.
    Os = 1,
    /// No broker of this name runs.
    BrokerNotFound = 2,
    /// The broker ended or closed the connection.
    BrokerGone = 3,
    /// A broker of this name runs already.
    BrokerExists = 4,
    /// The two processes were built with different layouts of the region.
    LayoutMismatch = 5,
    /// The object has another type than the one asked for.
    TypeMismatch = 6,
    /// The object is gone, or the id never named one.
    Gone = 7,
    /// The text or bytes are not a ticket.
    TicketMalformed = 8,
    /// The ticket was not made by this broker's processes.
    TicketForged = 9,
    /// All uses of the ticket are taken.
    TicketSpent = 10,
    /// The ticket's deadline has passed.
    TicketExpired = 11,
    /// The ticket belongs to another broker.
    TicketForeign = 12,
    /// The name holds an object already.
    NameTaken = 13,
    /// No object is published under this name.
    NameNotFound = 14,
    /// The time allowed ran out.
    Timeout = 15,
    /// The region has no free piece of this size, or the system no memory.
    RegionFull = 16,
    /// A table of the region (sessions, objects, tickets, names, types) is full.
    TableFull = 17,
    /// The object is sealed: it can't be changed any more.
    Sealed = 18,
    /// The object is not sealed: it can't be read without a guard.
    NotSealed = 19,
    /// A process died while it changed the object.
    Poisoned = 20,
    /// An argument is out of range.
    InvalidArgument = 21,
    /// The other side sent something that is not of the protocol.
    Protocol = 22,
    /// The broker refused the peer or the request.
    Refused = 23,
    /// Something in the region can't be what was written there.
    Damaged = 24,
    /// The bytes are not a valid archive of this type.
    ArchiveInvalid = 25,
    /// The proxy was inherited through `fork`; it does nothing in this process.
    Forked = 26,
    /// The broker has no class of this name.
    ClassNotFound = 27,
    /// The class has no method of this name.
    MethodNotFound = 28,
    /// A method returned an error; [`Error::remote`] has all of it.
    MethodFailed = 29,
    /// A method panicked; [`Error::remote`] has all of it.
    MethodPanicked = 30,
    /// The call was cancelled by its caller.
    Cancelled = 31,
    /// A value can't be written as an argument or a result.
    Unserializable = 32,
    /// Two calls wait for each other's objects; this one gave way.
    Deadlock = 33,
    /// The hosted object was in the memory of a broker that has died, and nobody can bring it back.
    Lost = 34,
    /// The manager only reads: it has the region mapped for reading, and changes nothing.
    ReadOnly = 35,
    /// The broker's authkey is another one than the client's, or one of them has none.
    WrongAuthkey = 36,
    /// Too many wrong authkeys came from this user; the message says when the next one is looked at.
    TooManyTries = 37,
    /// All senders of a channel are gone, or all receivers, or it was closed.
    Disconnected = 38,
    /// The channel is full.
    ChannelFull = 39,
}

impl ErrorKind {
    /// Every kind there is, in the order of the numbers.
    pub const ALL: [ErrorKind; 39] = [
        ErrorKind::Os,
        ErrorKind::BrokerNotFound,
        ErrorKind::BrokerGone,
        ErrorKind::BrokerExists,
        ErrorKind::LayoutMismatch,
        ErrorKind::TypeMismatch,
        ErrorKind::Gone,
        ErrorKind::TicketMalformed,
        ErrorKind::TicketForged,
        ErrorKind::TicketSpent,
        ErrorKind::TicketExpired,
        ErrorKind::TicketForeign,
        ErrorKind::NameTaken,
        ErrorKind::NameNotFound,
        ErrorKind::Timeout,
        ErrorKind::RegionFull,
        ErrorKind::TableFull,
        ErrorKind::Sealed,
        ErrorKind::NotSealed,
        ErrorKind::Poisoned,
        ErrorKind::InvalidArgument,
        ErrorKind::Protocol,
        ErrorKind::Refused,
        ErrorKind::Damaged,
        ErrorKind::ArchiveInvalid,
        ErrorKind::Forked,
        ErrorKind::ClassNotFound,
        ErrorKind::MethodNotFound,
        ErrorKind::MethodFailed,
        ErrorKind::MethodPanicked,
        ErrorKind::Cancelled,
        ErrorKind::Unserializable,
        ErrorKind::Deadlock,
        ErrorKind::Lost,
        ErrorKind::ReadOnly,
        ErrorKind::WrongAuthkey,
        ErrorKind::TooManyTries,
        ErrorKind::Disconnected,
        ErrorKind::ChannelFull,
    ];

    /// The kind of a number, as it comes over the control channel or from C.
    pub fn from_number(number: u32) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// An error of any operation of this crate.
///
/// ```
/// use sharehold::{ErrorKind, Manager};
///
/// let error = Manager::connect("no-such-broker").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::BrokerNotFound);
/// assert!(error.to_string().contains("no-such-broker"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    help: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    remote: Option<RemoteError>,
}

/// An error of a method, as it was in the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[non_exhaustive]
pub struct RemoteError {
    /// The error that the method returned, what caused it, what caused that, and so on. Never empty.
    pub causes: Vec<Cause>,
    /// Where it came about, then the call that had called it, and so on.
    pub places: Vec<Place>,
    /// The stack of the thread where it came about. Empty if the broker runs with `RUST_BACKTRACE=0`.
    pub backtrace: String,
    /// The error as the language has it that the method is written in, for callers of that language: see [`MethodError::foreign`](crate::MethodError::foreign).
    pub original: Vec<u8>,
}

/// One error of a chain.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[non_exhaustive]
pub struct Cause {
    /// Its type, or an empty string: of what stands behind an error only the text can be known.
    pub type_name: String,
    /// What it says.
    pub message: String,
}

/// A place in the program of the broker.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[non_exhaustive]
pub struct Place {
    /// Class and method, as `Account.withdraw`.
    pub call: String,
    /// Source file.
    pub file: String,
    /// Line in it.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.call, self.file, self.line)
    }
}

/// The result of any operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), help: Cow::Borrowed(""), source: None, remote: None }))
    }

    /// A system call that failed while `doing` something.
    pub(crate) fn os(doing: impl fmt::Display, source: impl Into<std::io::Error>) -> Self {
        let source = source.into();
        Self::new(ErrorKind::Os, format!("cannot {doing}: {source}")).caused_by(source)
    }

    /// Adds what the user can do about it.
    pub(crate) fn help(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.0.help = help.into();
        self
    }

    pub(crate) fn with_remote(mut self, remote: Option<RemoteError>) -> Self {
        self.0.remote = remote;
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The stable kind of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without the advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, or an empty string.
    pub fn advice(&self) -> &str {
        &self.0.help
    }

    /// Of an error of a method: its causes, its places and its backtrace in the broker.
    pub fn remote(&self) -> Option<&RemoteError> {
        self.0.remote.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.help.is_empty() {
            write!(f, " ({})", self.0.help)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.remote {
            Some(remote) if !remote.backtrace.is_empty() => write!(f, "\nin the broker:\n{}", remote.backtrace),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_kind_for_ever() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index + 1);
            assert_eq!(ErrorKind::from_number(kind as u32), Some(kind));
        }
        assert_eq!(ErrorKind::from_number(0), None);
    }
}
