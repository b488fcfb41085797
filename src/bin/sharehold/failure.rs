//! Why a command did not do what it was asked to.

use std::io;

/// What ends a command.
pub(crate) enum Failure {
    /// The reader of the output went away, which is its right.
    PipeClosed,
    /// Something the user is told.
    Said { message: String, advice: String },
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Said { message: message.into(), advice: advice.into() }
    }
}

impl From<sharehold::Error> for Failure {
    fn from(error: sharehold::Error) -> Self {
        Self::new(error.message(), error.advice())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::new(error.to_string(), ""),
        }
    }
}
