//! Where a client proves that it knows the broker's authkey, if there is one, and how often a user may try.
//!
//! Tries are counted by user, since a user has as many processes as it likes. Whoever guesses keeps other processes of its own user from attaching meanwhile, and nobody else; who is attached
//! already notices nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::peer::Connection;
use super::server::{Server, connection};
use crate::control::authkey::{self, Authkey, Side};
use crate::control::message::{self, Challenge, Proven, Request};
use crate::error::{Error, ErrorKind, Result};

/// Wrong keys of a user after which it has to wait.
const FREE: u32 = 5;
/// How long it waits then; after each further one twice as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// How long after the last one all are forgotten. Longer than the longest wait: who goes on guessing gets one try in that, for ever.
const MEMORY: Duration = Duration::from_secs(600);

pub(super) struct Gate {
    authkey: Option<Authkey>,
    /// Users that have given a wrong key. No more than are allowed.
    tries: HashMap<u32, Tries>,
}

struct Tries {
    wrong: u32,
    last: Instant,
    until: Instant,
}

impl Gate {
    pub(super) fn new(authkey: Option<Authkey>) -> Self {
        Self { authkey, tries: HashMap::new() }
    }

    /// Whether a client may ask for what it asks, as far as the key is concerned.
    pub(super) fn admits(&self, connection: &Connection, request: Request) -> bool {
        let is_entry = matches!(request, Request::Attach | Request::HandBack);
        !is_entry || self.authkey.is_none() || connection.is_proven
    }

    /// Looks at a proof, if its user has not given too many wrong ones.
    fn judge(&mut self, uid: u32, now: Instant, is_right: impl FnOnce(&Authkey) -> bool) -> Result<()> {
        let Some(authkey) = &self.authkey else { return Err(message::protocol("there is nothing to prove")) };
        self.tries.retain(|_, tries| now.saturating_duration_since(tries.last) < MEMORY);
        let waits = self.tries.get(&uid).map(|tries| tries.until.saturating_duration_since(now));
        if let Some(left) = waits.filter(|left| !left.is_zero()) {
            return Err(Error::new(
                ErrorKind::TooManyTries,
                format!("user {uid} has given too many wrong authkeys: the next one is looked at in {left:.1?}"),
            ));
        }
        if is_right(authkey) {
            return Ok(());
        }
        let tries = self.tries.entry(uid).or_insert(Tries { wrong: 0, last: now, until: now });
        tries.wrong += 1;
        tries.last = now;
        if let Some(over) = tries.wrong.checked_sub(FREE) {
            tries.until = now + (FIRST_WAIT * (1 << over.min(6))).min(LONGEST_WAIT);
        }
        Err(authkey::wrong("the authkey is wrong"))
    }
}

impl Server {
    /// Gives a connection what it is to prove the key with. Nothing, if there is no key.
    pub(super) fn challenge(&mut self, key: u64) -> Result<Vec<u8>> {
        let connection = connection(&mut self.connections, key)?;
        if self.gate.authkey.is_none() {
            return Ok(Vec::new());
        }
        let nonce = *connection.challenge.insert(authkey::nonce()?);
        Ok(bytemuck::bytes_of(&Challenge { nonce }).to_vec())
    }

    /// Looks at a client's proof, and answers with the broker's own.
    pub(super) fn prove(&mut self, key: u64, body: &[u8]) -> Result<Vec<u8>> {
        let theirs: message::Prove = message::fixed(body)?;
        let connection = connection(&mut self.connections, key)?;
        // Each is good for one try.
        let nonce =
            connection.challenge.take().ok_or_else(|| message::protocol("a proof came that nobody asked for"))?;
        let mut proof = [0; 32];
        self.gate.judge(connection.peer.uid, Instant::now(), |authkey| {
            proof = authkey.prove(Side::Broker, &nonce, &theirs.nonce);
            authkey.is_proven(Side::Client, &nonce, &theirs.nonce, &theirs.proof)
        })?;
        connection.is_proven = true;
        Ok(bytemuck::bytes_of(&Proven { proof }).to_vec())
    }
}

/// The answer to one that has not proven anything.
pub(super) fn wants_proof() -> Error {
    authkey::wrong("the broker wants an authkey")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tries_of_a_user_get_fewer_and_fewer_and_concern_nobody_else() {
        let mut gate = Gate::new(Some(Authkey::new("key")));
        let start = Instant::now();
        let kind = |judged: Result<()>| judged.err().map(|error| error.kind());
        let (mut looked_at, mut longest) = (0, 0);
        // Somebody who tries each second for an hour.
        let mut refused = 0;
        for second in 0..3600 {
            match kind(gate.judge(1000, start + Duration::from_secs(second), |_| false)) {
                Some(ErrorKind::WrongAuthkey) => (looked_at, refused) = (looked_at + 1, 0),
                Some(ErrorKind::TooManyTries) => refused += 1,
                other => panic!("{other:?}"),
            }
            longest = longest.max(refused);
            assert_eq!(kind(gate.judge(1001, start + Duration::from_secs(second), |_| true)), None);
        }
        assert_eq!(longest, LONGEST_WAIT.as_secs() - 1);
        assert!((55..75).contains(&looked_at), "{looked_at} tries in an hour");
        // Not even the right one is looked at before its time; afterwards it is.
        let last = gate.tries[&1000].until;
        let just_before = last.checked_sub(Duration::from_millis(1)).expect("later than the start");
        assert_eq!(kind(gate.judge(1000, just_before, |_| true)), Some(ErrorKind::TooManyTries));
        assert_eq!(kind(gate.judge(1000, last, |_| true)), None);
        // Everything is forgotten in the end.
        let later = last + MEMORY;
        for _ in 0..FREE {
            assert_eq!(kind(gate.judge(1000, later, |_| false)), Some(ErrorKind::WrongAuthkey));
        }
        assert_eq!(kind(gate.judge(1000, later, |_| true)), Some(ErrorKind::TooManyTries));
    }

    #[test]
    fn a_right_key_does_not_make_up_for_wrong_ones() {
        let mut gate = Gate::new(Some(Authkey::new("key")));
        let now = Instant::now();
        for _ in 0..FREE {
            assert!(gate.judge(1000, now, |_| false).is_err());
            let _ = gate.judge(1000, now, |_| true);
        }
        assert_eq!(gate.judge(1000, now, |_| true).expect_err("too many").kind(), ErrorKind::TooManyTries);
    }
}
