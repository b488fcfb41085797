//! A value as bytes, for programs that know its type only when they run.

use std::fmt;
use std::time::Duration;

use super::guard::ObjectLock;
use super::payload::{Payload, load_bytes, store_bytes};
use super::proxy::{Kind, Object, expect_kind};
use super::value::{Copies, copy_words_of};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Hold;
use crate::sync::atomic::AtomicU64;

/// A [`Value`](crate::Value) as bytes: as many as its type has. Made by [`Object::value_bytes`] and [`Manager::value_of`](crate::Manager::value_of).
#[derive(Clone)]
pub struct RawValue {
    hold: Hold,
    payload: Payload<AtomicU64>,
    size: usize,
    /// Words of each of the two copies.
    words: usize,
}

impl RawValue {
    pub(crate) fn of(hold: Hold) -> Result<Self> {
        expect_kind(&hold, Kind::Value)?;
        let schema = Object::from_hold(hold.clone()).schema()?;
        let payload: Payload<AtomicU64> = Payload::of(&hold)?;
        // What stands there may be anything: no sum of it is made before it is known to fit.
        let size = usize::try_from(schema.size()).ok().filter(|size| *size <= payload.count() * 8);
        let words =
            size.filter(|_| schema.align.is_power_of_two()).map(|size| copy_words_of(size, schema.align as usize));
        match (size, words) {
            (Some(size), Some(words))
                if words <= payload.count() / 2 && payload.is_aligned_to(schema.align as usize) =>
            {
                Ok(Self { hold, payload, size, words })
            }
            _ => {
                let what = format!("object {} is too small or badly aligned for its type {}", hold.id(), schema.name());
                Err(Error::new(ErrorKind::Damaged, what))
            }
        }
    }

    /// A proxy of the same object that says nothing of its type.
    pub fn untyped(&self) -> Object {
        Object::from_hold(self.hold.clone())
    }

    fn copies(&self) -> Copies<'_> {
        Copies::of(&self.hold, self.payload, self.words)
    }

    fn check_len(&self, len: usize) -> Result<()> {
        if len == self.size {
            return Ok(());
        }
        let what = format!("the value of object {} has {} bytes, not {len}", self.hold.id(), self.size);
        Err(Error::new(ErrorKind::InvalidArgument, what))
    }

    /// Copies the value out. Never torn, and never waits for a writer.
    ///
    /// # Errors
    /// `InvalidArgument` if `into` has another length.
    pub fn get(&self, into: &mut [u8]) -> Result<()> {
        self.check_len(into.len())?;
        self.copies().get(|words| load_bytes(words, into))
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// `Sealed`; `InvalidArgument` if `bytes` has another length.
    pub fn set(&self, bytes: &[u8]) -> Result<()> {
        self.check_len(bytes.len())?;
        self.update_within(None, |value| value.copy_from_slice(bytes))
    }

    /// Changes the value under the object's lock, for which it waits at most this long, or without limit. The bytes that `change` gets start on a multiple of 16.
    ///
    /// # Errors
    /// `Timeout`, `Sealed`.
    pub fn update_within<R>(&self, timeout: Option<Duration>, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        let load = |words: &[AtomicU64]| {
            let mut value = Aligned::new(self.size);
            load_bytes(words, value.bytes_mut());
            value
        };
        let mut result = None;
        self.copies().change(
            timeout,
            load,
            |mut value| {
                result = Some(change(value.bytes_mut()));
                value
            },
            |words, value| store_bytes(words, value.bytes()),
        )?;
        result.ok_or_else(|| Error::new(ErrorKind::Damaged, "the change was not made"))
    }

    /// Makes the value immutable for ever, in all processes.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn seal(&self) -> Result<&[u8]> {
        ObjectLock::of(&self.hold)?.seal()?;
        self.sealed()
    }

    /// The value in place, if it is sealed.
    ///
    /// # Errors
    /// `NotSealed` if others may change it.
    pub fn sealed(&self) -> Result<&[u8]> {
        self.copies().sealed(self.size)
    }
}

impl fmt::Debug for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawValue({}, {} bytes)", self.hold.id(), self.size)
    }
}

/// Bytes that start on a multiple of 16: what any type needs that is not aligned on purpose.
struct Aligned {
    words: Vec<u128>,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(size_of::<u128>())], len }
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}
