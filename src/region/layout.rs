//! The byte map of the region, stated once.
//!
//! Every shared struct is declared with the offset of each field, which the compiler checks, and consists of atomics
//! only: another process may write any of them at any time. The fingerprint covers every name and offset, so that two
//! builds that differ refuse each other.
//!
//! ```text
//! 0            header        4 KiB
//! types        128 B each    names and shapes of the types in use
//! sessions     256 B each    who is attached
//! names         64 B each    the directory
//! endings      152 B each    what of a name does not fit there
//! tickets       64 B each    references in transit
//! slots         64 B each    the object table
//! ledger       a row a session: a page map, then 8 B a slot
//! heap         payloads; a channel's begins with its own head
//! ```
//! All tables start on a page. The file is sparse: what is not touched costs nothing.

use crate::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};
pub(crate) use crate::sys::memory::PAGE;

/// "SHAREHLD", read as a little-endian number.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHAREHLD");
/// Grows with each change of meaning that the fingerprint can't see.
pub(crate) const VERSION: u32 = 3;
/// Lanes of a session: how many of its threads may move a stored reference at the same time. More threads wait for each other.
pub(crate) const LANES: usize = 16;
/// Bytes of a published name.
pub(crate) const NAME_BYTES: usize = 192;
/// Bytes of a type's name; a longer one is cut, the fingerprint still tells it from others.
pub(crate) const TYPE_NAME_BYTES: usize = 88;
/// The lock word and `refs` keep 12 bits for a session's number.
pub(crate) const MAX_SESSIONS: u32 = 4096;
/// Slot numbers and lane words are 31 bits, so that `slot + 1` fits.
pub(crate) const MAX_OBJECTS: u32 = 1 << 30;

/// A struct that may stand in the region.
///
/// # Safety
/// `repr(C)`, made of atomics only, valid whatever its bytes are, at most 8-byte aligned.
#[expect(unsafe_code, reason = "the promise that the checked cast relies on")]
pub(crate) unsafe trait Shared: Sized {
    /// A hash of the name, the size and every field's name and offset.
    const FINGERPRINT: u64;
}

/// FNV-1a: a hash that can be computed by the compiler. Source: RFC 9923.
pub(crate) const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

pub(crate) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

const fn fnv_number(hash: u64, number: usize) -> u64 {
    fnv(hash, &(number as u64).to_le_bytes())
}

/// Declares a shared struct with its size and the offset of each field, and has the compiler check both.
macro_rules! shared_struct {
    ($(#[$doc:meta])* $name:ident: $size:literal {
        $($(#[$field_doc:meta])* $offset:literal $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        #[repr(C)]
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $type,)* }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            assert!(align_of::<$name>() <= 8);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };

        // SAFETY: repr(C), and the macro is only used with fields of atomics (and arrays of them), for which any bytes are valid.
        #[expect(unsafe_code, reason = "see the safety comment")]
        unsafe impl Shared for $name {
            const FINGERPRINT: u64 = {
                let mut hash = fnv(FNV_BASIS, stringify!($name).as_bytes());
                hash = fnv_number(hash, $size);
                $(
                    hash = fnv(hash, concat!(stringify!($field), ":", stringify!($type)).as_bytes());
                    hash = fnv_number(hash, $offset);
                )*
                hash
            };
        }
    };
}

