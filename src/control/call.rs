//! The bodies of calls: a head, a name, and arguments or a result, which go through the region from a stated size on.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use super::create::{self, Channel};
use super::message::{HEAD, LONGEST_BODY, Request, fixed, protocol};
use crate::error::{Error, ErrorKind, Result};
use crate::object::proxy::sealed::Typed;
use crate::object::transit::Written;
use crate::object::{Array, Proxy};
use crate::region::ObjectId;
use crate::session::{Ask, Hold, Session};
use crate::table::tickets::{self, LiveTicket, Terms, TicketPlace};

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

/// A request that is ready to be sent.
pub(crate) struct Outgoing {
    pub(crate) kind: Request,
    pub(crate) body: Vec<u8>,
    /// Keeps large arguments alive until the answer is there.
    _bundle: Option<Array<u8>>,
}

/// Writes what is asked as a message's body.
pub(crate) fn outgoing(session: &Arc<Session>, channel: &dyn Channel, ask: Ask<'_>) -> Result<Outgoing> {
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
    let bundle = if arguments.len() > INLINE { Some(create::bytes(session, channel, arguments)?) } else { None };
    let head = CallHead {
        object,
        bundle: bundle.as_ref().map_or(0, |bundle| bundle.id().to_bits()),
        name_len: name.len() as u32,
        reserved: 0,
    };
    let inline = if bundle.is_some() { &[] } else { arguments };
    let body = [bytemuck::bytes_of(&head), name.as_bytes(), inline].concat();
    Ok(Outgoing { kind, body, _bundle: bundle })
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

/// Writes a result as a reply's body. What must be cancelled if it does not arrive is in `written.issued` afterwards.
pub(crate) fn result(session: &Arc<Session>, channel: &dyn Channel, written: &mut Written) -> Result<Vec<u8>> {
    let mut head = ResultHead { bundle: 0, index: 0, serial: 0 };
    if written.bytes.len() <= INLINE {
        return Ok([bytemuck::bytes_of(&head), &written.bytes].concat());
    }
    let bundle = create::bytes(session, channel, &written.bytes)?;
    let terms = Terms { uses: 1, deadline: 0, issuer: session.pid() };
    let place = session.with_lane(|lane| {
        tickets::issue(session.region(), session.index(), lane, bundle.id(), terms, &session.ticket_hint)
    })?;
    written.issued.push(LiveTicket { place, object: bundle.id(), uses: 1, deadline: 0, issuer: terms.issuer });
    head = ResultHead { bundle: bundle.id().to_bits(), index: place.index, serial: place.serial };
    Ok(bytemuck::bytes_of(&head).to_vec())
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
