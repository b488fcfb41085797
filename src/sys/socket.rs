//! Unix stream sockets: bytes, descriptors, and who is at the other end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, send, sendmsg,
    socket_with,
};

use crate::error::{Error, Result};

/// Descriptors that one message may carry; more are closed by the kernel.
const MOST_DESCRIPTORS: usize = 1;
/// Room that is made for what is received.
const CHUNK: usize = 1024;

/// Listens at `path`: for this user alone, or for whoever can reach the path.
pub(crate) fn listen(path: &Path, for_others: bool) -> Result<UnixListener> {
    let failed = |error: rustix::io::Errno| Error::os(format!("listen at {}", path.display()), error);
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    // The file has the mode of the socket, less the umask: at no moment it is wider than it is meant.
    rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    bind(&listener, &address).map_err(failed)?;
    rustix::fs::chmod(path, Mode::from_raw_mode(if for_others { 0o666 } else { 0o600 })).map_err(failed)?;
    // A burst of new clients is not turned away.
    rustix::net::listen(&listener, 4096).map_err(failed)?;
    Ok(listener.into())
}

/// Sends all bytes, and waits for room where it must. Never raises SIGPIPE.
pub(crate) fn send_all(socket: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => bytes = &bytes[sent?..],
        }
    }
    Ok(())
}

/// Sends what the socket takes, and never waits.
pub(crate) fn send_now(socket: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

/// As [`send_now`], together with a descriptor, which goes with the first byte.
pub(crate) fn send_now_with(socket: &UnixStream, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Receives what is there, and adds it to `buffer`, which is made larger; 0 is the end. Descriptors that come along are closed.
pub(crate) fn receive_some(socket: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    receive(socket, buffer, RecvFlags::empty())
}

/// As [`receive_some`], but never waits.
pub(crate) fn receive_now(socket: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    receive(socket, buffer, RecvFlags::DONTWAIT)
}

fn receive(socket: &UnixStream, buffer: &mut Vec<u8>, flags: RecvFlags) -> io::Result<usize> {
    buffer.reserve(CHUNK);
    loop {
        // A plain receive: descriptors in the message are dropped by the kernel.
        match rustix::net::recv(socket, spare_capacity(buffer), flags) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|(received, _)| received).map_err(io::Error::from),
        }
    }
}

/// Receives what is there into `buffer`, without waiting, and a descriptor if one comes along.
pub(crate) fn receive_now_with(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // There is room for as many as are ever sent: the kernel had no number for it.
        return Err(rustix::io::Errno::MFILE.into());
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

/// Has the kernel say with each message who has sent it: see [`receive_now_from`].
pub(crate) fn ask_for_senders(socket: &UnixStream) -> Result<()> {
    rustix::net::sockopt::set_socket_passcred(socket, true)
        .map_err(|error| Error::os("ask who sends over a socket", error))
}

/// Receives what is there into `buffer`, without waiting, with the process that has sent it, if it can be seen from here.
pub(crate) fn receive_now_from(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid.as_raw_nonzero().get().unsigned_abs()),
        _ => None,
    });
    Ok((received.bytes, sender))
}

/// Whether the other end has closed, whatever is still to be read.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits until the other end, or this process, has closed.
pub(crate) fn wait_hung_up(socket: impl AsFd) {
    let mut polled = [PollFd::new(&socket, PollFlags::RDHUP)];
    while matches!(poll(&mut polled, None), Err(rustix::io::Errno::INTR)) {}
}

/// Waits until the socket can be read, or the deadline is over (then false).
pub(crate) fn wait_readable(socket: impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
    wait_for(socket, PollFlags::IN, deadline)
}

/// Waits until the socket takes more, or the deadline is over (then false).
pub(crate) fn wait_writable(socket: impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
    wait_for(socket, PollFlags::OUT, deadline)
}

fn wait_for(socket: impl AsFd, what: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
    let mut polled = [PollFd::new(&socket, what)];
    loop {
        let timeout = deadline.map(|deadline| to_timespec(deadline.saturating_duration_since(Instant::now())));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn to_timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
}

/// The process that connected, as the kernel saw it then.
pub(crate) fn peer(socket: &UnixStream) -> Result<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)
        .map_err(|error| Error::os("ask who is at the other end of a socket", error))?;
    Ok(Peer { pid: credentials.pid.as_raw_nonzero().get().unsigned_abs(), uid: credentials.uid.as_raw() })
}