shared_struct! {
    /// The first page. Written by the broker before anybody else maps the region, but for the words that say otherwise.
    Header: 512 {
        /// [`MAGIC`]; written last, so that a half-made region is not taken for a whole one.
        0 magic: AtomicU64,
        8 fingerprint: AtomicU64,
        16 version: AtomicU32,
        /// How often a broker has taken this region over.
        20 epoch: AtomicU32,
        /// A random number: tickets of other regions are told by it.
        24 region_id: AtomicU64,
        /// The key of the tickets' keyed hash.
        32 ticket_key: [AtomicU64; 2],
        48 broker_pid: AtomicU32,
        /// See [`BrokerState`].
        52 broker_state: AtomicU32,
        /// Start time of the broker's process in clock ticks since boot: tells a reused pid.
        56 broker_start: AtomicU64,
        /// Seconds since 1970.
        64 created_at: AtomicU64,
        /// The structure lock: held by the broker as long as it serves.
        72 structure: AtomicU32,
        76 sessions: AtomicU32,
        80 objects: AtomicU32,
        84 tickets: AtomicU32,
        88 names: AtomicU32,
        92 types: AtomicU32,
        /// Bytes of the heap.
        96 heap: AtomicU64,
        /// Slots up to here have been granted at least once, and their memory is reserved.
        104 slots_used: AtomicU32,
        /// Tickets up to here have their memory reserved. Issuers raise it.
        108 tickets_ready: AtomicU32,
        /// Types up to here are valid.
        112 types_used: AtomicU32,
        /// Head of the stack of dead slots, slot + 1. Winners push, the broker takes the whole stack.
        116 returned: AtomicU32,
        /// Grants that became no object.
        120 withdrawn: AtomicU64,
        /// Sessions that ended without leave.
        128 deaths: AtomicU64,
        /// Stored references whose pin count an audit put right.
        136 repaired: AtomicU64,
        /// The broker's name, ended by zero.
        144 name: [AtomicU64; 12],
        /// Not zero while somebody waits for room: who gives something up tells the broker.
        240 wanted: AtomicU32,
        /// 1: whoever maps the region asks for huge pages for the heap.
        244 huge_pages: AtomicU32,
        /// See `table/alarm.rs`.
        248 alarm: AtomicU64,
        /// Sessions up to here have been entered at least once. Whoever looks for holders looks no further.
        256 sessions_used: AtomicU32,
        260 reserved: AtomicU32,
        264 reserved_2: [AtomicU64; 31],
    }
}

/// What the broker of a region is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum BrokerState {
    Starting = 0,
    Serving = 1,
    /// It left in order; no object of this region is alive any more.
    Stopped = 2,
}

shared_struct! {
    /// A type of which there has been an object. Written by the broker before `types_used` covers it, then constant.
    TypeEntry: 128 {
        /// Covers name, size, alignment and fields.
        0 fingerprint: AtomicU64,
        /// Bytes of one element.
        8 size: AtomicU64,
        /// Its alignment.
        16 align: AtomicU32,
        20 name_len: AtomicU32,
        24 name: [AtomicU64; 11],
        112 reserved: [AtomicU64; 2],
    }
}

shared_struct! {
    /// An attached process. Written by the broker, but for the lanes and the stack.
    SessionEntry: 256 {
        /// Generation (high half) and [`SessionState`] (low half).
        0 state: AtomicU64,
        8 pid: AtomicU32,
        12 uid: AtomicU32,
        /// Start time of the process, see [`Header::broker_start`].
        16 start: AtomicU64,
        /// The program's short name, ended by zero.
        24 comm: [AtomicU64; 2],
        /// Seconds since 1970.
        40 attached_at: AtomicU64,
        /// See [`Rights`](super::Rights).
        48 rights: AtomicU32,
        /// Session + 1 of the process that this one is to be forked from; 0 for one that has attached itself. Its `pid` is 0 until the child has claimed it.
        52 parent: AtomicU32,
        56 reserved: AtomicU64,
        /// Slot + 1 of a reference that a thread is moving, or of an object that it is killing; [`WALKING`]; 0 when idle.
        64 lanes: [AtomicU32; LANES],
        /// Head of the stack of dead slots on their way back to the slabs of this session: slot + 1 (low half), and the session's generation (high half). 0: closed. On a line of
        /// its own, since others push here.
        128 returned: AtomicU64,
        136 reserved_2: [AtomicU64; 15],
    }
}

shared_struct! {
    /// A name and the object it holds. Written by the broker only; readers check `word` before and after. One line, which is all that is read of most names.
    NameEntry: 64 {
        /// Serial (high half), which each change raises, and state (low half): see `table/names.rs`.
        0 word: AtomicU64,
        /// The object's id.
        8 object: AtomicU64,
        /// Pid of the publisher.
        16 publisher: AtomicU32,
        20 len: AtomicU32,
        /// The first bytes of the name, filled up with zeros.
        24 name: [AtomicU64; 5],
    }
}

