//! A reference as text, on its way to another process.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::Hold;
use crate::sync::atomic::Ordering;
use crate::sys::clock;
use crate::table::alarm::Alarm;
use crate::table::tickets::{self, MOST_USES, Terms, TicketPlace};

/// How often a ticket can be redeemed, and until when. Default: once, at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TicketOptions {
    /// Redemptions, 1 to 16,777,215.
    pub uses: u32,
    /// Time from now after which the ticket is void and holds nothing.
    pub deadline: Option<Duration>,
}

impl Default for TicketOptions {
    fn default() -> Self {
        Self { uses: 1, deadline: None }
    }
}

/// A reference in transit: it keeps its object alive until it is redeemed or its deadline passes.
///
/// It prints as a short string, parses from it, and can be serialised in any format, so it goes through every queue, pipe, file or argument. A
/// ticket itself is not counted: copies of it are the same ticket, and dropping it does not cancel it.
///
/// ```
/// use std::time::Duration;
/// use sharehold::{Manager, Proxy, Ticket, TicketOptions, Value};
///
/// let manager = Manager::start()?;
/// let options = TicketOptions { uses: 2, deadline: Some(Duration::from_secs(60)) };
/// let text = manager.value(7_u64)?.ticket_with(options)?.to_string();
///
/// let ticket: Ticket = text.parse()?;
/// let first: Value<u64> = manager.redeem(&ticket)?;
/// let second: Value<u64> = manager.redeem(&ticket)?;
/// assert!(manager.redeem::<Value<u64>>(&ticket).is_err(), "both uses are taken");
/// assert_eq!(first.get()? + second.get()?, 14);
/// # Ok::<(), sharehold::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Ticket {
    broker: Arc<str>,
    body: [u8; BODY],
}

/// Region id, object id, deadline, index, serial, keyed hash.
const BODY: usize = 8 + 8 + 8 + 4 + 4 + 8;
/// All but the hash.
const SIGNED: usize = BODY - 8;

impl Ticket {
    pub(crate) fn issue(hold: &Hold, options: TicketOptions) -> Result<Self> {
        let session = hold.session();
        session.check_ours()?;
        if !(1..=MOST_USES).contains(&options.uses) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("a ticket can't have {} uses", options.uses))
                .help("give it 1 to 16777215"));
        }
        let deadline = options.deadline.map_or(0, clock::boot_nanos_after);
        let region = session.region();
        let mut body = [0; BODY];
        let terms = Terms { uses: options.uses, deadline, issuer: session.pid(), in_reply: false };
        hold.issue(terms, |place| {
            let mut rest = &mut body[..];
            let mut put = |bytes: &[u8]| {
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
                head.copy_from_slice(bytes);
                rest = tail;
            };
            put(&region.header().region_id.load(Ordering::Relaxed).to_le_bytes());
            put(&hold.id().to_bits().to_le_bytes());
            put(&deadline.to_le_bytes());
            put(&place.index.to_le_bytes());
            put(&place.serial.to_le_bytes());
            let hash = sign(region, &body[..SIGNED]);
            body[SIGNED..].copy_from_slice(&hash.to_le_bytes());
            hash
        })?;
        if deadline != 0
            && Alarm::new(&region.header().alarm).is_too_late_for(deadline)
            && let Some(link) = session.link()
        {
            link.deadline(deadline);
        }
        Ok(Self { broker: Arc::clone(session.broker_name()), body })
    }

    /// The name of the broker that it belongs to.
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// The region that it is for.
    pub(crate) fn region_id(&self) -> u64 {
        self.number(0)
    }

    /// The object that it holds.
    pub fn object(&self) -> ObjectId {
        ObjectId::from_bits(self.number(8))
    }

    #[inline]
    fn number(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.body[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    /// Checks that this region's processes made the ticket and that it is in time; then tells its place.
    pub(crate) fn verify(&self, region: &Region) -> Result<TicketPlace> {
        if self.region_id() != region.header().region_id.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::TicketForeign,
                format!(
                    "the ticket is for broker '{}', and not for this one or an earlier one of its name",
                    self.broker
                ),
            )
            .help("connect to the broker that the ticket names"));
        }
        // Most can be believed without a hash being made: where it was issued stands the same.
        let (place, hash, deadline) = (self.place(), self.number(SIGNED), self.number(16));
        let is_signed = tickets::is_signed(region, place, self.object(), deadline, hash);
        if !is_signed && hash != sign(region, &self.body[..SIGNED]) {
            return Err(Error::new(ErrorKind::TicketForged, "this broker's processes have not made this ticket"));
        }
        if deadline != 0 && clock::boot_nanos() > deadline {
            return Err(Error::new(
                ErrorKind::TicketExpired,
                format!("the ticket for object {} has expired", self.object()),
            )
            .help("ask the sender for another one, with a later deadline"));
        }
        Ok(place)
    }

    /// Where it says that it stands.
    #[inline]
    pub(crate) fn place(&self) -> TicketPlace {
        let place = self.number(24);
        TicketPlace { index: place as u32, serial: (place >> 32) as u32 }
    }
}

/// SipHash-1-3 with the region's key: nobody who is not attached can make one. Of fewer rounds than 2-4 has, none that was published lets one who does not know the key guess a hash from those of
/// other texts; the standard library's maps rely on the same. Source: Aumasson and Bernstein, *SipHash: a fast short-input PRF*.
#[inline]
fn sign(region: &Region, bytes: &[u8]) -> u64 {
    let [first, second] = &region.header().ticket_key;
    SipHasher13::new_with_keys(first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)).hash(bytes)
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.broker, URL_SAFE_NO_PAD.encode(self.body))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({self})")
    }
}

impl FromStr for Ticket {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.trim().split_once('/').and_then(|(broker, body)| {
            crate::sys::place::check_name(broker).ok()?;
            let body = URL_SAFE_NO_PAD.decode(body).ok()?.try_into().ok()?;
            Some(Self { broker: broker.into(), body })
        });
        parsed.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Error::new(ErrorKind::TicketMalformed, format!("'{shown}' is not a ticket"))
                .help("a ticket is BROKER/ and 54 characters; was it cut off?")
        })
    }
}

impl From<Ticket> for String {
    fn from(ticket: Ticket) -> String {
        ticket.to_string()
    }
}

impl TryFrom<String> for Ticket {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}
