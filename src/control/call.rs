//! The bodies of calls: a head, a name, and arguments or a result, which go through the region from a stated size on.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::create::{self, ControlChannel};
use super::message::{self, HEAD, LONGEST_BODY, Request, fixed, protocol};
use crate::error::{Error, ErrorKind, Result};
use crate::object::proxy::sealed::Typed;
use crate::object::transit::{self, ROOM, Written};
use crate::object::{Array, Proxy};
use crate::region::ObjectId;
use crate::session::{Ask, Hold, Session};
use crate::table::tickets::{self, TicketPlace};

/// Longer arguments and results go through the region: as an array that the message only names.
pub(crate) const INLINE: usize = LONGEST_BODY - HEAD - LONGEST_NAME;
/// Longest name of a class or method.
pub(crate) const LONGEST_NAME: usize = 256;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CallHead {
    object: u64,
    /// The array with the arguments; 0 if they stand here.
    bundle: u64,
    name_len: u32,
    reserved: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ResultHead {
    /// The array with the result, and its ticket; 0 if it stands here.
    bundle: u64,
    index: u32,
    serial: u32,
}

/// Hands what is asked to `send`, as a message's number and its body in parts.
pub(crate) fn outgoing<R>(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    ask: Ask<'_>,
    send: impl FnOnce(Request, &[&[u8]]) -> Result<R>,
) -> Result<R> {
    let (kind, object, name, arguments) = match ask {
        Ask::Call { object, method, arguments } => (Request::Call, object.to_bits(), method, arguments),
        Ask::New { class, arguments } => (Request::New, 0, class, arguments),
        Ask::Describe { object } => (Request::Describe, object.to_bits(), "", &[][..]),
        Ask::Collect => (Request::Collect, 0, "", &[][..]),
        Ask::Classes => (Request::Classes, 0, "", &[][..]),
    };
    if name.len() > LONGEST_NAME {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("a name of {} bytes is longer than the {LONGEST_NAME} that a class or method can have", name.len()),
        ));
    }
    // Kept alive until the answer is there.
    let bundle = if arguments.len() > INLINE { Some(create::bytes(session, channel, arguments)?) } else { None };
    let head = CallHead {
        object,
        bundle: bundle.as_ref().map_or(0, |bundle| bundle.id().to_bits()),
        name_len: name.len() as u32,
        reserved: 0,
    };
    let inline = if bundle.is_some() { &[] } else { arguments };
    send(kind, &[bytemuck::bytes_of(&head), name.as_bytes(), inline])
}

/// Reads the body of a request, and hands what is asked to `work`.
pub(crate) fn incoming<R>(
    session: &Arc<Session>,
    kind: Request,
    body: &[u8],
    work: impl FnOnce(Ask<'_>) -> Result<R>,
) -> Result<R> {
    let (head, rest) = body.split_at_checked(size_of::<CallHead>()).ok_or_else(|| protocol("a call is cut off"))?;
    let head: CallHead = fixed(head)?;
    let name_len = head.name_len as usize;
    let (name, inline) = rest
        .split_at_checked(name_len)
        .filter(|_| name_len <= LONGEST_NAME)
        .ok_or_else(|| protocol("the name in a call is cut off or too long"))?;
    let name = std::str::from_utf8(name).map_err(|_| protocol("the name in a call is not text"))?;
    let bundle = if head.bundle == 0 {
        None
    } else {
        let id = ObjectId::from_bits(head.bundle);
        let hold = Hold::take(session, id)?.ok_or_else(|| tickets::gone(id))?;
        Some(<Array<u8> as Typed>::of(hold)?)
    };
    let arguments = match &bundle {
        Some(bundle) => bundle.sealed()?,
        None => inline,
    };
    let object = ObjectId::from_bits(head.object);
    work(match kind {
        Request::Call => Ask::Call { object, method: name, arguments },
        Request::New => Ask::New { class: name, arguments },
        Request::Describe => Ask::Describe { object },
        Request::Collect => Ask::Collect,
        Request::Classes => Ask::Classes,
        _ => return Err(protocol("this is not a call")),
    })
}

/// Makes a result a reply: writes the heads into the room in front of it. What must be cancelled if it does not arrive is in `written.issued`.
pub(crate) fn reply(
    session: &Arc<Session>,
    channel: &dyn ControlChannel,
    to: Request,
    request: u64,
    written: &mut Written,
) -> Result<()> {
    const { assert!(ROOM == HEAD + size_of::<ResultHead>()) };
    let mut head = ResultHead { bundle: 0, index: 0, serial: 0 };
    if written.value().len() > INLINE {
        let bundle = create::bytes(session, channel, written.value())?;
        let place = transit::issue(bundle.hold(), &mut written.issued)?;
        head = ResultHead { bundle: bundle.id().to_bits(), index: place.index, serial: place.serial };
        written.bytes.truncate(ROOM);
    }
    written.bytes.resize(written.bytes.len().max(ROOM), 0);
    written.bytes[HEAD..ROOM].copy_from_slice(bytemuck::bytes_of(&head));
    message::head_reply(&mut written.bytes, to, request);
    Ok(())
}

/// Reads the body of a reply, and hands the result's bytes to `read`.
pub(crate) fn read_result(
    session: &Arc<Session>,
    body: &[u8],
    read: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let (head, inline) =
        body.split_at_checked(size_of::<ResultHead>()).ok_or_else(|| protocol("a result is cut off"))?;
    let head: ResultHead = fixed(head)?;
    if head.bundle == 0 {
        return read(inline);
    }
    let id = ObjectId::from_bits(head.bundle);
    let place = TicketPlace { index: head.index, serial: head.serial };
    let hold = Hold::redeem(session, place, id)?.ok().ok_or_else(|| tickets::gone(id))?;
    read(<Array<u8> as Typed>::of(hold)?.sealed()?)
}
