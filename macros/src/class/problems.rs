//! Everything that is wrong with one block, so that it is reported together.

use quote::ToTokens;
use syn::{Error, Result};

#[derive(Default)]
pub(super) struct Problems(Option<Error>);

impl Problems {
    pub(super) fn add(&mut self, place: impl ToTokens, sentence: impl std::fmt::Display) {
        self.join(Error::new_spanned(place, sentence));
    }

    fn join(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value, or nothing and one problem more.
    pub(super) fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.join(error)).ok()
    }

    pub(super) fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
