//! A program that dials a dev server by itself, over TCP or a Unix socket.
//!
//! * [`address`] says where the server is, and dials.
//! * [`hello`] is how the program introduces itself.
//! * [`conversation`] answers the server until one of the two ends.

mod address;
mod conversation;
mod hello;

pub use address::{Server, UnknownServer};
use conversation::End;
use livepatch_proto::frame::{self, FrameError};
use livepatch_proto::{FromProcess, LogLevel, Token};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Environment variable: where the server is, as [`Server`] is read.
const SERVER_VARIABLE: &str = "LIVEPATCH_SERVER";
/// Environment variable: the session's token, in hexadecimal.
const TOKEN_VARIABLE: &str = "LIVEPATCH_TOKEN";

/// How long is waited before the server is dialled again; doubled as long as it does not answer.
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Connections that are kept up.
static OPEN: AtomicU32 = AtomicU32::new(0);

/// A connection that is kept up in the background, until it is [closed](Connection::close) or the server
/// ends it. Dropping this does neither.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The conversation that is under way.
    stream: Mutex<Option<address::Stream>>,
    closed: AtomicBool,
    /// Where libraries lie while they are loaded.
    folder: PathBuf,
    /// Why the connection is not kept up any more.
    ended: Mutex<Option<String>>,
}

/// Dials a dev server, and applies the patches that it sends.
///
/// All of it happens on a thread of its own. Where nobody answers, or the connection is lost, the server is
/// dialled again until it is there; one that comes up later sends what this process lacks.
///
/// Whoever answers with this token runs code in this process: as with a debugger, dial only whom you trust,
/// and only in development.
///
/// ```no_run
/// use livepatch::{Server, proto::Token};
///
/// let token = Token::from_hex(&std::env::var("TOKEN")?).ok_or("TOKEN is no token")?;
/// let server = livepatch::connect(Server::loopback(7700), token)?;
/// server.log(livepatch::proto::LogLevel::Info, "ready");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Only where no thread can be made.
pub fn connect(server: Server, token: Token) -> io::Result<Connection> {
    connect_with(server, token, std::env::temp_dir())
}

/// As [`connect`]; libraries that come over the connection lie in a file in `folder` while they are loaded.
/// On Android that has to be a folder of the application's own.
///
/// # Errors
///
/// As for [`connect`].
pub fn connect_with(server: Server, token: Token, folder: PathBuf) -> io::Result<Connection> {
    let shared = Arc::new(Shared {
        stream: Mutex::new(None),
        closed: AtomicBool::new(false),
        folder,
        ended: Mutex::new(None),
    });
    let connection = Connection(shared);
    let own = connection.clone();
    let thread = std::thread::Builder::new().name("livepatch".to_owned());
    thread.spawn(move || own.0.keep_up(&server, token))?;
    OPEN.fetch_add(1, Ordering::AcqRel);
    Ok(connection)
}

/// As [`connect`], with what the environment says; none where it says nothing.
///
/// `LIVEPATCH_SERVER` is the server, as [`Server`] is read, and `LIVEPATCH_TOKEN` the token in hexadecimal.
/// A program that calls this first can be shipped: without the two variables it does nothing.
///
/// ```
/// assert!(livepatch::connect_from_env()?.is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Where the variables cannot be read, and as for [`connect`].
pub fn connect_from_env() -> io::Result<Option<Connection>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let (Ok(server), Ok(token)) = (std::env::var(SERVER_VARIABLE), std::env::var(TOKEN_VARIABLE)) else {
        return Ok(None);
    };
    let server = server.parse().map_err(|error: UnknownServer| invalid(&error.to_string()))?;
    let token = Token::from_hex(&token).ok_or_else(|| invalid("LIVEPATCH_TOKEN is no token"))?;
    connect(server, token).map(Some)
}

/// Whether a connection is kept up.
pub(crate) fn is_open() -> bool {
    OPEN.load(Ordering::Acquire) > 0
}

impl Connection {
    /// Whether a server listens now.
    pub fn is_connected(&self) -> bool {
        self.0.stream().is_some()
    }

    /// Says something to the server's user; false where no server listens.
    pub fn log(&self, level: LogLevel, text: &str) -> bool {
        self.0.send(&FromProcess::Log { level, text: text.to_owned() }).is_ok()
    }

    /// Hangs up, and does not dial again. Patches that were applied stay.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        if let Some(stream) = self.0.stream().take() {
            stream.shut_down();
        }
    }

    /// Why the connection is not kept up any more; none while it is.
    pub fn ended(&self) -> Option<String> {
        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Option<address::Stream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Sends a message as a whole, whoever else sends.
    fn send(&self, message: &FromProcess) -> Result<(), FrameError> {
        match self.stream().as_mut() {
            Some(stream) => frame::send(stream, message),
            None => Err(FrameError::Closed),
        }
    }

    /// Dials until told otherwise.
    fn keep_up(&self, server: &Server, token: Token) {
        let mut delay = FIRST_DELAY;
        let why = loop {
            if self.is_closed() {
                break "closed".to_owned();
            }
            match conversation::hold(self, server, token) {
                Ok(End::Refused(reason)) => break format!("refused: {reason}"),
                Ok(End::Goodbye) => break "the server said goodbye".to_owned(),
                Ok(End::Lost) => delay = FIRST_DELAY,
                Err(_) => delay = (delay * 2).min(LONGEST_DELAY),
            }
            std::thread::sleep(delay);
        };
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        OPEN.fetch_sub(1, Ordering::AcqRel);
    }
}
