//! Objects of any kind: counted references, and what can be done with all of them.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sharehold_rust::{CallScope, Channel, Datum, ErrorKind, Kind, Manager, Object, Proxy, Ticket, TicketOptions};

use crate::border::{Result, allocate, border, get, give, invalid, out, slice, take_back, text, time};
use crate::datum::{Tree, datum_of, sh_bytes, sh_datum};
use crate::status::sh_status;
use crate::types::sh_type;

/// A counted reference to an object in shared memory, or in a broker. Any threads may use it at once; whoever drops it lets nobody else use it meanwhile.
pub struct sh_object(pub(crate) Object, OnceLock<Mapping>);

type Mapping = Arc<dyn AsRef<[u8]> + Send + Sync>;

impl sh_object {
    pub(crate) fn new(object: Object) -> Self {
        Self(object, OnceLock::new())
    }

    pub(crate) fn give(object: Object) -> *mut Self {
        give(Self::new(object))
    }

    /// The bytes of a frozen object, which stay mapped as long as this is there.
    fn frozen(&self) -> Result<&[u8]> {
        let mapping = match self.1.get() {
            Some(mapping) => mapping,
            None => {
                let mapping = self.0.frozen_bytes()?.mapping();
                self.1.get_or_init(|| mapping)
            }
        };
        Ok((**mapping).as_ref())
    }
}

/// Plain data of one type, changed as a whole.
pub const SH_KIND_VALUE: u32 = 1;
/// Plain data, changed in place.
pub const SH_KIND_ARRAY: u32 = 2;
/// An archive of Rust.
pub const SH_KIND_ARCHIVE: u32 = 3;
/// An object of a class, whose methods are called.
pub const SH_KIND_HOSTED: u32 = 4;
/// Plain data that the kernel keeps from being changed.
pub const SH_KIND_FROZEN: u32 = 5;
/// A queue of objects.
pub const SH_KIND_CHANNEL: u32 = 6;

const _: () = assert!(
    SH_KIND_VALUE == Kind::Value as u32
        && SH_KIND_ARRAY == Kind::Array as u32
        && SH_KIND_ARCHIVE == Kind::Archive as u32
        && SH_KIND_HOSTED == Kind::Hosted as u32
        && SH_KIND_FROZEN == Kind::Frozen as u32
        && SH_KIND_CHANNEL == Kind::Channel as u32
);

/// Another counted reference to the same object. Any thread. To be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_clone(object: *const sh_object, clone: *mut *mut sh_object) -> sh_status {
    border! {
        let clone = out(clone)?;
        clone.set(sh_object::give(get(object)?.0.clone()));
        Ok(())
    }
}

/// Gives a reference up, which no other thread uses meanwhile; the object dies with the last one. NULL is nothing. Locks on it are given back before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_drop(object: *mut sh_object) -> sh_status {
    border! { take_back(object) }
}

/// What kind of object it is: SH_KIND_VALUE and so on. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_kind(object: *const sh_object, kind: *mut u32) -> sh_status {
    border! {
        let kind = out(kind)?;
        kind.set(get(object)?.0.kind()? as u32);
        Ok(())
    }
}

/// The type of a value, or of an array's elements. Any thread. To be dropped by sh_type_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_type(object: *const sh_object, of: *mut *mut sh_type) -> sh_status {
    border! {
        let of = out(of)?;
        of.set(give(sh_type(get(object)?.0.schema()?)));
        Ok(())
    }
}

/// Refuses an object that is not plain data of this type, with SH_TYPE_MISMATCH; tells which kind it is: SH_KIND_VALUE, SH_KIND_ARRAY or SH_KIND_FROZEN. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_expect(object: *const sh_object, of: *const sh_type, kind: *mut u32) -> sh_status {
    border! {
        let kind = out(kind)?;
        kind.set(get(object)?.0.expect(&get(of)?.0)? as u32);
        Ok(())
    }
}

/// The name of its type, of its elements' type or of its class. Any thread. To be freed by sh_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_type_name(object: *const sh_object, name: *mut *mut c_char) -> sh_status {
    border! {
        let name = out(name)?;
        name.set(allocate(get(object)?.0.type_name()?.as_bytes())?.cast());
        Ok(())
    }
}

/// What names it in lists and errors, the same in every process: `id` in sh_manager_debug_info. Any thread. To be freed by sh_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_id(object: *const sh_object, id: *mut *mut c_char) -> sh_status {
    border! {
        let id = out(id)?;
        id.set(allocate(get(object)?.0.id().to_string().as_bytes())?.cast());
        Ok(())
    }
}

/// How many elements an array has, or how many objects are in a channel; of a value 1. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_len(object: *const sh_object, len: *mut usize) -> sh_status {
    border! {
        let len = out(len)?;
        let (object, kind) = (get(object)?, get(object)?.0.kind()?);
        let of = || object.0.schema().map(sh_type);
        len.set(match kind {
            Kind::Value => 1,
            Kind::Frozen => of()?.count(object.frozen()?.len()),
            Kind::Channel => object.0.downcast::<Channel<Object>>()?.len(),
            _ => of()?.count(object.0.array_bytes()?.len()),
        });
        Ok(())
    }
}

/// How many references to it there are in all processes, tickets and names not counted. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_count(object: *const sh_object, count: *mut u64) -> sh_status {
    border! {
        let count = out(count)?;
        let object = &get(object)?.0;
        count.set(Manager::of(object)?.object_info(object.id())?.proxies());
        Ok(())
    }
}

