//! What a function returns.

/// How a function went: SH_OK, or why it failed. The numbers are never reused.
pub type sh_status = u32;

macro_rules! check {
    ($($status:ident = $kind:ident;)*) => {
        $(const _: () = assert!($status == sharehold_rust::ErrorKind::$kind as u32);)*
        const _: () = assert!([$($status),*].len() == sharehold_rust::ErrorKind::ALL.len());
    };
}

/// It went well.
pub const SH_OK: sh_status = 0;
/// A system call failed; the source says which way.
pub const SH_OS: sh_status = 1;
/// No broker of this name runs.
pub const SH_BROKER_NOT_FOUND: sh_status = 2;
/// The broker ended or closed the connection.
pub const SH_BROKER_GONE: sh_status = 3;
/// A broker of this name runs already.
pub const SH_BROKER_EXISTS: sh_status = 4;
/// The two processes were built with different layouts of the region.
pub const SH_LAYOUT_MISMATCH: sh_status = 5;
/// The object has another type than the one asked for.
pub const SH_TYPE_MISMATCH: sh_status = 6;
/// The object is gone, or the id never named one.
pub const SH_GONE: sh_status = 7;
/// The text or bytes are not a ticket.
pub const SH_TICKET_MALFORMED: sh_status = 8;
/// The ticket was not made by this broker's processes.
pub const SH_TICKET_FORGED: sh_status = 9;
/// All uses of the ticket are taken.
pub const SH_TICKET_SPENT: sh_status = 10;
/// The ticket's deadline has passed.
pub const SH_TICKET_EXPIRED: sh_status = 11;
/// The ticket belongs to another broker.
pub const SH_TICKET_FOREIGN: sh_status = 12;
/// The name holds an object already.
pub const SH_NAME_TAKEN: sh_status = 13;
/// No object is published under this name.
pub const SH_NAME_NOT_FOUND: sh_status = 14;
/// The time allowed ran out.
pub const SH_TIMEOUT: sh_status = 15;
/// The region has no free piece of this size, or the system no memory.
pub const SH_REGION_FULL: sh_status = 16;
/// A table of the region (sessions, objects, tickets, names, types) is full.
pub const SH_TABLE_FULL: sh_status = 17;
/// The object is sealed: it can't be changed any more.
pub const SH_SEALED: sh_status = 18;
/// The object is not sealed: it can't be read without a guard.
pub const SH_NOT_SEALED: sh_status = 19;
/// A process died while it changed the object.
pub const SH_POISONED: sh_status = 20;
/// An argument is out of range.
pub const SH_INVALID_ARGUMENT: sh_status = 21;
/// The other side sent something that is not of the protocol.
pub const SH_PROTOCOL: sh_status = 22;
/// The broker refused the peer or the request.
pub const SH_REFUSED: sh_status = 23;
/// Something in the region can't be what was written there.
pub const SH_DAMAGED: sh_status = 24;
/// The bytes are not a valid archive of this type.
pub const SH_ARCHIVE_INVALID: sh_status = 25;
/// The proxy was inherited through `fork`; it does nothing in this process.
pub const SH_FORKED: sh_status = 26;
/// The broker has no class of this name.
pub const SH_CLASS_NOT_FOUND: sh_status = 27;
/// The class has no method of this name.
pub const SH_METHOD_NOT_FOUND: sh_status = 28;
/// A method returned an error.
pub const SH_METHOD_FAILED: sh_status = 29;
/// A method panicked.
pub const SH_METHOD_PANICKED: sh_status = 30;
/// The call was cancelled by its caller.
pub const SH_CANCELLED: sh_status = 31;
/// A value can't be written as an argument or a result.
pub const SH_UNSERIALIZABLE: sh_status = 32;
/// Two calls wait for each other's objects; this one gave way.
pub const SH_DEADLOCK: sh_status = 33;
/// The hosted object was in the memory of a broker that has died, and nobody can bring it back.
pub const SH_LOST: sh_status = 34;
/// The manager only reads: it has the region mapped for reading, and changes nothing.
pub const SH_READ_ONLY: sh_status = 35;
/// The broker's authkey is another one than the client's, or one of them has none.
pub const SH_WRONG_AUTHKEY: sh_status = 36;
/// Too many wrong authkeys came from this user; the message says when the next one is looked at.
pub const SH_TOO_MANY_TRIES: sh_status = 37;
/// All senders of a channel are gone, or all receivers, or it was closed.
pub const SH_DISCONNECTED: sh_status = 38;
/// The channel is full.
pub const SH_CHANNEL_FULL: sh_status = 39;
/// A mistake in this library; what was begun may be half done.
pub const SH_INTERNAL: sh_status = 1000;

check! {
    SH_OS = Os;
    SH_BROKER_NOT_FOUND = BrokerNotFound;
    SH_BROKER_GONE = BrokerGone;
    SH_BROKER_EXISTS = BrokerExists;
    SH_LAYOUT_MISMATCH = LayoutMismatch;
    SH_TYPE_MISMATCH = TypeMismatch;
    SH_GONE = Gone;
    SH_TICKET_MALFORMED = TicketMalformed;
    SH_TICKET_FORGED = TicketForged;
    SH_TICKET_SPENT = TicketSpent;
    SH_TICKET_EXPIRED = TicketExpired;
    SH_TICKET_FOREIGN = TicketForeign;
    SH_NAME_TAKEN = NameTaken;
    SH_NAME_NOT_FOUND = NameNotFound;
    SH_TIMEOUT = Timeout;
    SH_REGION_FULL = RegionFull;
    SH_TABLE_FULL = TableFull;
    SH_SEALED = Sealed;
    SH_NOT_SEALED = NotSealed;
    SH_POISONED = Poisoned;
    SH_INVALID_ARGUMENT = InvalidArgument;
    SH_PROTOCOL = Protocol;
    SH_REFUSED = Refused;
    SH_DAMAGED = Damaged;
    SH_ARCHIVE_INVALID = ArchiveInvalid;
    SH_FORKED = Forked;
    SH_CLASS_NOT_FOUND = ClassNotFound;
    SH_METHOD_NOT_FOUND = MethodNotFound;
    SH_METHOD_FAILED = MethodFailed;
    SH_METHOD_PANICKED = MethodPanicked;
    SH_CANCELLED = Cancelled;
    SH_UNSERIALIZABLE = Unserializable;
    SH_DEADLOCK = Deadlock;
    SH_LOST = Lost;
    SH_READ_ONLY = ReadOnly;
    SH_WRONG_AUTHKEY = WrongAuthkey;
    SH_TOO_MANY_TRIES = TooManyTries;
    SH_DISCONNECTED = Disconnected;
    SH_CHANNEL_FULL = ChannelFull;
}
