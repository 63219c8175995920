//! Where a server is.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a dev server listens.
///
/// ```
/// use livepatch::Server;
///
/// // On this machine, or where `adb reverse` makes it look so.
/// assert_eq!("tcp:7700".parse(), Ok(Server::loopback(7700)));
/// assert_eq!("unix:/run/dev.socket".parse(), Ok(Server::Unix("/run/dev.socket".into())));
/// // Elsewhere: whoever listens on the way reads the token.
/// assert_eq!("tcp:192.0.2.7:7700".parse(), Ok(Server::Tcp("192.0.2.7:7700".parse()?)));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Server {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// A text that names no server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownServer(String);

impl std::fmt::Display for UnknownServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no server: tcp:<port>, tcp:<address>:<port> or unix:<path> is expected", self.0)
    }
}

impl std::error::Error for UnknownServer {}

impl Server {
    /// A port of this machine.
    pub fn loopback(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    pub(super) fn dial(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                // Answers are waited for.
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Self::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        })
    }
}

impl FromStr for Server {
    type Err = UnknownServer;

    fn from_str(text: &str) -> Result<Self, UnknownServer> {
        let unknown = || UnknownServer(text.to_owned());
        match text.split_once(':').ok_or_else(unknown)? {
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            ("tcp", place) => place
                .parse::<u16>()
                .map(Self::loopback)
                .or_else(|_| place.parse().map(Self::Tcp))
                .map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

/// A conversation's bytes.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// The same stream, for another thread.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Ends the conversation for everyone who has the stream.
    pub(super) fn shut_down(&self) {
        // One that is not connected any more need not be.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn what_is_no_server_is_refused() {
        for text in ["", "7700", "tcp:", "tcp:host", "tcp:70000", "unix:", "udp:1", "tcp:1.2.3.4"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