shared_struct! {
    /// The other bytes of the name of an entry, filled up with zeros. Only a longer name has any.
    NameEnding: 152 {
        0 name: [AtomicU64; 19],
    }
}

shared_struct! {
    /// A reference in transit.
    TicketEntry: 64 {
        /// Serial, uses or builder, state: see `table/tickets.rs`.
        0 word: AtomicU64,
        /// The object's id. Written while building.
        8 object: AtomicU64,
        /// Nanoseconds of the boot clock after which the ticket is void; 0 for never.
        16 deadline: AtomicU64,
        /// Pid of the issuer.
        24 issuer: AtomicU32,
        /// 1 if it stands for a reference in a reply: it is nobody's once the broker that sent it is dead.
        28 in_reply: AtomicU32,
        /// The keyed hash that the ticket's text carries; 0 for one that has no text.
        32 hash: AtomicU64,
        40 reserved: [AtomicU64; 3],
    }
}

shared_struct! {
    /// An object. `refs`, `holders` and the lock words belong to everybody; the rest is written by the broker while the slot is free, then constant, but for what the
    /// owner of a slab writes while he makes a slot anew.
    Slot: 64 {
        /// Epoch, pins or winner, state: see `table/refs.rs`.
        0 refs: AtomicU64,
        /// Bit `session % 64`: a session of such a number may have a count.
        8 holders: AtomicU64,
        16 generation: AtomicU32,
        /// See `object::Kind`; 0 for none.
        20 kind: AtomicU16,
        /// The session of whose slab the slot is; 0 for none.
        22 owner: AtomicU16,
        /// From the start of the region, in bytes.
        24 offset: AtomicU64,
        /// Bytes of payload.
        32 len: AtomicU64,
        40 type_index: AtomicU32,
        /// On a stack of returned slots: slot + 1 of the next one. Else, if the slot has an owner: the generation of the owner's session.
        44 next: AtomicU32,
        /// The object's lock: see `sync/robust.rs`.
        48 lock: AtomicU32,
        /// A value: how often it was written; the low bit tells the copy to read. An array: counts readers that left.
        52 seq: AtomicU32,
        /// [`SEALED`], [`FILLED`], [`DAMAGED`], [`BUILT`].
        56 flags: AtomicU32,
        /// Of what the broker has written here: see `table/words.rs`.
        60 digest: AtomicU32,
    }
}

/// In a lane: a thread takes what came back to the slabs of its session.
pub(crate) const WALKING: u32 = u32::MAX;
/// Seats of each side of a channel: how many processes may send, and how many receive.
pub(crate) const SEATS: usize = 64;

shared_struct! {
    /// The start of a channel's payload; its entries follow. What is written often lies 128 bytes from what others read.
    ChannelHead: 1408 {
        /// See `table/seats.rs`.
        0 state: AtomicU32,
        /// An event: there is something to receive, or nobody who sends.
        4 filled: AtomicU32,
        /// An event: there is room, or nobody who receives.
        8 emptied: AtomicU32,
        /// How many may send, and receive: see `object/queue.rs`.
        12 form: AtomicU32,
        16 reserved: [AtomicU64; 14],
        /// See `table/ring.rs`.
        128 tail: AtomicU64,
        136 reserved_2: [AtomicU64; 15],
        256 head: AtomicU64,
        264 reserved_3: [AtomicU64; 15],
        384 senders: [AtomicU64; SEATS],
        896 receivers: [AtomicU64; SEATS],
    }
}

/// The payload will never change again.
pub(crate) const SEALED: u32 = 1;
/// The creator has reserved the memory: every page of it is there.
pub(crate) const FILLED: u32 = 2;
/// The broker has found words in the slot that it has not written: the slot is out of use until the broker's end.
pub(crate) const DAMAGED: u32 = 4;

/// The creator has written the words of a channel: before that there may be those of another object.
pub(crate) const BUILT: u32 = 8;

/// The number of the kind whose objects lie in the broker, not in the region: `object::Kind::Hosted`.
pub(crate) const HOSTED: u32 = 4;

/// The number of the kind whose bytes lie in a file of their own: `object::Kind::Frozen`.
pub(crate) const FROZEN: u32 = 5;

/// The number of the kind whose objects hold others: `object::Kind::Channel`.
pub(crate) const CHANNEL: u32 = 6;

