//! Messages: a head of fixed layout, then a body. Numbers are never reused. What comes in is checked before it is used.
//!
//! Bodies that consist of numbers have a fixed layout too; those with text are `rkyv` archives, validated on arrival.

use bytemuck::{Pod, Zeroable};
use rkyv::rancor;

use super::authkey::{Nonce, Proof};
use crate::error::{Cause, Error, ErrorKind, Place, RemoteError, Result};
use crate::region::layout::{FINGERPRINT, VERSION};
use crate::region::{Generation, Rights, SessionIndex};

/// "SHLD", read as a little-endian number.
const MAGIC: u32 = u32::from_le_bytes(*b"SHLD");
/// The longest body. Names have at most 192 bytes, type names are cut; an error's text is cut to fit.
pub(crate) const LONGEST_BODY: usize = 16 * 1024;
pub(crate) const HEAD: usize = size_of::<Head>();
/// Set in the number of a reply.
const REPLY: u16 = 0x8000;
/// The number of an error reply to any request.
const FAILURE: u16 = 0xffff;

/// The request number of a failure that is of the connection itself, whatever was asked.
pub(crate) const UNASKED: u64 = 0;

/// What goes before every body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Head {
    magic: u32,
    kind: u16,
    reserved: u16,
    /// Chosen by the one that asks, returned in the reply: an interrupted call can't get an older call's answer.
    pub(crate) request: u64,
    pub(crate) len: u32,
    reserved_2: u32,
}

/// Numbers of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Request {
    /// First of a new session. Reply: [`Welcome`] and the region's descriptor.
    Attach = 1,
    /// First of a further connection of a session.
    Join = 2,
    /// Last of a connection; on the first connection the last of the session. No reply.
    Leave = 3,
    /// Reply: [`Granted`].
    Create = 4,
    Publish = 5,
    Unpublish = 6,
    /// Answered when the name is published or the time is over.
    Wait = 7,
    /// Reply: [`AuditDone`].
    Audit = 8,
    Shutdown = 9,
    /// A ticket expires at a time. No reply.
    Deadline = 10,
    /// A big object has died. No reply.
    Returned = 11,
    /// Reply: [`HeapUse`].
    Usage = 12,
    /// Calls a method. Body: [`CallHead`], the method's name, the arguments. Reply: [`ResultHead`], the result.
    Call = 13,
    /// Makes an object of a class. As `Call`, with the class's name; the result is a reference.
    New = 14,
    /// Gives the debug form of an object. As `Call`, without name and arguments; the result is a text.
    Describe = 15,
    /// Frees cycles that nobody can reach. As `Describe`, without an object; the result is their number.
    Collect = 16,
    /// Lists the classes. As `Collect`; the result is a list of names and signatures.
    Classes = 17,
    /// Clears the poison mark of a hosted object. Body: [`Of`].
    ClearPoison = 18,
    /// First of a session that has outlived its broker: hands the region to the new one, with its descriptor. Body: [`HandBack`]. Reply: [`Welcome`], without one.
    HandBack = 19,
    /// Has the broker compare the region with its books. Reply: [`Damage`].
    Examine = 30,
    /// As `Create`, and waits for room. Body: [`CreateWithin`].
    CreateWithin = 31,
    /// Of a session that only reads: has the broker count a reference for it. Body: [`Take`].
    Take = 40,
    /// Of the same: has the broker give back what it has counted. Body: [`GiveBack`].
    GiveBack = 41,
    /// First of a connection that proves an authkey. Reply: [`Challenge`], or nothing if there is nothing to prove.
    Challenge = 50,
    /// Body: [`Prove`]. Reply: [`Proven`].
    Prove = 51,
    /// First of a session for a child that is about to be forked: the child inherits the connection. Body: [`Join`], of the parent's session. Reply: [`Welcome`], without a
    /// descriptor.
    Fork = 52,
    /// The child has claimed that session. Who it is, the kernel tells. No reply.
    Claim = 53,
    /// First of a further connection of a session: an object whose bytes come as a frozen file. Body: [`Join`], then [`Create`]. Reply: [`Granted`].
    Freeze = 60,
    /// Asks for the file of a frozen object. Body: [`Of`]. Reply: its descriptor.
    Fetch = 61,
    /// First of a further connection of a session that has come back: the file of a frozen object that it reads, for a broker that has it no more. Body: [`Join`], then [`Of`].
    Bring = 62,
    /// As `Create`, for objects that are yet to be made. Body: [`OrderSlab`]. Reply: a [`Granted`] each, as many as there is room for.
    Slab = 70,
    /// What has come back to the slabs of this session is not all there: it is to be looked for. No reply.
    Lost = 71,
    /// Asks for a call ring for this connection. Reply: its descriptor.
    Ring = 80,
}

