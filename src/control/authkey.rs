//! The secret that a broker and its clients share, and how each proves to the other that it knows it.
//!
//! The client asks for a number that was never used before, and answers with one of its own and the keyed hash of both. Only then the broker shows its hash of them. So whoever does
//! not know the key gets nothing from the broker that a guess could be compared with.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{found, process};

/// Names the file with the key that a process shows to brokers that ask for one.
const FILE: &str = "SHAREHOLD_AUTHKEY_FILE";
/// Longest key, in bytes. What is longer than a block of the hash adds nothing.
pub(crate) const LONGEST: usize = 1024;

/// A number that is used once.
pub(crate) type Nonce = [u8; 32];
/// A keyed hash of two of them.
pub(crate) type Proof = [u8; 32];

/// A secret that a broker and its clients share. It is never shown: not by `Debug`, not in the log, not in the environment of a process.
///
/// ```
/// use sharehold::{Authkey, Broker, ErrorKind, Manager};
///
/// let broker = Broker::builder().name("doc-authkey").capacity(1 << 20).authkey("open sesame").spawn()?;
/// assert_eq!(Manager::connect("doc-authkey").unwrap_err().kind(), ErrorKind::WrongAuthkey);
/// let manager = Manager::connect_with("doc-authkey", "open sesame")?;
/// assert_eq!(format!("{:?}", Authkey::new("open sesame")), "Authkey(..)");
/// # drop(manager);
/// # broker.stop()?;
/// # Ok::<(), sharehold::Error>(())
/// ```
#[derive(Clone)]
pub struct Authkey(Arc<[u8]>);

impl Authkey {
    /// These bytes as a key, 1 to 1024 of them. At least 16 random ones can't be guessed.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The content of a file, without the end of the line if it ends with one.
    ///
    /// # Errors
    /// `Refused` if the file is another user's or others may read or write it; `InvalidArgument` if it is empty or too long; `Os`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut bytes = Vec::new();
        found::open_private(path)?
            .take(LONGEST as u64 + 2)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::os(format!("read {}", path.display()), error))?;
        let key = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let key = Self::new(key.strip_suffix(b"\r").unwrap_or(key));
        key.check().map(|()| key)
    }

    /// The content of the file that `SHAREHOLD_AUTHKEY_FILE` names; `None` if it names none.
    ///
    /// # Errors
    /// As [`Authkey::from_file`].
    pub fn from_environment() -> Result<Option<Self>> {
        std::env::var_os(FILE).filter(|file| !file.is_empty()).map(Self::from_file).transpose()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if (1..=LONGEST).contains(&self.0.len()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidArgument, format!("an authkey can't have {} bytes", self.0.len()))
            .help("give it 1 to 1024, better 16 random ones or more"))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn prove(&self, side: Side, broker: &Nonce, client: &Nonce) -> Proof {
        self.hash(side, broker, client).finalize().into_bytes().into()
    }

    /// Whether the other side has proven that it knows the key. Takes the same time, however much of the proof is right.
    pub(crate) fn is_proven(&self, side: Side, broker: &Nonce, client: &Nonce, proof: &Proof) -> bool {
        self.hash(side, broker, client).verify_slice(proof).is_ok()
    }

    fn hash(&self, side: Side, broker: &Nonce, client: &Nonce) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut hash = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        // Neither side's proof is of use to the other one.
        hash.update(match side {
            Side::Broker => b"sharehold broker",
            Side::Client => b"sharehold client",
        });
        hash.update(broker);
        hash.update(client);
        hash
    }
}

impl<T: AsRef<[u8]>> From<T> for Authkey {
    fn from(bytes: T) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for Authkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authkey(..)")
    }
}

/// Who proves something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Broker,
    Client,
}

/// What a client does about authkeys.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// It has none.
    Plain,
    /// It shows one to brokers that ask for it.
    Offer(Authkey),
    /// It has one, and goes to no broker that does not know it.
    Demand(Authkey),
}

impl Login {
    /// For those who name no key: that in the file that the environment names.
    pub(crate) fn from_environment() -> Result<Self> {
        Authkey::from_environment().map(|authkey| authkey.map_or(Self::Plain, Self::Offer))
    }
}

pub(crate) fn nonce() -> Result<Nonce> {
    process::random()
}

pub(crate) fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::WrongAuthkey, what)
        .help("give the broker's authkey to Manager::connect_with, or name its file in SHAREHOLD_AUTHKEY_FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_side_for_one_pair_of_nonces_with_one_key() {
        let (key, other) = (Authkey::new("key"), Authkey::new("Key"));
        let (broker, client) = (nonce().expect("random"), nonce().expect("random"));
        let proof = key.prove(Side::Client, &broker, &client);
        assert!(key.is_proven(Side::Client, &broker, &client, &proof));
        assert!(!key.is_proven(Side::Broker, &broker, &client, &proof));
        assert!(!key.is_proven(Side::Client, &client, &broker, &proof));
        assert!(!key.is_proven(Side::Client, &broker, &nonce().expect("random"), &proof));
        assert!(!key.is_proven(Side::Client, &nonce().expect("random"), &client, &proof));
        assert!(!other.is_proven(Side::Client, &broker, &client, &proof));
        for at in 0..proof.len() {
            let mut changed = proof;
            changed[at] ^= 1;
            assert!(!key.is_proven(Side::Client, &broker, &client, &changed));
        }
    }
}
