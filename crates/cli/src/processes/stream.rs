//! The bytes of a conversation: with a process of this user on this machine, or with one that has dialled from anywhere.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Who is at the other end; an error if it is somebody else's process.
    pub(super) fn peer(&self) -> Result<String, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        match self {
            Self::Unix(stream) => {
                let peer = rustix::net::sockopt::socket_peercred(stream).map_err(|error| text(&error))?;
                let pid = peer.pid.as_raw_nonzero();
                if peer.uid != rustix::process::geteuid() {
                    return Err(format!("process {pid} of user {} is not ours", peer.uid.as_raw()));
                }
                Ok(format!("process {pid}"))
            }
            // The token says who may.
            Self::Tcp(stream) => stream.peer_addr().map(|at| at.to_string()).map_err(|error| text(&error)),
        }
    }

    /// The same stream, for another thread.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }

    /// How long is waited for bytes.
    pub(super) fn set_read_timeout(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(patience),
            Self::Tcp(stream) => stream.set_read_timeout(patience),
        }
    }

    /// How long is waited until bytes are taken.
    pub(super) fn set_write_timeout(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(patience),
            Self::Tcp(stream) => stream.set_write_timeout(patience),
        }
    }

    /// Ends the conversation for everyone who has the stream.
    pub(super) fn shut_down(&self) {
        // One that is not connected any more need not be.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => { stream }.read(buffer),
            Stream::Tcp(stream) => { stream }.read(buffer),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => { stream }.write(bytes),
            Stream::Tcp(stream) => { stream }.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
