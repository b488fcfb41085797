//! Frozen objects: their bytes are in files that come from clients and are passed on to others. No byte of them is looked at here.

use std::os::fd::OwnedFd;

use super::grants::Pending;
use super::host::Host;
use super::peer::Asked;
use super::server::Server;
use crate::control::message::{self, Create, Granted, Join, Of, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::object::Kind;
use crate::region::{ObjectId, SessionIndex};
use crate::sys::frozen::Frozen;
use crate::table::tickets;

impl Host {
    /// Grants a frozen object, if its file is one.
    pub(super) fn freeze(&self, create: &Create, file: OwnedFd, to: SessionIndex) -> Result<(Granted, Pending)> {
        if create.kind != Kind::Frozen as u32 {
            return Err(Error::new(ErrorKind::InvalidArgument, "only a frozen object comes with its bytes"));
        }
        Frozen::check(&file, create.len)?;
        let (granted, buried) = {
            let mut books = self.books();
            (books.create_frozen(create, file, to), books.buried())
        };
        self.bury(&buried);
        granted
    }

    /// A descriptor of a frozen object's file.
    pub(super) fn fetch(&self, id: ObjectId) -> Result<OwnedFd> {
        let books = self.books();
        let file = books.file(id).ok_or_else(|| {
            if self.region().id_of(id.slot()) != Some(id) {
                return tickets::gone(id);
            }
            Error::new(ErrorKind::Lost, format!("object {id} is lost to those who have not read it yet: its bytes were kept by a broker that has died"))
                .help("have somebody who still reads it freeze it again")
        })?;
        file.try_clone_to_owned().map_err(|error| Error::os("pass a frozen object on", error))
    }
}

impl Server {
    /// Joins, and grants the object whose file has come along.
    pub(super) fn freeze(&mut self, key: u64, body: &[u8]) -> Result<Vec<u8>> {
        // Whatever comes of it, it is not kept for something else.
        let file = self.connections.get_mut(&key).and_then(|connection| connection.descriptor.take());
        let (join, create) =
            body.split_at_checked(size_of::<Join>()).ok_or_else(|| message::protocol("a body is cut off"))?;
        let session = self.join(key, join)?;
        self.check_changes(session)?;
        let create: Create = message::unarchive(create)?;
        let file = file.ok_or_else(|| message::protocol("no bytes have come along"))?;
        let (granted, pending) = self.host.freeze(&create, file, session)?;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.pending = Some(pending);
        }
        Ok(bytemuck::bytes_of(&granted).to_vec())
    }

    /// Sends the file of a frozen object.
    pub(super) fn fetch(&mut self, key: u64, asked: &Asked) {
        let file = message::fixed::<Of>(asked.body()).and_then(|of| self.host.fetch(ObjectId::from_bits(of.object)));
        match file {
            Ok(file) => {
                let reply = message::reply(Request::Fetch, asked.id, &[]);
                let Some(connection) = self.connections.get_mut(&key) else { return };
                if let Err(error) = connection.send_with(&reply, file) {
                    self.close(key, Some(&error.to_string()));
                }
            }
            Err(error) => self.send(key, &message::failure(asked.id, &error)),
        }
    }
}
