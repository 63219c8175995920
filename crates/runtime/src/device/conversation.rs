//! One conversation with the server.

use super::address::Server;
use super::{Shared, hello};
use crate::{apply, library};
use livepatch_proto::frame::{self, FrameError};
use livepatch_proto::{ApplyError, FromProcess, ToProcess, Token, WireAddress};
use std::io;

/// How a conversation ended that took place.
pub(super) enum End {
    /// The server does not want this process.
    Refused(String),
    /// The server ended it.
    Goodbye,
    /// It broke off.
    Lost,
}

/// Dials, and answers until it is over. An error: nobody was there.
pub(super) fn hold(shared: &Shared, server: &Server, token: Token) -> Result<End, FrameError> {
    let mut stream = server.dial().map_err(FrameError::Io)?;
    let Some(hello) = hello::hello(token) else {
        return Ok(End::Refused("the protocol has no name for this platform".to_owned()));
    };
    frame::send(&mut stream, &FromProcess::Hello { hello })?;
    match frame::receive(&mut stream, frame::MAX_FIRST_PAYLOAD)? {
        ToProcess::Welcome => {}
        ToProcess::Refused { reason } => return Ok(End::Refused(reason)),
        _ => return Err(FrameError::Io(io::ErrorKind::InvalidData.into())),
    }
    *shared.stream() = Some(stream.again().map_err(FrameError::Io)?);
    let end = loop {
        match frame::receive(&mut stream, frame::MAX_PAYLOAD) {
            Ok(ToProcess::Goodbye) => break End::Goodbye,
            Ok(question) => {
                let answer = answer(question, shared);
                if answer.is_some_and(|answer| shared.send(&answer).is_err()) {
                    break End::Lost;
                }
            }
            Err(_) => break End::Lost,
        }
    };
    *shared.stream() = None;
    Ok(end)
}

/// The answer, where there is to be one.
fn answer(question: ToProcess, shared: &Shared) -> Option<FromProcess> {
    let or_failed = |result: Result<FromProcess, ApplyError>| {
        result.unwrap_or_else(|error| FromProcess::Failed { error })
    };
    let unavailable = || FromProcess::Failed {
        error: ApplyError::Invalid {
            detail: "this program takes patch libraries with jump tables only".into(),
        },
    };
    Some(match question {
        ToProcess::ApplyLibrary { patch } => {
            // SAFETY: who dials a server trusts it to send sound patches (`connect`): it is the one that
            // knows both builds.
            let applied = unsafe { apply::apply_from(&patch, shared.folder()) };
            or_failed(applied.map(|times| FromProcess::Applied { patch: patch.number, times }))
        }
        ToProcess::Rollback { to, from, slots } if slots.is_empty() => {
            or_failed(apply::roll_back(from, to).map(|()| FromProcess::RolledBack { to }))
        }
        ToProcess::Resolve { names, .. } => FromProcess::Resolved {
            addresses: names.iter().map(|name| library::global_symbol(name).map(WireAddress)).collect(),
        },
        ToProcess::FreeRanges => FromProcess::FreeRanges { ranges: Vec::new() },
        ToProcess::Redirections => FromProcess::Redirections { functions: Vec::new(), shims: Vec::new() },
        ToProcess::Modules { .. } => FromProcess::Modules { list: None, free_ranges: Vec::new() },
        ToProcess::Apply { .. }
        | ToProcess::Rollback { .. }
        | ToProcess::LoadLibrary { .. }
        | ToProcess::LoadThroughLinker { .. } => unavailable(),
        ToProcess::Welcome
        | ToProcess::Refused { .. }
        | ToProcess::Goodbye
        | ToProcess::Watch { .. }
        | ToProcess::Proceed { .. }
        | ToProcess::UnloadLibrary => return None,
    })
}