impl Request {
    pub(crate) const ALL: [Request; 33] = [
        Request::Attach,
        Request::Join,
        Request::Leave,
        Request::Create,
        Request::Publish,
        Request::Unpublish,
        Request::Wait,
        Request::Audit,
        Request::Shutdown,
        Request::Deadline,
        Request::Returned,
        Request::Usage,
        Request::Call,
        Request::New,
        Request::Describe,
        Request::Collect,
        Request::Classes,
        Request::ClearPoison,
        Request::HandBack,
        Request::Examine,
        Request::CreateWithin,
        Request::Take,
        Request::GiveBack,
        Request::Challenge,
        Request::Prove,
        Request::Fork,
        Request::Claim,
        Request::Freeze,
        Request::Fetch,
        Request::Bring,
        Request::Slab,
        Request::Lost,
        Request::Ring,
    ];

    /// The largest number.
    pub(crate) const LARGEST: u16 = Self::Ring as u16;

    /// The one that has this number.
    pub(crate) fn numbered(number: u16) -> Option<Self> {
        const BY_NUMBER: [Option<Request>; Request::LARGEST as usize + 1] = {
            let mut table = [None; Request::LARGEST as usize + 1];
            let mut next = 0;
            while next < Request::ALL.len() {
                let request = Request::ALL[next];
                table[request as usize] = Some(request);
                next += 1;
            }
            table
        };
        BY_NUMBER.get(usize::from(number)).copied().flatten()
    }

    /// Whether it is asked of a connection that has no session yet, and of no other.
    pub(crate) fn is_first(self) -> bool {
        matches!(
            self,
            Self::Attach
                | Self::Join
                | Self::HandBack
                | Self::Challenge
                | Self::Prove
                | Self::Fork
                | Self::Freeze
                | Self::Bring
        )
    }

    /// Whether a session that only reads may ask it.
    pub(crate) fn only_reads(self) -> bool {
        matches!(self, Self::Take | Self::GiveBack | Self::Fetch | Self::Wait | Self::Usage | Self::Leave)
    }

    /// Whether it runs code of a class, which may take any time: such a connection is served by a thread of its own.
    pub(crate) fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::New | Self::Describe | Self::Collect | Self::Classes)
    }
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Attach {
    pub(crate) fingerprint: u64,
    pub(crate) version: u32,
    /// See [`Rights`](crate::region::Rights).
    pub(crate) rights: u32,
}

impl Attach {
    /// Of this version of the library.
    pub(crate) fn with(rights: Rights) -> Self {
        Self { fingerprint: FINGERPRINT, version: VERSION, rights: rights as u32 }
    }
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct HandBack {
    pub(crate) fingerprint: u64,
    /// Tells whether the broker has this very region already.
    pub(crate) region_id: u64,
    pub(crate) version: u32,
    pub(crate) session: u32,
    pub(crate) generation: u32,
    /// As in [`Attach`]: what the region says of it may be damaged.
    pub(crate) rights: u32,
}

impl HandBack {
    /// Of this version of the library.
    pub(crate) fn of(region_id: u64, session: SessionIndex, generation: Generation, rights: Rights) -> Self {
        Self {
            fingerprint: FINGERPRINT,
            region_id,
            version: VERSION,
            session: u32::from(session.0),
            generation: generation.0,
            rights: rights as u32,
        }
    }
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Welcome {
    pub(crate) fingerprint: u64,
    /// Proves to the broker that a further connection is of this session.
    pub(crate) token: u64,
    pub(crate) version: u32,
    pub(crate) session: u32,
    pub(crate) generation: u32,
    pub(crate) reserved: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Join {
    pub(crate) token: u64,
    pub(crate) session: u32,
    pub(crate) reserved: u32,
}

/// A number of the broker's that goes into the proof of a client.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Challenge {
    pub(crate) nonce: Nonce,
}

/// What a client proves that it knows the authkey with. See `control/authkey.rs`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Prove {
    pub(crate) nonce: Nonce,
    pub(crate) proof: Proof,
}

/// The same of the broker.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Proven {
    pub(crate) proof: Proof,
}

