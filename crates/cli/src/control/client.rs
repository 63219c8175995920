//! The commands that talk to a running session.

use super::{Answer, Pointer, Request, Status, pointer, read_line, socket_in, write_line};
use crate::arguments::{At, RollbackArgs};
use crate::error::Failure;
use crate::lock::Lock;
use crate::private_dir::is_private;
use crate::project::Project;
use livepatch_build::capture::Folders;
use std::fmt::Write as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// `cargo livepatch status`.
pub fn status(at: &At) -> Result<ExitCode, Failure> {
    ask(at, Request::Status)
}

/// `cargo livepatch rollback`.
pub fn rollback(arguments: &RollbackArgs) -> Result<ExitCode, Failure> {
    ask(&arguments.at, Request::Rollback { to: arguments.to })
}

/// `cargo livepatch restart`.
pub fn restart(at: &At) -> Result<ExitCode, Failure> {
    ask(at, Request::Restart)
}

/// `cargo livepatch stop`.
pub fn stop(at: &At) -> Result<ExitCode, Failure> {
    ask(at, Request::Stop)
}

/// `cargo livepatch detach`.
pub fn detach(at: &At) -> Result<ExitCode, Failure> {
    ask(at, Request::Detach)
}

fn ask(at: &At, what: Request) -> Result<ExitCode, Failure> {
    let project = Project::read(at)?;
    match request(&project.folders, what)? {
        Answer::Status(status) => print!("{}", show(&status)),
        Answer::Done { said } => println!("{said}"),
        Answer::Refused { said } => return Err(Failure::Refused { said }),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the session of a target directory.
pub fn request(folders: &Folders, request: Request) -> Result<Answer, Failure> {
    let nobody =
        || Failure::NoSession { target: folders.root().parent().unwrap_or(folders.root()).to_owned() };
    let contents = std::fs::read(pointer(folders)).map_err(|_| nobody())?;
    let pointer: Pointer = serde_json::from_slice(&contents).map_err(|_| nobody())?;
    // Somebody else could have put a folder of that name there after the session had ended.
    if !is_private(&pointer.folder) {
        return Err(nobody());
    }
    let Ok(stream) = UnixStream::connect(socket_in(&pointer.folder)) else {
        return Err(match Lock::holder(folders) {
            Some(pid) => Failure::Refused { said: format!("process {pid} runs but does not answer") },
            None => nobody(),
        });
    };
    write_line(&stream, &request).map_err(Failure::system("cannot talk to the session"))?;
    read_line(&stream).map_err(|said| Failure::Refused { said })
}

fn show(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{name:<11}{value}");
    };
    line("session", &format_args!("process {}", status.server));
    match status.program {
        Some(pid) => line("program", &format_args!("process {pid}, {}", status.executable.display())),
        None => line("program", &"not running"),
    }
    if status.processes.is_empty() {
        line("agent", &"no process has called yet");
    } else {
        let pids: Vec<String> = status.processes.iter().map(u32::to_string).collect();
        line("agent", &format_args!("in process {}", pids.join(", ")));
    }
    match status.patch {
        0 => line("patch", &"none: the code the program was started with"),
        patch => line("patch", &patch),
    }
    line("now", &status.doing);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_well() {
        let status = Status {
            server: 10,
            program: Some(11),
            processes: vec![11, 12],
            patch: 3,
            doing: "watching".into(),
            executable: "/t/debug/app".into(),
        };
        assert_eq!(
            show(&status),
            "session    process 10\nprogram    process 11, /t/debug/app\nagent      in process 11, 12\n\
             patch      3\nnow        watching\n"
        );
    }
}
