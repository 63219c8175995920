//! The user's own runner (`target.<triple>.runner`), which starts the program, with the agent preloaded into
//! the program and not into the runner.

use super::PRELOAD_VARIABLE;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The name that the role is called by which a runner starts in place of the program.
pub const STARTER: &str = "livepatch-start";
/// What that role preloads into the program.
const STARTER_PRELOAD_VARIABLE: &str = "LIVEPATCH_PRELOAD";

/// A runner, and how what it starts gets the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Through {
    runner: Vec<OsString>,
    way: Way,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Way {
    /// It emulates a processor, and takes variables for the program as options.
    Qemu,
    /// It starts this command, which starts the program.
    Starter(OsString),
    /// The program is not for this machine, and the runner is nothing known.
    Environment,
}

impl Through {
    /// A runner's words, for a program that this machine can run itself or not. `starter` is this command under
    /// the name [`STARTER`].
    pub fn new(runner: Vec<OsString>, is_native: bool, starter: &Path) -> Option<Self> {
        let name = Path::new(runner.first()?).file_name()?.to_string_lossy();
        let way = match () {
            () if name.starts_with("qemu-") => Way::Qemu,
            () if is_native => Way::Starter(starter.into()),
            () => Way::Environment,
        };
        Some(Self { runner, way })
    }

    /// The command that starts `program`, with `preload` in it, if there is any.
    pub(super) fn command(&self, program: &Path, preload: Option<&OsStr>) -> Command {
        let mut words = self.runner.iter();
        let mut command = Command::new(words.next().map_or(OsStr::new(""), OsString::as_os_str));
        match &self.way {
            Way::Qemu => {
                if let Some(preload) = preload {
                    let mut set = OsString::from(PRELOAD_VARIABLE);
                    set.push("=");
                    set.push(preload);
                    command.arg("-E").arg(set);
                }
                command.args(words).arg(program);
            }
            Way::Starter(starter) => {
                command.args(words);
                if let Some(preload) = preload {
                    command.env(STARTER_PRELOAD_VARIABLE, preload).arg(starter);
                }
                command.arg(program);
            }
            Way::Environment => {
                command.envs(preload.iter().map(|preload| (PRELOAD_VARIABLE, preload)));
                command.args(words).arg(program);
            }
        }
        command
    }
}

/// Runs as [`STARTER`]: becomes the program.
pub fn main(command_line: Vec<OsString>) -> ExitCode {
    let mut command_line = command_line.into_iter();
    let Some(program) = command_line.next() else { return ExitCode::from(2) };
    let mut command = Command::new(&program);
    command.args(command_line).env_remove(STARTER_PRELOAD_VARIABLE);
    if let Some(preload) = std::env::var_os(STARTER_PRELOAD_VARIABLE) {
        command.env(PRELOAD_VARIABLE, preload);
    }
    let error = command.exec();
    eprintln!("{}: {error}", program.display());
    ExitCode::from(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(runner: &[&str], is_native: bool) -> Vec<String> {
        let runner = runner.iter().map(OsString::from).collect();
        let through = Through::new(runner, is_native, Path::new("/s/livepatch-start")).unwrap();
        let command = through.command(Path::new("/p"), Some(OsStr::new("/a.so")));
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn emulators_take_the_agent_for_the_program_as_an_option() {
        let expected = ["/bin/qemu-aarch64", "-E", "LD_PRELOAD=/a.so", "-L", "/root", "/p"];
        assert_eq!(words(&["/bin/qemu-aarch64", "-L", "/root"], false), expected);
    }

    #[test]
    fn other_runners_start_the_starter() {
        assert_eq!(words(&["nice", "-n", "5"], true), ["nice", "-n", "5", "/s/livepatch-start", "/p"]);
        assert_eq!(words(&["run-on-device"], false), ["run-on-device", "/p"]);
        assert_eq!(Through::new(Vec::new(), true, Path::new("")), None);
    }
}
