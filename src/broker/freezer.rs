//! Frozen objects: their bytes are in files that come from clients and are passed on to others. No byte of them is looked at here.

use std::os::fd::OwnedFd;
use std::time::Instant;

use super::grants::Pending;
use super::handback::PATIENCE;
use super::host::Host;
use super::peer::Asked;
use super::server::Server;
use crate::control::message::{self, Create, Granted, Join, Of, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::object::Kind;
use crate::region::{ObjectId, SessionIndex};
use crate::table::tickets;

impl Host {
    /// Grants a frozen object, if its file is one.
    pub(super) fn freeze(&self, create: &Create, file: OwnedFd, to: SessionIndex) -> Result<(Granted, Pending)> {
        if create.kind != Kind::Frozen as u32 {
            return Err(Error::new(ErrorKind::InvalidArgument, "only a frozen object comes with its bytes"));
        }
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
            Error::new(
                ErrorKind::Lost,
                format!("object {id} is lost: its broker has died, and nobody who has read it lives"),
            )
            .help("freeze it again")
        })?;
        file.try_clone_to_owned().map_err(|error| Error::os("pass a frozen object on", error))
    }
}

impl Server {
    /// Joins, and grants the object whose file has come along.
    pub(super) fn freeze(&mut self, key: u64, body: &[u8]) -> Result<Vec<u8>> {
        let (session, create, file) = self.join_with_file(key, body)?;
        self.check_changes(session)?;
        let create: Create = message::unarchive(create)?;
        let (granted, pending) = self.host.freeze(&create, file, session)?;
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.pending = Some(pending);
        }
        Ok(bytemuck::bytes_of(&granted).to_vec())
    }

    /// Joins. Returns the session, the rest of the body, and the file that has come along.
    fn join_with_file<'b>(&mut self, key: u64, body: &'b [u8]) -> Result<(SessionIndex, &'b [u8], OwnedFd)> {
        // Whatever comes of it, it is not kept for something else.
        let file = self.connection(key)?.descriptor.take();
        let (join, rest) =
            body.split_at_checked(size_of::<Join>()).ok_or_else(|| message::protocol("a body is cut off"))?;
        let session = self.join(key, join)?;
        Ok((session, rest, file.ok_or_else(|| message::protocol("no bytes have come along"))?))
    }

    /// Sends the file of a frozen object, at once or when somebody has brought it.
    pub(super) fn fetch(&mut self, key: u64, asked: &Asked) {
        let sought = match message::fixed::<Of>(asked.body()) {
            Ok(of) => Sought { connection: key, request: asked.id, object: ObjectId::from_bits(of.object) },
            Err(error) => return self.send(key, &message::failure(asked.id, &error)),
        };
        let file = self.host.fetch(sought.object);
        match &mut self.seeking {
            Some(seeking) if matches!(&file, Err(error) if error.kind() == ErrorKind::Lost) => {
                seeking.held.push(sought);
                self.let_wait(key);
            }
            _ => self.give(&sought, file),
        }
    }

    fn give(&mut self, sought: &Sought, file: Result<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&sought.connection) else { return };
        connection.waits = false;
        match file {
            Ok(file) => {
                let reply = message::reply(Request::Fetch, sought.request, &[]);
                if let Err(error) = connection.send_with(&reply, file) {
                    self.close(sought.connection, Some(&error.to_string()));
                }
            }
            Err(error) => self.send(sought.connection, &message::failure(sought.request, &error)),
        }
    }

    /// Takes the file of a frozen object from a client that has come back, and gives it to those who wait for it.
    pub(super) fn take_file(&mut self, key: u64, body: &[u8]) -> Result<Vec<u8>> {
        let (_, of, file) = self.join_with_file(key, body)?;
        let id = ObjectId::from_bits(message::fixed::<Of>(of)?.object);
        self.host.books().take_file(id, file)?;
        let seeking = self.seeking.iter_mut();
        let sought: Vec<Sought> =
            seeking.flat_map(|seeking| seeking.held.extract_if(.., |sought| sought.object == id)).collect();
        for sought in sought {
            let file = self.host.fetch(id);
            self.give(&sought, file);
        }
        Ok(Vec::new())
    }

    /// From now on those who have read what this broker lacks have time to bring it.
    pub(super) fn seek_files(&mut self) {
        let lacks = self.host.books().lacks_files();
        self.seeking = lacks.then(|| Seeking { until: Instant::now() + PATIENCE, held: Vec::new() });
    }

    pub(super) fn expire_seeking(&mut self) {
        if let Some(seeking) = self.seeking.take_if(|seeking| seeking.until <= Instant::now()) {
            for sought in seeking.held {
                let file = self.host.fetch(sought.object);
                self.give(&sought, file);
            }
        }
    }
}

/// Files that were a dead broker's, and may come back.
pub(super) struct Seeking {
    pub(super) until: Instant,
    held: Vec<Sought>,
}

/// Somebody waits for the file of an object.
struct Sought {
    connection: u64,
    request: u64,
    object: ObjectId,
}