/// A request for an object. Text is cut by the sender.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Create {
    pub(crate) kind: u32,
    pub(crate) type_name: String,
    pub(crate) type_fingerprint: u64,
    pub(crate) element_size: u64,
    pub(crate) element_align: u32,
    /// Bytes of payload.
    pub(crate) len: u64,
    /// Alignment of the payload, a power of two.
    pub(crate) align: u64,
}

/// A request for an object, for which there may be no room yet.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct CreateWithin {
    pub(crate) create: Create,
    /// How long to wait at most.
    pub(crate) millis: u64,
}

/// A request for objects of one shape that are yet to be made.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct OrderSlab {
    pub(crate) create: Create,
    /// How many at most.
    pub(crate) count: u32,
}

/// Most objects of a slab: so many fit a body twice.
pub(crate) const SLAB_SLOTS: usize = LONGEST_BODY / 2 / size_of::<Granted>();

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Granted {
    pub(crate) object: u64,
    /// The word that the client swaps to claim the grant.
    pub(crate) refs: u64,
    /// Where its bytes are: the slot says so too, but anybody may have changed it.
    pub(crate) offset: u64,
    /// 1 if the memory is there already and need not be reserved.
    pub(crate) warm: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Publish {
    pub(crate) name: String,
    pub(crate) object: u64,
    /// Whether a name that is taken is taken over.
    pub(crate) replace: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// Of a wait: how long at most.
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct AuditDone {
    pub(crate) repaired: u32,
    pub(crate) freed: u32,
    pub(crate) busy: u32,
    pub(crate) reserved: u32,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct HeapUse {
    pub(crate) capacity: u64,
    /// What sessions keep for their next objects included.
    pub(crate) free: u64,
    pub(crate) kept: u64,
    pub(crate) largest: u64,
    pub(crate) warm: u64,
    /// Slots that are out of use: see `broker/facts.rs`.
    pub(crate) damaged: u64,
    /// Clients that wait for room.
    pub(crate) waiting: u64,
}

/// What the broker has found to be other than it was written, since its start.
#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Damage {
    pub(crate) findings: Vec<String>,
}

/// A reference that is to be counted.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Take {
    pub(crate) object: u64,
    /// The ticket of which a use is taken, if `has_ticket` is 1.
    pub(crate) index: u32,
    pub(crate) serial: u32,
    pub(crate) has_ticket: u64,
}

/// References that are not needed any more.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct GiveBack {
    pub(crate) object: u64,
    pub(crate) count: u64,
}

/// A number of the boot clock, in a body of its own.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct At {
    pub(crate) boot_nanos: u64,
}

/// An object, in a body of its own.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Of {
    pub(crate) object: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: u32,
    pub(crate) message: String,
    pub(crate) advice: String,
    /// Of an error of a method.
    pub(crate) remote: Option<RemoteError>,
}

/// What a head announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    Request(Request),
    Reply(Request),
    Failure,
}

impl Head {
    fn new(kind: u16, request: u64, len: usize) -> Self {
        Self { magic: MAGIC, kind, reserved: 0, request, len: len as u32, reserved_2: 0 }
    }

    /// Reads and checks a head. `bytes` has at least [`HEAD`] of them.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, Announced)> {
        let head: Head =
            bytes.get(..HEAD).map(bytemuck::pod_read_unaligned).ok_or_else(|| protocol("a message head is cut off"))?;
        if head.magic != MAGIC || head.reserved != 0 || head.reserved_2 != 0 {
            return Err(protocol("a message does not start as one"));
        }
        if head.len as usize > LONGEST_BODY {
            return Err(protocol(format!("a message of {} bytes is longer than the {LONGEST_BODY} allowed", head.len)));
        }
        let announced = match head.kind {
            FAILURE => Some(Announced::Failure),
            kind if kind & REPLY != 0 => Request::numbered(kind & !REPLY).map(Announced::Reply),
            kind => Request::numbered(kind).map(Announced::Request),
        };
        announced
            .map(|announced| (head, announced))
            .ok_or_else(|| protocol(format!("there is no message {:#x}", head.kind)))
    }
}

