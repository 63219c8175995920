//! The program to attach to: whether that is possible, and what it was built from.

use crate::error::Failure;
use crate::foreign::status::{Status, name, owner};
use crate::project::Project;
use livepatch_build::capture::{CargoInput, Program, ProgramError, build_id};
use livepatch_proto::BuildId;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// capabilities(7), by its bit.
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// A program that runs, and its captured build.
#[derive(Debug)]
pub struct Target {
    /// Its process id.
    pub pid: u32,
    /// Its executable, as it was called.
    pub executable: PathBuf,
    /// That file's inode.
    pub inode: u64,
    /// What it was built from.
    pub program: Program,
}

impl Target {
    /// Finds out what runs as that process, or as that thread of one.
    pub fn find(pid: u32, project: &Project) -> Result<Self, Failure> {
        let pid = check_process(pid)?;
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let executable = std::fs::read_link(&link).map_err(|error| unreadable(pid, error))?;
        let file = File::open(&link).map_err(|error| unreadable(pid, error))?;
        let inode = file.metadata().map_err(|error| unreadable(pid, error))?.ino();
        let program = find_build(pid, &executable, file, project)?;
        Ok(Self { pid, executable, inode, program })
    }
}

fn unsupported(what: String, hint: impl Into<String>) -> Failure {
    Failure::Unsupported { what, hint: hint.into() }
}

/// Checks that a process is one that can be attached to. Returns its id, were `pid` a thread's.
fn check_process(pid: u32) -> Result<u32, Failure> {
    let gone = |_| unsupported(format!("there is no process {pid}"), "`pgrep -a NAME` shows which there are");
    let status = Status::of(pid).map_err(gone)?;
    let pid = status.process;
    let owner = owner(pid).map_err(gone)?;
    let own = rustix::process::geteuid().as_raw();
    if owner != own {
        return Err(unsupported(
            format!("process {pid} is user {owner}'s, this is user {own}"),
            "attach as the user whose program it is",
        ));
    }
    if pid == std::process::id() {
        return Err(unsupported(format!("process {pid} is this very command"), "give the program's id"));
    }
    if status.is_over() {
        return Err(unsupported(format!("process {pid} has ended"), "its parent has yet to notice"));
    }
    if let Some(tracer) = status.tracer {
        return Err(unsupported(
            format!("process {pid} is traced by process {tracer} ({})", name(tracer)),
            "a debugger has to let go of it first",
        ));
    }
    if status.is_stopped() {
        return Err(unsupported(
            format!("process {pid} is stopped"),
            format!("`kill -CONT {pid}` has it go on"),
        ));
    }
    // What filters this command too is a container's, and lets the agent do what it lets programs do.
    if status.filters > Status::of(std::process::id()).map_or(0, |own| own.filters) {
        return Err(unsupported(
            format!("process {pid} filters its system calls (seccomp)"),
            "what the agent needs could end it; start it with `cargo livepatch run`",
        ));
    }
    check_namespaces(pid)?;
    Ok(pid)
}

/// In another namespace, paths and process ids mean something else.
fn check_namespaces(pid: u32) -> Result<(), Failure> {
    for namespace in ["mnt", "pid"] {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{namespace}"));
        let theirs = of(&pid.to_string()).map_err(|error| unreadable(pid, error))?;
        if of("self").is_ok_and(|ours| ours != theirs) {
            return Err(unsupported(
                format!("process {pid} runs in another namespace ({namespace}), in a container perhaps"),
                "run this command there",
            ));
        }
    }
    Ok(())
}

fn unreadable(pid: u32, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return forbidden(pid);
    }
    Failure::system(format!("cannot look at process {pid}"))(error)
}

/// The kernel does not let us in.
pub(super) fn forbidden(pid: u32) -> Failure {
    let hint = hindrance().unwrap_or(
        "it may be protected (setuid, or not dumpable), or a sandbox around this command forbids it; start \
         the program with `cargo livepatch run`",
    );
    unsupported(format!("the system does not allow this command to trace process {pid}"), hint)
}

/// What keeps this command from tracing programs that it has not started, where the kernel says so.
pub fn hindrance() -> Option<&'static str> {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    let own = Status::of(std::process::id()).ok()?;
    hindrance_by(scope.trim(), own.capabilities & CAP_SYS_PTRACE != 0)
}

/// By the scope that Yama grants (Documentation/admin-guide/LSM/Yama.rst).
fn hindrance_by(scope: &str, privileged: bool) -> Option<&'static str> {
    match (scope, privileged) {
        ("1", false) => Some(
            "only parents may trace here: allow it with `sysctl kernel.yama.ptrace_scope=0`, or start the \
             program with `cargo livepatch run`",
        ),
        ("2", false) => Some("only who has CAP_SYS_PTRACE may trace here (kernel.yama.ptrace_scope is 2)"),
        ("3", _) => Some("nobody may trace here until the next boot (kernel.yama.ptrace_scope is 3)"),
        _ => None,
    }
}

fn find_build(pid: u32, executable: &Path, file: File, project: &Project) -> Result<Program, Failure> {
    let id = build_id(file);
    let found = match &id {
        Some(id) => Program::with_build_id(&project.folders, id, &project.libraries()),
        None => Ok(None),
    };
    let build = "`cargo livepatch build` (with the options of the build: --release, --bin …) makes one: start \
                 that, and attach to it";
    match found {
        Ok(Some(mut program)) => {
            for file in project.configuration_files() {
                program.cargo_inputs.paths.insert(file, CargoInput::Manifest);
            }
            Ok(program)
        }
        Ok(None) => {
            let id = id.map_or("none".to_owned(), |id| BuildId(id).to_string());
            let whose = if executable.starts_with(&project.target) {
                "which plain cargo built, or an earlier captured build"
            } else {
                "which is not of this target directory"
            };
            Err(unsupported(
                format!(
                    "process {pid} runs {} (build id {id}), {whose}: no captured build is kept of it",
                    executable.display()
                ),
                build,
            ))
        }
        Err(error @ ProgramError::Outdated { .. }) => Err(unsupported(
            format!("process {pid} is of a captured build that is there no more: {error}"),
            build,
        )),
        Err(error) => Err(Failure::Capture(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_grants_is_told() {
        assert_eq!([hindrance_by("0", false), hindrance_by("1", true), hindrance_by("2", true)], [None; 3]);
        assert!(hindrance_by("1", false).is_some_and(|hint| hint.contains("ptrace_scope=0")));
        assert!(hindrance_by("2", false).is_some() && hindrance_by("3", true).is_some());
    }
}
