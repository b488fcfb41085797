//! Numbers that point into the region. Each has its own type, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// A distance in bytes from the start of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Offset(pub(crate) u64);

/// The number of a slot of the object table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotIndex(pub(crate) u32);

/// How often a slot has been given to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Generation(pub(crate) u32);

/// The number of a row of the session table and of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionIndex(pub(crate) u16);

impl SessionIndex {
    /// The broker is a session like any other, and the first.
    pub(crate) const BROKER: SessionIndex = SessionIndex(0);

    /// Whether this is so of one of those that a slot's hint may mean: each bit stands for every 64th session.
    #[inline]
    pub(crate) fn any_hinted(mut hint: u64, sessions: u16, is_so: impl Fn(SessionIndex) -> bool) -> bool {
        while hint != 0 {
            let mut session = hint.trailing_zeros();
            hint &= hint - 1;
            while session < u32::from(sessions) {
                if is_so(SessionIndex(session as u16)) {
                    return true;
                }
                session += 64;
            }
        }
        false
    }
}

/// The identity of an object: its slot, and the generation that tells it from earlier objects of that slot.
///
/// An id is never given twice by one broker. It prints as `slot.generation` and parses from that.
///
/// ```
/// use sharehold::ObjectId;
///
/// let id: ObjectId = "17.3".parse()?;
/// assert_eq!(id.to_string(), "17.3");
/// # Ok::<(), sharehold::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(u64);

impl ObjectId {
    pub(crate) const fn new(slot: SlotIndex, generation: Generation) -> Self {
        Self((generation.0 as u64) << 32 | slot.0 as u64)
    }

    pub(crate) const fn slot(self) -> SlotIndex {
        SlotIndex(self.0 as u32)
    }

    pub(crate) const fn generation(self) -> Generation {
        Generation((self.0 >> 32) as u32)
    }

    /// The id as one number: generation in the high half, slot in the low.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The id of a number made by [`ObjectId::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot().0, self.generation().0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

impl FromStr for ObjectId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once('.')
            .and_then(|(slot, generation)| {
                Some(Self::new(SlotIndex(slot.parse().ok()?), Generation(generation.parse().ok()?)))
            })
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidArgument, format!("'{text}' is not an object id"))
                    .help("an id is SLOT.GENERATION, as `sharehold ls` prints it")
            })
    }
}
