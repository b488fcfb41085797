//! Queues of objects, by which processes hand them over.

use std::time::Duration;

use sharehold_rust::{Channel, Object, Proxy, Receiver, Sender};

use crate::border::{Result, border, get, give, out, take_back, time};
use crate::manager::sh_manager;
use crate::object::sh_object;
use crate::status::sh_status;

/// An end of a channel that sends. One thread at a time; threads that send at the same time have one each.
pub struct sh_sender(Sender<Object>);

/// An end of a channel that receives. One thread at a time; threads that receive at the same time have one each.
pub struct sh_receiver(Receiver<Object>);

fn channel_of(object: &sh_object) -> Result<Channel<Object>> {
    Ok(object.0.downcast()?)
}

/// Makes a queue of objects of any kind, with room for `capacity` of them, rounded up to a power of two; with `single` not 0 for one sender and one receiver at a time. In Rust it is a `Channel<Object>`. It is an
/// object like any other: it is published, and has tickets. Any thread. To be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_channel_new(
    manager: *const sh_manager,
    capacity: usize,
    single: u32,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let manager = &get(manager)?.0;
        let made = if single == 0 { manager.channel(capacity) } else { manager.single_channel(capacity) };
        let made: Channel<Object> = made?;
        object.set(sh_object::give(made.untyped()));
        Ok(())
    }
}

/// Opens a channel to send. Any thread. To be dropped by sh_sender_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_channel_sender(channel: *const sh_object, sender: *mut *mut sh_sender) -> sh_status {
    border! {
        let sender = out(sender)?;
        sender.set(give(sh_sender(channel_of(get(channel)?)?.sender()?)));
        Ok(())
    }
}

/// Opens a channel to receive. Any thread. To be dropped by sh_receiver_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_channel_receiver(channel: *const sh_object, receiver: *mut *mut sh_receiver) -> sh_status {
    border! {
        let receiver = out(receiver)?;
        receiver.set(give(sh_receiver(channel_of(get(channel)?)?.receiver()?)));
        Ok(())
    }
}

/// Closes a channel for good: nothing is sent any more, and what is in it is received until it is empty. All who wait are woken. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_channel_close(channel: *const sh_object) -> sh_status {
    border! { Ok(channel_of(get(channel)?)?.close()?) }
}

/// Sends an object: one more reference to it, which belongs to the channel until somebody has received it; the caller keeps its own. Waits for room at most `timeout_ms`, without limit if it is negative. One thread at
/// a time. SH_DISCONNECTED if there were receivers and all are gone, or the channel was closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_sender_send(
    sender: *const sh_sender,
    object: *const sh_object,
    timeout_ms: i64,
) -> sh_status {
    border! {
        let (sender, object) = (&get(sender)?.0, get(object)?.0.clone());
        let sent = match time(timeout_ms) {
            Some(timeout) => sender.send_timeout(object, timeout),
            None => sender.send(object),
        };
        Ok(sent.map_err(sharehold_rust::Error::from)?)
    }
}

/// The oldest object in the channel. Waits for one at most `timeout_ms`, without limit if it is negative. One thread at a time. SH_DISCONNECTED if the channel is empty, and was closed or had senders and has none. The
/// object is to be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_receiver_receive(
    receiver: *const sh_receiver,
    timeout_ms: i64,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let receiver = &get(receiver)?.0;
        let received = time(timeout_ms).map_or_else(|| receiver.recv(), |timeout: Duration| receiver.recv_timeout(timeout));
        object.set(sh_object::give(received?));
        Ok(())
    }
}

/// Gives an end up, which no other thread uses meanwhile. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_sender_drop(sender: *mut sh_sender) -> sh_status {
    border! { take_back(sender) }
}

/// Gives an end up, which no other thread uses meanwhile. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_receiver_drop(receiver: *mut sh_receiver) -> sh_status {
    border! { take_back(receiver) }
}