/// Covers every shared struct and constant of the layout.
pub(crate) const FINGERPRINT: u64 = {
    let mut hash = fnv_number(FNV_BASIS, VERSION as usize);
    hash = fnv_number(hash, Header::FINGERPRINT as usize);
    hash = fnv_number(hash, TypeEntry::FINGERPRINT as usize);
    hash = fnv_number(hash, SessionEntry::FINGERPRINT as usize);
    hash = fnv_number(hash, NameEntry::FINGERPRINT as usize);
    hash = fnv_number(hash, NameEnding::FINGERPRINT as usize);
    hash = fnv_number(hash, TicketEntry::FINGERPRINT as usize);
    hash = fnv_number(hash, Slot::FINGERPRINT as usize);
    hash = fnv_number(hash, ChannelHead::FINGERPRINT as usize);
    fnv_number(hash, cfg!(target_endian = "big") as usize)
};

/// How many of everything a region has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacities {
    pub(crate) sessions: u32,
    pub(crate) objects: u32,
    pub(crate) tickets: u32,
    pub(crate) names: u32,
    pub(crate) types: u32,
    /// Bytes of the heap.
    pub(crate) heap: u64,
}

impl Capacities {
    /// Whether every table can be addressed; what was read from a region is checked with this before it is used.
    pub(crate) fn are_possible(&self) -> bool {
        (2..=MAX_SESSIONS).contains(&self.sessions)
            && (1..=MAX_OBJECTS).contains(&self.objects)
            && (1..=1 << 24).contains(&self.tickets)
            && (1..=1 << 24).contains(&self.names)
            && (1..=1 << 20).contains(&self.types)
            && (PAGE..=1 << 46).contains(&self.heap)
    }
}

/// Where each table starts. Derived from the capacities, never read from the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) capacities: Capacities,
    pub(crate) types: u64,
    pub(crate) sessions: u64,
    pub(crate) names: u64,
    pub(crate) endings: u64,
    pub(crate) tickets: u64,
    pub(crate) slots: u64,
    pub(crate) ledger: u64,
    /// Bytes of one session's row.
    pub(crate) row: u64,
    /// Bytes of the page map at the start of a row: a bit a page of cells that is reserved.
    pub(crate) row_map: u64,
    pub(crate) heap: u64,
    pub(crate) end: u64,
}

/// Bytes of a ledger cell.
pub(crate) const CELL: u64 = 8;
/// Cells of one page of a row.
pub(crate) const CELLS_A_PAGE: u64 = PAGE / CELL;

const fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

impl Map {
    pub(crate) fn of(capacities: Capacities) -> Self {
        let table = |start: u64, count: u32, size: usize| start + pages(count as u64 * size as u64);
        let types = PAGE;
        let sessions = table(types, capacities.types, size_of::<TypeEntry>());
        let names = table(sessions, capacities.sessions, size_of::<SessionEntry>());
        let endings = table(names, capacities.names, size_of::<NameEntry>());
        let tickets = table(endings, capacities.names, size_of::<NameEnding>());
        let slots = table(tickets, capacities.tickets, size_of::<TicketEntry>());
        let ledger = table(slots, capacities.objects, size_of::<Slot>());
        let cells = pages(capacities.objects as u64 * CELL);
        let row_map = pages((cells / PAGE).div_ceil(8));
        let row = row_map + cells;
        let heap = ledger + row * capacities.sessions as u64;
        let end = heap + pages(capacities.heap);
        Self { capacities, types, sessions, names, endings, tickets, slots, ledger, row, row_map, heap, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_do_not_overlap_and_start_on_a_page() {
        let map = Map::of(Capacities { sessions: 3, objects: 1000, tickets: 65, names: 17, types: 33, heap: 12345 });
        let starts =
            [0, map.types, map.sessions, map.names, map.endings, map.tickets, map.slots, map.ledger, map.heap, map.end];
        assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
        assert!(starts.iter().all(|start| start % PAGE == 0));
        assert_eq!(map.heap - map.ledger, 3 * map.row);
        assert!(map.row_map * 8 >= (map.row - map.row_map) / PAGE);
    }
}
