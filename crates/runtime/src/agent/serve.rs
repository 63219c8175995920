//! The agent's thread: dials the server and answers it until one of them ends.

use super::connection::Connection;
use super::loader::{self, Handle, Placement};
use super::state::{self, Session};
use super::transaction::Patcher;
use super::{callbacks, free_ranges, hello, modules, watch};
use livepatch_proto::frame::FrameError;
use livepatch_proto::{
    ApplyError, FromProcess, LogLevel, ModuleKey, Origin, Redirection, ToProcess, WireAddress, WireRange,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a forked child waits before it dials: most children run another program by then.
const CHILD_DELAY: Duration = Duration::from_millis(100);

/// The process whose server has a thread to answer it. A child is not its parent's.
static SERVED: AtomicU32 = AtomicU32::new(0);

/// Says that a thread is about to [`run`]; false where one does.
pub(crate) fn claim() -> bool {
    let process = std::process::id();
    SERVED.swap(process, Ordering::AcqRel) != process
}

/// No thread runs any more.
pub(crate) fn release() {
    SERVED.store(0, Ordering::Release);
}

/// The thread's work. When the server goes, the session is over: the process goes on as it is, until
/// another server comes ([`super::late`]).
pub(crate) fn run() {
    struct Served;
    impl Drop for Served {
        fn drop(&mut self) {
            release();
        }
    }
    let _served = Served;
    let Some(session) = state::session() else { return };
    if matches!(state::origin(), Origin::Forked { .. }) {
        std::thread::sleep(CHILD_DELAY);
    }
    // Nobody to tell: the agent is silent where no server hears it.
    drop(converse(session));
}

fn converse(session: &Session) -> Result<(), FrameError> {
    let mut server = Connection::dial(&session.invitation.socket).map_err(FrameError::Io)?;
    server.send(&FromProcess::Hello { hello: hello::hello(session) })?;
    let ToProcess::Welcome = server.receive()? else { return Ok(()) };
    if let Redirection::Unavailable { reason } = &session.redirection {
        let text = format!("functions of this process cannot be redirected: {reason}");
        server.send(&FromProcess::Log { level: LogLevel::Warning, text })?;
    }
    server.share();
    let mut patcher = Patcher::new(session.redirection == Redirection::Unguarded);
    loop {
        let question = server.receive()?;
        let before = state::current();
        let answer = match question {
            ToProcess::Watch { libraries } => {
                watch::set(libraries);
                continue;
            }
            ToProcess::Proceed { ticket } => {
                watch::proceed(ticket);
                continue;
            }
            ToProcess::UnloadLibrary => {
                patcher.unload_libraries();
                continue;
            }
            question => answer(question, &mut patcher, session),
        };
        let Some(answer) = answer else { return Ok(()) };
        for text in patcher.take_surprises() {
            server.send(&FromProcess::Log { level: LogLevel::Warning, text })?;
        }
        server.send(&answer)?;
        if state::current() != before {
            callbacks::tell(state::current());
        }
    }
}

/// The answer to what loads a library.
fn loaded(result: Result<Placement, ApplyError>) -> FromProcess {
    match result {
        Ok(Placement { bias, span }) => FromProcess::LibraryLoaded {
            bias,
            range: WireRange { start: WireAddress(span.start()), end: WireAddress(span.end()) },
            free_ranges: free_ranges::free_ranges(),
        },
        Err(error) => FromProcess::Failed { error },
    }
}

/// The answer to a question; none ends the conversation.
fn answer(question: ToProcess, patcher: &mut Patcher, session: &Session) -> Option<FromProcess> {
    Some(match question {
        ToProcess::Resolve { names, within } => resolve(&names, within.as_ref()),
        ToProcess::Redirections => {
            let state::Lasting { redirected, shims, .. } = state::lasting();
            FromProcess::Redirections { functions: redirected.to_vec(), shims: shims.to_vec() }
        }
        ToProcess::FreeRanges => FromProcess::FreeRanges { ranges: free_ranges::free_ranges() },
        ToProcess::Modules { known } => modules::answer(known),
        ToProcess::Apply { patch } => {
            match redirectable(session, patch.redirects.is_empty()).and_then(|()| patcher.apply(&patch)) {
                Ok(times) => FromProcess::Applied { patch: patch.number, times },
                Err(error) => FromProcess::Failed { error },
            }
        }
        ToProcess::LoadLibrary { library } => loaded(patcher.load_library(&library)),
        ToProcess::LoadThroughLinker { linker, library } => loaded(patcher.load_through(&linker, &library)),
        ToProcess::ApplyLibrary { .. } => {
            let detail = "this process is patched at its functions' entries, not by a jump table".to_owned();
            FromProcess::Failed { error: ApplyError::Invalid { detail } }
        }
        ToProcess::Rollback { to, from, slots } => match patcher.roll_back(from, to, &slots) {
            Ok(()) => FromProcess::RolledBack { to },
            Err(error) => FromProcess::Failed { error },
        },
        ToProcess::Welcome
        | ToProcess::Refused { .. }
        | ToProcess::Goodbye
        | ToProcess::Watch { .. }
        | ToProcess::Proceed { .. }
        | ToProcess::UnloadLibrary => return None,
    })
}

fn resolve(names: &[String], within: Option<&ModuleKey>) -> FromProcess {
    let module = within.and_then(|key| Handle::of_loaded(&modules::name(key).ok()?, key.bias));
    let addresses = names.iter().map(|name| loader::resolve(name, module.as_ref())).collect();
    module.into_iter().for_each(Handle::close);
    FromProcess::Resolved { addresses }
}

fn redirectable(session: &Session, nothing_to_redirect: bool) -> Result<(), ApplyError> {
    match &session.redirection {
        Redirection::Unavailable { reason } if !nothing_to_redirect => {
            Err(ApplyError::Invalid { detail: format!("functions cannot be redirected here: {reason}") })
        }
        _ => Ok(()),
    }
}
