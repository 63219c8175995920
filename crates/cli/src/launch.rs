//! Starting the program, as cargo would have, with the agent preloaded.

mod through;

use crate::child::{self, Handle, Waiter};
use crate::runner::Note;
use livepatch_proto::Token;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

pub use through::{STARTER, Through, main};

const PRELOAD_VARIABLE: &str = "LD_PRELOAD";
const SOCKET_VARIABLE: &str = "LIVEPATCH_SOCKET";
const SERVER_VARIABLE: &str = "LIVEPATCH_SERVER";
const TOKEN_VARIABLE: &str = "LIVEPATCH_TOKEN";

/// What a program needs to find this session.
#[derive(Clone, Debug)]
pub struct Invitation<'a> {
    /// Who calls, and where.
    pub caller: Caller<'a>,
    /// The session's secret.
    pub token: &'a Token,
}

/// Who calls the session for a program.
#[derive(Clone, Copy, Debug)]
pub enum Caller<'a> {
    /// The agent.
    Agent {
        /// Its file.
        agent: &'a Path,
        /// The socket to dial.
        socket: &'a Path,
    },
    /// The program itself.
    Itself {
        /// Where the session hears it.
        server: &'a str,
    },
}

/// Starts the program, `through` the user's runner if there is one.
pub fn start(
    note: &Note,
    through: Option<&Through>,
    invitation: &Invitation<'_>,
    empty_stdin: bool,
) -> io::Result<(Handle, Waiter)> {
    let preload = match invitation.caller {
        Caller::Agent { agent, .. } => Some(preload(note, agent)),
        Caller::Itself { .. } => None,
    };
    let (variable, place) = match invitation.caller {
        Caller::Agent { socket, .. } => (SOCKET_VARIABLE, socket.as_os_str()),
        Caller::Itself { server } => (SERVER_VARIABLE, server.as_ref()),
    };
    let mut command = match through {
        // As cargo calls it, but for its name: a runner may go elsewhere.
        Some(through) => through.command(&note.executable(), preload.as_deref()),
        None => {
            let mut command = Command::new(note.executable());
            command.arg0(&note.program.0);
            command.envs(preload.iter().map(|preload| (PRELOAD_VARIABLE, preload)));
            command
        }
    };
    let for_program: Vec<(OsString, OsString)> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command
        .args(note.arguments.iter().map(|argument| &argument.0))
        .current_dir(note.cwd.as_path())
        .env_clear()
        .envs(note.environment.iter().map(|(name, value)| (&name.0, &value.0)))
        .envs(for_program)
        .env(variable, place)
        .env(TOKEN_VARIABLE, invitation.token.to_hex());
    if empty_stdin {
        command.stdin(Stdio::null());
    }
    child::spawn(&mut command)
}

/// The agent before what the user preloads.
fn preload(note: &Note, agent: &Path) -> OsString {
    let own = note.environment.iter().find(|(name, value)| name.0 == PRELOAD_VARIABLE && !value.0.is_empty());
    let mut preload = agent.as_os_str().to_owned();
    if let Some((_, own)) = own {
        preload.push(":");
        preload.push(&own.0);
    }
    preload
}

#[cfg(test)]
mod tests {
    use super::*;
    use livepatch_build::capture::NativeString;

    fn note(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Note {
        Note {
            program: NativeString::from(program),
            arguments: arguments.iter().map(NativeString::from).collect(),
            cwd: NativeString::from("/"),
            environment: environment
                .iter()
                .map(|(n, v)| (NativeString::from(n), NativeString::from(v)))
                .collect(),
        }
    }

    #[test]
    fn the_users_preload_stays_behind_ours() {
        let with = |value| preload(&note("x", &[], &[(PRELOAD_VARIABLE, value)]), Path::new("/a.so"));
        assert_eq!(with("/b.so /c.so"), "/a.so:/b.so /c.so");
        assert_eq!(with(""), "/a.so");
    }

    #[test]
    fn the_program_gets_its_environment_and_the_invitation() {
        let caller = Caller::Agent { agent: Path::new(""), socket: Path::new("/s") };
        let invitation = Invitation { caller, token: &Token([0; 32]) };
        let script = "test \"$A$LIVEPATCH_SOCKET$0$1$PWD\" = 'b/sname1/' && exit 7";
        let program = note("bin/sh", &["-c", script, "name", "1"], &[("A", "b")]);
        let (_, waiter) = start(&program, None, &invitation, true).unwrap();
        assert_eq!(waiter.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn a_program_that_dials_gets_no_agent() {
        let invitation = Invitation { caller: Caller::Itself { server: "tcp:1" }, token: &Token([0; 32]) };
        let script = "test \"$LIVEPATCH_SERVER$LD_PRELOAD\" = tcp:1 && exit 7";
        let program = note("bin/sh", &["-c", script], &[]);
        let (_, waiter) = start(&program, None, &invitation, true).unwrap();
        assert_eq!(waiter.wait().unwrap().code(), Some(7));
    }
}
