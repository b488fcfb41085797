//! What users are told about a region.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::object::Kind;
use crate::region::ObjectId;
use crate::table::census::ObjectRecord;

/// A live object and who holds it, exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its identity.
    #[serde(serialize_with = "as_text")]
    pub id: ObjectId,
    /// What it is.
    pub kind: Kind,
    /// Its type's or its elements' name.
    pub type_name: String,
    /// Bytes of payload. A value has two copies.
    pub bytes: u64,
    /// Whether it is immutable.
    pub sealed: bool,
    /// Tickets, names and channels that hold it.
    pub pins: u32,
    /// Of a channel: how many objects are in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u64>,
    /// Of a channel: how many it has room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Processes that hold it.
    pub holders: Vec<Holder>,
}

impl ObjectInfo {
    /// Proxies in all processes.
    pub fn proxies(&self) -> u64 {
        self.holders.iter().map(|holder| u64::from(holder.proxies)).sum()
    }

    pub(super) fn of(record: ObjectRecord) -> Option<Self> {
        Some(Self {
            id: record.id,
            kind: Kind::from_number(record.kind)?,
            type_name: record.type_record.map_or_else(|| "?".into(), |record| record.name),
            bytes: record.len,
            sealed: record.sealed,
            pins: record.pins,
            queued: record.fill.map(|(queued, _)| queued),
            capacity: record.fill.map(|(_, capacity)| capacity),
            holders: record
                .holders
                .into_iter()
                .map(|holding| Holder {
                    pid: holding.session.pid,
                    command: holding.session.comm,
                    proxies: holding.proxies,
                    readers: holding.readers,
                })
                .collect(),
        })
    }
}

/// A process that holds an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its program's short name.
    pub command: String,
    /// Its proxies of the object.
    pub proxies: u32,
    /// Its read guards on the object.
    pub readers: u32,
}

/// A ticket that can be redeemed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TicketInfo {
    /// The object it holds.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectId,
    /// Redemptions that are left.
    pub uses: u32,
    /// The process that issued it.
    pub issuer: u32,
    /// Time until it is void.
    pub expires_in: Option<Duration>,
}

/// A published name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PublishedName {
    /// The name.
    pub name: String,
    /// The object it holds.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectId,
    /// The process that published it.
    pub publisher: u32,
}

/// A class of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClassInfo {
    /// Its name.
    pub name: String,
    /// What can be called, as `scale(x: f64)`; first the constructor, if the class can be created from outside.
    pub signatures: Vec<String>,
}

/// What one audit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditReport {
    /// Objects whose pins were put right.
    pub repaired: u32,
    /// Objects that died because nothing but a wrong pin held them.
    pub freed: u32,
    /// Objects that were left alone, since a process was moving a reference to them.
    pub busy: u32,
}

/// How full a broker's tables and heap are. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub name: String,
    pub broker_pid: u32,
    pub backing: String,
    pub uptime_seconds: u64,
    pub objects: u64,
    pub objects_capacity: u32,
    /// Attached processes, the broker included.
    pub sessions: u32,
    pub sessions_capacity: u32,
    pub tickets: u32,
    pub tickets_capacity: u32,
    pub names: u32,
    pub names_capacity: u32,
    pub heap_capacity: u64,
    pub heap_used: u64,
    pub heap_free: u64,
    /// The part of it that sessions keep for the small objects that they create next, and that others get when there is no other.
    pub heap_kept: u64,
    /// The largest object that there is room for.
    pub largest_free: u64,
    /// Free memory that is kept for the next objects.
    pub warm: u64,
    /// Objects that are out of use because something stood in their slots that the broker had not written.
    pub damaged: u32,
    /// Clients that wait for room.
    pub waiting: u32,
    /// Memory that the system has given to the region, tables included.
    pub resident: u64,
    /// Objects ever created.
    pub granted: u64,
    /// Sessions that have ended.
    pub deaths: u64,
    /// Pin counts that audits have put right.
    pub repaired: u64,
}

fn as_text<S: Serializer>(id: &ObjectId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