fn message(kind: u16, request: u64, body: &[u8]) -> Vec<u8> {
    [bytemuck::bytes_of(&Head::new(kind, request, body.len())), body].concat()
}

pub(crate) fn request(kind: Request, request: u64, body: &[u8]) -> Vec<u8> {
    message(kind as u16, request, body)
}

/// Writes a request, whose body is in parts, over what was in the buffer.
pub(crate) fn write_request(buffer: &mut Vec<u8>, kind: Request, request: u64, body: &[&[u8]]) {
    let head = Head::new(kind as u16, request, body.iter().map(|part| part.len()).sum());
    buffer.clear();
    buffer.extend_from_slice(bytemuck::bytes_of(&head));
    body.iter().for_each(|part| buffer.extend_from_slice(part));
}

/// Writes the head of a reply into the room that was left for it at the front.
pub(crate) fn head_reply(message: &mut [u8], to: Request, request: u64) {
    let head = Head::new(to as u16 | REPLY, request, message.len().saturating_sub(HEAD));
    if let Some(room) = message.get_mut(..HEAD) {
        room.copy_from_slice(bytemuck::bytes_of(&head));
    }
}

pub(crate) fn reply(to: Request, request: u64, body: &[u8]) -> Vec<u8> {
    message(to as u16 | REPLY, request, body)
}

pub(crate) fn failure(request: u64, error: &Error) -> Vec<u8> {
    let mut body = Failure {
        kind: error.kind() as u32,
        message: error.message().into(),
        advice: error.advice().into(),
        remote: error.remote().cloned(),
    };
    let bytes = fitting(&body).unwrap_or_else(|| {
        body.shorten();
        fitting(&body).unwrap_or_default()
    });
    message(FAILURE, request, &bytes)
}

fn fitting(body: &Failure) -> Option<Vec<u8>> {
    archive(body).ok().filter(|bytes| bytes.len() <= LONGEST_BODY)
}

impl Failure {
    /// Cuts what no message has room for: a quarter of it for each of backtrace, causes and places.
    fn shorten(&mut self) {
        cut(&mut self.message, LONGEST_BODY / 8);
        cut(&mut self.advice, LONGEST_BODY / 16);
        let Some(remote) = &mut self.remote else { return };
        cut(&mut remote.backtrace, LONGEST_BODY / 4);
        // The start of it is nothing.
        remote.original.clear();
        for cause in &mut remote.causes {
            cut(&mut cause.message, 256);
            cut(&mut cause.type_name, 64);
        }
        for place in &mut remote.places {
            cut(&mut place.call, 96);
            cut(&mut place.file, 96);
        }
        // Beside its texts an entry takes up to 24 bytes.
        let (causes, places) = (LONGEST_BODY / 4 / (256 + 64 + 24), LONGEST_BODY / 4 / (96 + 96 + 24));
        keep(&mut remote.causes, causes, |more| Cause {
            type_name: String::new(),
            message: format!("{more} more causes"),
        });
        keep(&mut remote.places, places, |more| Place {
            call: format!("{more} more calls"),
            file: String::new(),
            line: 0,
        });
    }
}

/// Keeps the start of a text, at most `most` bytes, and a sign that it goes on.
fn cut(text: &mut String, most: usize) {
    const SIGN: &str = "…";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - SIGN.len()));
        text.push_str(SIGN);
    }
}

/// Keeps the first entries, and one that says how many more there were.
fn keep<T>(entries: &mut Vec<T>, most: usize, more: impl FnOnce(usize) -> T) {
    let left = entries.len().saturating_sub(most - 1);
    if entries.len() > most {
        entries.truncate(most - 1);
        entries.push(more(left));
    }
}

/// The error that a failure's body tells.
pub(crate) fn failed(body: &[u8]) -> Error {
    match unarchive::<Failure>(body) {
        Ok(failure) => Error::new(ErrorKind::from_number(failure.kind).unwrap_or(ErrorKind::Protocol), failure.message)
            .help(failure.advice)
            .with_remote(failure.remote),
        Err(error) => error,
    }
}

/// Reads a body of fixed layout.
pub(crate) fn fixed<T: Pod>(body: &[u8]) -> Result<T> {
    bytemuck::try_pod_read_unaligned(body)
        .map_err(|_| protocol(format!("a body of {} bytes was sent where {} belong", body.len(), size_of::<T>())))
}

