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
const TOKEN_VARIABLE: &str = "LIVEPATCH_TOKEN";

/// What a program needs to find this session.
#[derive(Clone, Debug)]
pub struct Invitation<'a> {
    /// The agent.
    pub agent: &'a Path,
    /// The socket to dial.
    pub socket: &'a Path,
    /// The session's secret.
    pub token: &'a Token,
}

/// Starts the program, `through` the user's runner if there is one.
pub fn start(
    note: &Note,
    through: Option<&Through>,
    invitation: &Invitation<'_>,
    empty_stdin: bool,
) -> io::Result<(Handle, Waiter)> {
    let preload = preload(note, invitation.agent);
    let mut command = match through {
        // As cargo calls it, but for its name: a runner may go elsewhere.
        Some(through) => through.command(&note.executable(), &preload),
        None => {
            let mut command = Command::new(note.executable());
            command.arg0(&note.program.0).env(PRELOAD_VARIABLE, &preload);
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
        .env(SOCKET_VARIABLE, invitation.socket)
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
        let invitation = Invitation { agent: Path::new(""), socket: Path::new("/s"), token: &Token([0; 32]) };
        let script = "test \"$A$LIVEPATCH_SOCKET$0$1$PWD\" = 'b/sname1/' && exit 7";
        let program = note("bin/sh", &["-c", script, "name", "1"], &[("A", "b")]);
        let (_, waiter) = start(&program, None, &invitation, true).unwrap();
        assert_eq!(waiter.wait().unwrap().code(), Some(7));
    }
}
