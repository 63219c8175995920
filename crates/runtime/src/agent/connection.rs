//! The connection to the server.

use super::thread::nap;
use livepatch_proto::frame::{self, FrameError};
use livepatch_proto::{FromProcess, ToProcess};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// A conversation with the server.
pub(crate) struct Connection(Stream);

/// The stream of the conversation that is under way, for threads of the program.
static OPEN: AtomicI32 = AtomicI32::new(CLOSED);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static INODE: AtomicU64 = AtomicU64::new(0);
const CLOSED: RawFd = -1;
/// Whether a thread is in the middle of a message.
static SPEAKING: AtomicBool = AtomicBool::new(false);

impl Connection {
    pub(crate) fn dial(socket: &Path) -> io::Result<Self> {
        Stream::dial(socket).map(Self)
    }

    /// Lets threads of the program [`speak`], from now on.
    pub(crate) fn share(&self) {
        DEVICE.store(self.0.identity.0, Ordering::Relaxed);
        INODE.store(self.0.identity.1, Ordering::Relaxed);
        OPEN.store(self.0.fd, Ordering::Release);
    }

    pub(crate) fn send(&mut self, message: &FromProcess) -> Result<(), FrameError> {
        alone(|| frame::send(&mut self.0, message))
    }

    pub(crate) fn receive(&mut self) -> Result<ToProcess, FrameError> {
        frame::receive(&mut self.0, frame::MAX_PAYLOAD)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        alone(|| OPEN.store(CLOSED, Ordering::Release));
    }
}

/// Whether there is somebody to speak to.
pub(crate) fn is_open() -> bool {
    OPEN.load(Ordering::Acquire) != CLOSED
}

/// Says something unasked, in any thread.
pub(crate) fn speak(message: &FromProcess) -> Result<(), FrameError> {
    alone(|| {
        let fd = OPEN.load(Ordering::Acquire);
        let identity = (DEVICE.load(Ordering::Relaxed), INODE.load(Ordering::Relaxed));
        // The agent's thread owns the descriptor, and closes it only when nobody speaks.
        frame::send(&mut *ManuallyDrop::new(Stream { fd, identity }), message)
    })
}

/// After a `fork`, in the child: the conversation is the parent's.
pub(crate) fn in_child() {
    OPEN.store(CLOSED, Ordering::Release);
    SPEAKING.store(false, Ordering::Release);
}

/// Does `speak` while no other thread speaks.
fn alone<T>(speak: impl FnOnce() -> T) -> T {
    while SPEAKING.swap(true, Ordering::Acquire) {
        nap();
    }
    let said = speak();
    SPEAKING.store(false, Ordering::Release);
    said
}

/// Descriptors from here on: programs expect the lowest free numbers for their own.
const FIRST_DESCRIPTOR: RawFd = 200;

/// A stream that stops, rather than use a descriptor that is not its own any more: programs close
/// descriptors they do not know (when they become daemons, say), and the number comes again.
struct Stream {
    fd: RawFd,
    identity: (u64, u64),
}

impl Stream {
    fn dial(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        // SAFETY: duplicates a descriptor that `stream` owns; nobody else knows the copy.
        let copy = unsafe { libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR) };
        let fd = if copy >= 0 { copy } else { stream.into_raw_fd() };
        let identity = identity(fd).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { fd, identity })
    }

    fn check(&self) -> io::Result<RawFd> {
        if identity(self.fd) == Some(self.identity) {
            Ok(self.fd)
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    }
}

fn identity(fd: RawFd) -> Option<(u64, u64)> {
    // SAFETY: all zeros is a `stat`, which `fstat` fills in.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut status) == 0).then_some((status.st_dev, status.st_ino))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Ok(fd) = self.check() {
            // SAFETY: the descriptor is still this stream's, which nobody else uses.
            unsafe { libc::close(fd) };
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.check()?;
        // SAFETY: the buffer is ours for this call.
        let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.check()?;
        // SAFETY: the bytes are ours for this call. No SIGPIPE: it would be the program's.
        let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