/// Reads the reply to an order of a slab.
pub(crate) fn slab(body: &[u8]) -> Result<Vec<Granted>> {
    body.chunks(size_of::<Granted>()).map(fixed).collect()
}

/// Writes an `rkyv` body.
pub(crate) fn archive<T>(body: &T) -> Result<Vec<u8>>
where
    T: for<'a> rkyv::Serialize<
            rkyv::api::high::HighSerializer<
                rkyv::util::AlignedVec,
                rkyv::ser::allocator::ArenaHandle<'a>,
                rancor::Error,
            >,
        >,
{
    rkyv::to_bytes::<rancor::Error>(body)
        .map(|bytes| bytes.into_vec())
        .map_err(|error| protocol(format!("a message can't be written: {error}")))
}

/// Validates and reads an `rkyv` body.
pub(crate) fn unarchive<T>(body: &[u8]) -> Result<T>
where
    T: rkyv::Archive,
    T::Archived: for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, rancor::Error>>
        + rkyv::Deserialize<T, rkyv::api::high::HighDeserializer<rancor::Error>>,
{
    // Archives are read where they are aligned; the buffer of a socket is not.
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(body.len());
    aligned.extend_from_slice(body);
    rkyv::from_bytes::<T, rancor::Error>(&aligned).map_err(|error| protocol(format!("a body can't be read: {error}")))
}

pub(crate) fn protocol(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_number_means_one_thing_for_ever() {
        // In order, so none is twice. Numbers that are left out are given elsewhere.
        assert!(Request::ALL.is_sorted_by(|one, next| (*one as u16) < (*next as u16)));
        assert!((1..=18).zip(Request::ALL).all(|(number, request)| request as u16 == number));
    }

    #[test]
    fn the_longest_error_fits_a_message_and_arrives() {
        let long = "ä".repeat(LONGEST_BODY);
        let remote = RemoteError {
            causes: vec![Cause { type_name: long.clone(), message: long.clone() }; 100],
            places: vec![Place { call: long.clone(), file: long.clone(), line: 7 }; 1000],
            backtrace: long.clone(),
            original: vec![7; LONGEST_BODY],
        };
        let error = Error::new(ErrorKind::MethodFailed, long.clone()).help(long).with_remote(Some(remote));
        let bytes = failure(1, &error);
        let (head, announced) = Head::parse(&bytes).expect("a head");
        assert_eq!((announced, head.len as usize), (Announced::Failure, bytes.len() - HEAD));
        let error = failed(&bytes[HEAD..]);
        assert_eq!(error.kind(), ErrorKind::MethodFailed);
        let remote = error.remote().expect("remote");
        assert!(remote.causes.len() > 4 && remote.places.len() > 8 && remote.backtrace.len() > 4000);
    }

    #[test]
    fn what_is_written_is_read() {
        let body = Publish { name: "prices".into(), object: 7, replace: true };
        let bytes = request(Request::Publish, 99, &archive(&body).expect("small"));
        let (head, announced) = Head::parse(&bytes).expect("a head");
        assert_eq!(
            (announced, head.request, head.len as usize),
            (Announced::Request(Request::Publish), 99, bytes.len() - HEAD)
        );
        assert_eq!(unarchive::<Publish>(&bytes[HEAD..]).expect("a body"), body);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::parse(&bytes);
            let _ = unarchive::<Create>(&bytes);
            let _ = unarchive::<Publish>(&bytes);
            let _ = unarchive::<Named>(&bytes);
            let _ = unarchive::<Failure>(&bytes);
            let _ = fixed::<Welcome>(&bytes);
        }

        #[test]
        fn a_changed_byte_is_an_error_or_another_message_and_never_a_panic(at in 0_usize..200, to in any::<u8>()) {
            let body = Create {
                kind: 1, type_name: "Quote".into(), type_fingerprint: 3, element_size: 8, element_align: 8, len: 64, align: 64,
            };
            let mut bytes = request(Request::Create, 1, &archive(&body).expect("small"));
            let at = at % bytes.len();
            bytes[at] = to;
            if Head::parse(&bytes).is_ok() {
                let _ = unarchive::<Create>(&bytes[HEAD..]);
            }
        }
    }
}