/// Makes a value or an array immutable for ever, in all processes. Waits for its readers and writers. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_seal(object: *const sh_object) -> sh_status {
    border! {
        let object = &get(object)?.0;
        if object.kind()? == Kind::Value {
            object.value_bytes()?.seal()?;
        } else {
            object.array_bytes()?.seal()?;
        }
        Ok(())
    }
}

/// Whether nobody can change it any more. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_is_sealed(object: *const sh_object, is_sealed: *mut u32) -> sh_status {
    border! {
        let is_sealed = out(is_sealed)?;
        let object = &get(object)?.0;
        is_sealed.set(u32::from(match object.kind()? {
            Kind::Value => match object.value_bytes()?.sealed() {
                Err(error) if error.kind() == ErrorKind::NotSealed => false,
                sealed => sealed.map(|_| true)?,
            },
            Kind::Array => object.array_bytes()?.is_sealed()?,
            kind => matches!(kind, Kind::Archive | Kind::Frozen),
        }));
        Ok(())
    }
}

/// What is in a value or an array of this type that nobody can change, since it was sealed or frozen: `count` elements, of a value one. Without a lock, valid as long as `object` is held. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_sealed(
    object: *const sh_object,
    of: *const sh_type,
    elements: *mut *const c_void,
    count: *mut usize,
) -> sh_status {
    border! {
        let (elements, length) = (out(elements)?, out(count)?);
        let (object, of) = (get(object)?, get(of)?);
        // The object's own hold keeps them, and what it has mapped.
        let bytes = match object.0.expect(&of.0)? {
            Kind::Value => place(object.0.value_bytes()?.sealed()?),
            Kind::Frozen => place(object.frozen()?),
            _ => place(object.0.array_bytes()?.sealed()?),
        };
        elements.set(bytes.0);
        length.set(of.count(bytes.1));
        Ok(())
    }
}

fn place(bytes: &[u8]) -> (*const c_void, usize) {
    (if bytes.is_empty() { ptr::null() } else { bytes.as_ptr().cast() }, bytes.len())
}

/// Takes the mark of a writer of an array that has died away, or of a method that has panicked: the caller puts right what is there. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_clear_poison(object: *const sh_object) -> sh_status {
    border! {
        let object = &get(object)?.0;
        Ok(match object.kind()? {
            Kind::Array => object.array_bytes()?.clear_poison(),
            _ => Manager::of(object)?.clear_poison(object),
        }?)
    }
}

/// A text that stands for the object and keeps it alive until other processes have made objects of it, `uses` times, or the time is over; without limit if `timeout_ms` is negative. Any thread. To be freed by
/// sh_free, which does not end the ticket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_ticket(
    object: *const sh_object,
    uses: u32,
    timeout_ms: i64,
    ticket: *mut *mut c_char,
) -> sh_status {
    border! {
        let ticket = out(ticket)?;
        let issued = get(object)?.0.ticket_with(TicketOptions { uses, deadline: time(timeout_ms) })?;
        ticket.set(allocate(issued.to_string().as_bytes())?.cast());
        Ok(())
    }
}

/// Takes one use of a ticket and gives the object; connects to its broker if this process has not. Any thread. The object is to be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_redeem(ticket: *const c_char, object: *mut *mut sh_object) -> sh_status {
    border! {
        let object = out(object)?;
        let ticket: Ticket = text(ticket)?.parse()?;
        object.set(sh_object::give(sharehold_rust::redeem(&ticket)?));
        Ok(())
    }
}

/// Calls a method of an object of a class. The result, which waits at most `timeout_ms`, without limit if it is negative, is to be freed by sh_datum_free. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_call(
    object: *const sh_object,
    method: *const c_char,
    arguments: *const sh_datum,
    count: usize,
    timeout_ms: i64,
    result: *mut *const sh_datum,
) -> sh_status {
    border! {
        let result = out(result)?;
        let arguments = slice(arguments, count)?.iter().map(|datum| datum_of(datum, 0)).collect::<Result<_>>()?;
        let answer = call(&get(object)?.0, text(method)?, Datum::List(arguments), time(timeout_ms))?;
        result.set(Tree::give(answer)?);
        Ok(())
    }
}

/// As sh_object_call, with a list of arguments and a result in MessagePack. No objects can be in them. Any thread. `result.data` is to be freed by sh_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_object_call_msgpack(
    object: *const sh_object,
    method: *const c_char,
    arguments: sh_bytes,
    timeout_ms: i64,
    result: *mut sh_bytes,
) -> sh_status {
    border! {
        let result = out(result)?;
        let arguments = Datum::from_msgpack(arguments.get()?)?;
        if arguments.as_list().is_none() {
            return Err(invalid("the arguments are no list"));
        }
        let answer = call(&get(object)?.0, text(method)?, arguments, time(timeout_ms))?.to_msgpack()?;
        result.set(sh_bytes { data: allocate(&answer)?.cast_const().cast(), len: answer.len() });
        Ok(())
    }
}

fn call(object: &Object, method: &str, arguments: Datum, timeout: Option<Duration>) -> Result<Datum> {
    let scope = timeout.map_or_else(CallScope::new, |timeout| CallScope::new().timeout(timeout));
    Ok(scope.run(|| object.call(method, &arguments))?)
}
