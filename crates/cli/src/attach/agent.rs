//! Having the program load the agent, or the agent that it has call.

use super::Target;
use super::target::forbidden;
use crate::agent;
use crate::error::Failure;
use crate::foreign::borrow::{self, BorrowError, Call, Called};
use crate::foreign::library::Library;
use crate::foreign::maps::Maps;
use crate::foreign::trace::TraceError;
use livepatch_object::address::RuntimeAddress;
use livepatch_proto::{Token, attach};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an agent may take to notice that its last server is gone.
const BUSY: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// How the agent came to call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Whether it was loaded for it; otherwise the program had it.
    pub loaded: bool,
    /// The thread that was borrowed for it, and for how long.
    pub call: Called,
}

/// Has the agent in a program, or `agent` once it is loaded there, dial a socket.
pub fn invite(target: &Target, agent: &Path, socket: &Path, token: &Token) -> Result<Arrival, Failure> {
    let pid = target.pid;
    let said = |what: String, hint: &str| Failure::Unsupported { what, hint: hint.into() };
    let code = agent::borrowed_code(agent)
        .ok_or_else(|| said(format!("{} is no agent", agent.display()), "is LIVEPATCH_AGENT set?"))?;
    let since = Instant::now();
    loop {
        let entry = match find_agent(pid).map_err(Failure::system(format!("cannot look at process {pid}")))? {
            Agent::Absent => None,
            Agent::Present(entry) => Some(entry),
            Agent::Other => {
                return Err(said(
                    format!("process {pid} has the agent of another version of this command"),
                    "start the program anew",
                ));
            }
        };
        let call = Call { code: &code, entry, agent, socket, token };
        let call = borrow::call(pid, target.inode, &call).map_err(|error| failure(pid, error))?;
        match call.answer {
            attach::DIALS => return Ok(Arrival { loaded: entry.is_none(), call }),
            attach::BUSY if since.elapsed() < BUSY => std::thread::sleep(PAUSE),
            attach::BUSY => {
                return Err(said(
                    format!("process {pid} is in another session already"),
                    "end that with `cargo livepatch detach` or `stop`, in its project and target directory",
                ));
            }
            other => {
                return Err(said(
                    format!("the agent in process {pid} cannot begin a session ({other})"),
                    "the program may have no room for another thread",
                ));
            }
        }
    }
}

/// Whether a process has an agent.
enum Agent {
    Absent,
    /// With its entry there.
    Present(RuntimeAddress),
    /// One with an entry that is not known here.
    Other,
}

fn find_agent(pid: u32) -> std::io::Result<Agent> {
    // What every agent has.
    const VERSION: &str = "livepatch_version";
    let maps = Maps::read(pid)?;
    let mut seen = HashSet::new();
    let code = maps.iter().filter(|mapping| mapping.executable && mapping.inode != 0);
    for mapping in code.filter(|mapping| seen.insert(mapping.inode)) {
        let Some(library) = Library::read(&maps, mapping) else { continue };
        match (library.function(attach::ENTRY), library.function(VERSION)) {
            (Some(entry), _) => return Ok(Agent::Present(entry.start)),
            (None, Some(_)) => return Ok(Agent::Other),
            (None, None) => {}
        }
    }
    Ok(Agent::Absent)
}

fn failure(pid: u32, error: BorrowError) -> Failure {
    let hint = match &error {
        BorrowError::Trace(TraceError::Forbidden) => return forbidden(pid),
        BorrowError::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => return forbidden(pid),
        BorrowError::Trace(TraceError::Stopped) => "have it go on first",
        BorrowError::NoSafePlace => {
            "a thread of it has to wait for something, or to run Rust code that nothing else called; try again"
        }
        BorrowError::NoCLibrary => "only programs that are linked with glibc dynamically can load the agent",
        BorrowError::NotLoaded { .. } => "can the program's process read the target directory?",
        BorrowError::Away { .. } => "it goes on by itself once it is done; other threads may keep it waiting",
        _ => "start the program with `cargo livepatch run` instead",
    };
    let mut what = format!("process {pid}: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        what = format!("{what}: {error}");
        cause = error.source();
    }
    Failure::Unsupported { what, hint: hint.into() }
}
