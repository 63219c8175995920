//! One run of rustc, as captured but for where its outputs go.

use super::diagnostic::{self, Diagnostic, Line};
use super::finish::{Finish, Ready, wait_for_input};
use super::stub_library::stub_library;
use super::{Options, RebuildError, State};
use crate::capture::arguments::Arguments;
use crate::capture::{Folders, NO_LINK_VARIABLE, write_atomically};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Ends a rebuild early, from another thread.
#[derive(Clone, Default, Debug)]
pub struct Cancel {
    state: Arc<Mutex<CancelState>>,
}

#[derive(Default, Debug)]
struct CancelState {
    cancelled: bool,
    children: Vec<Option<Child>>,
}

impl Cancel {
    /// Kills the compilers that run, and starts no more.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        for child in state.children.iter_mut().flatten() {
            let _ = child.kill();
        }
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CancelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a child that [`Cancel::cancel`] can kill; none when that was called already.
    fn spawn(&self, command: &mut Command) -> io::Result<Option<(usize, ChildStderr)>> {
        let mut state = self.lock();
        if state.cancelled {
            return Ok(None);
        }
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("rustc has no standard error"))?;
        state.children.push(Some(child));
        Ok(Some((state.children.len() - 1, stderr)))
    }

    fn take(&self, index: usize) -> io::Result<Child> {
        let child = self.lock().children.get_mut(index).and_then(Option::take);
        child.ok_or_else(|| io::Error::other("the child was waited for twice"))
    }

    /// Waits for a child that has closed its standard error: it ends at once.
    fn wait(&self, index: usize) -> io::Result<ExitStatus> {
        self.take(index)?.wait()
    }

    /// Ends a child that has nothing left to do.
    fn dismiss(&self, index: usize) -> io::Result<()> {
        let mut child = self.take(index)?;
        child.kill()?;
        std::thread::spawn(move || child.wait());
        Ok(())
    }
}

/// Where a run finds and leaves things.
pub(super) struct Places<'a> {
    /// Where the names of rustc's output folders are.
    pub(super) folders: &'a Folders,
    /// Where rustc writes.
    pub(super) out: &'a Path,
    /// Libraries of this rebuild, then those of earlier ones.
    pub(super) libraries: &'a [PathBuf],
    /// The latest library of each crate that has one of ours: `lib<unit>` and its path.
    pub(super) latest: &'a [(String, PathBuf)],
    /// Whether there are crates to be compiled against this one as a shared object: its metadata is only
    /// in what is linked, which the linker shim puts together ([`crate::capture::linker`]).
    pub(super) shared: bool,
}

/// Compiles a crate. Calls `metadata_ready` with the library that dependents can be compiled against
/// as soon as that is known. Returns warnings.
pub(super) fn compile(
    state: &State,
    places: &Places<'_>,
    options: Options,
    cancel: &Cancel,
    mut metadata_ready: impl FnMut(PathBuf),
) -> Result<Vec<Diagnostic>, RebuildError> {
    let record = &state.unit.record;
    places
        .folders
        .point_out(&state.unit.id, places.out)
        .map_err(|source| io_error("cannot redirect rustc's outputs", source))?;
    let running = |source| io_error(format!("cannot run {}", record.rustc.0.display()), source);
    let mut command = Command::new(&record.rustc.0);
    command
        .args(arguments(record.arguments(), places, options).as_slice())
        .current_dir(record.cwd.as_path())
        .env_clear()
        .envs(record.environment.iter().map(|(name, value)| (&name.0, &value.0)))
        .env(NO_LINK_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let sessions = state.session.parent().unwrap_or(&state.session);
    let finish = (!places.shared).then(|| Finish::watch(sessions)).transpose();
    let finish = finish.map_err(|source| io_error("cannot watch rustc's folder", source))?;
    let Some((child, mut stderr)) = cancel.spawn(&mut command).map_err(running)? else {
        return Err(RebuildError::Cancelled);
    };
    let mut diagnostics = Vec::new();
    let ended = read_lines(&mut stderr, finish.as_ref(), |line| {
        match diagnostic::parse(line) {
            Line::Diagnostic(diagnostic) => diagnostics.push(diagnostic),
            Line::Metadata(path) => metadata_ready(make_stub(state, &path, places)?),
            Line::Other => {}
        }
        Ok(())
    })?;
    if ended == Ended::Finished && !cancel.is_cancelled() {
        cancel.dismiss(child).map_err(running)?;
        return Ok(diagnostics);
    }
    let status = cancel.wait(child).map_err(running)?;
    if cancel.is_cancelled() {
        Err(RebuildError::Cancelled)
    } else if status.success() {
        if places.shared {
            metadata_ready(keep_shared(state, places)?);
        }
        Ok(diagnostics)
    } else {
        if !diagnostics.iter().any(Diagnostic::is_error) {
            diagnostics.push(ended_silently(status));
        }
        Err(RebuildError::Compile(diagnostics))
    }
}

/// Why there is nothing more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// rustc has ended.
    Closed,
    /// All objects are there.
    Finished,
}

/// Reads lines until rustc ends or has written everything.
fn read_lines(
    stderr: &mut ChildStderr,
    finish: Option<&Finish>,
    mut take: impl FnMut(&str) -> Result<(), RebuildError>,
) -> Result<Ended, RebuildError> {
    let reading = |source| io_error("cannot read what rustc says", source);
    rustix::io::ioctl_fionbio(&*stderr, true).map_err(|error| reading(error.into()))?;
    let mut unread = Vec::new();
    let mut finished = false;
    loop {
        let mut buffer = [0; 1 << 14];
        match stderr.read(&mut buffer) {
            Ok(0) => {
                if !unread.is_empty() {
                    take(&String::from_utf8_lossy(&unread))?;
                }
                return Ok(Ended::Closed);
            }
            Ok(read) => {
                unread.extend_from_slice(&buffer[..read]);
                while let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = unread.drain(..=end).collect();
                    take(String::from_utf8_lossy(&line).trim_end())?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if finished {
                    return Ok(Ended::Finished);
                }
                finished = match finish {
                    Some(finish) => finish.wait(&*stderr).map_err(reading)? == Ready::Finished,
                    None => wait_for_input(&*stderr).map_err(reading)?,
                };
            }
            Err(error) => return Err(reading(error)),
        }
    }
}

fn ended_silently(status: ExitStatus) -> Diagnostic {
    let message = format!("rustc ended with {status}");
    Diagnostic {
        level: "error".into(),
        rendered: format!("error: {message}\n"),
        message,
        file: None,
        line: None,
    }
}

pub(super) fn io_error(doing: impl Into<String>, source: io::Error) -> RebuildError {
    RebuildError::Io { doing: doing.into(), source }
}

/// The captured arguments with other places for outputs and for what was rebuilt before.
///
/// Everything that rustc hashes stays as it was, `--emit` and the name of the output folder included:
/// otherwise it would throw its incremental state away, and the code would not be what the host was
/// compiled to.
fn arguments(captured: Arguments, places: &Places<'_>, options: Options) -> Arguments {
    let mut arguments = captured.clone();
    for replaced in ["--error-format", "--json", "--diagnostic-width", "--color"] {
        arguments = arguments.without(replaced);
    }
    arguments = arguments.with("--error-format", "json").with("--json", json(&captured, options));
    for folder in places.libraries {
        let mut dependency = OsString::from("dependency=");
        dependency.push(folder);
        arguments = arguments.with("-L", dependency);
    }
    arguments.with_externs(|path| {
        let stem = path.file_stem()?.to_str()?;
        places.latest.iter().find(|(name, _)| name == stem).map(|(_, library)| library.clone())
    })
}

/// What `--json` is to say. rustc hashes whether artifacts and future incompatibilities are reported, so
/// that stays as cargo asked for; whether there are colours in messages is free.
fn json(captured: &Arguments, options: Options) -> String {
    let asked = captured.value("--json").and_then(|value| value.to_str()).unwrap_or_default();
    let kept = asked.split(',').filter(|word| !word.is_empty() && *word != "diagnostic-rendered-ansi");
    kept.chain(options.colour.then_some("diagnostic-rendered-ansi")).collect::<Vec<_>>().join(",")
}

/// The shared object that the linker shim has left, where rustc searches for libraries.
fn keep_shared(state: &State, places: &Places<'_>) -> Result<PathBuf, RebuildError> {
    let name = format!("lib{}.so", state.unit.record.file_stem());
    let path = places.out.join("stub").join(&name);
    std::fs::rename(places.out.join(&name), &path).map_err(|source| {
        io_error(format!("cannot keep the metadata of {}", state.unit.record.crate_name), source)
    })?;
    Ok(path)
}

fn make_stub(state: &State, metadata: &Path, places: &Places<'_>) -> Result<PathBuf, RebuildError> {
    let path = places.out.join("stub").join(format!("lib{}.rlib", state.unit.record.file_stem()));
    std::fs::read(metadata).and_then(|metadata| write_atomically(&path, &stub_library(&metadata))).map_err(
        |source| io_error(format!("cannot keep the metadata of {}", state.unit.record.crate_name), source),
    )?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn only_places_and_the_form_of_messages_change() {
        let captured = "--crate-name b src/main.rs --error-format=json --json=artifacts,future-incompat \
            --crate-type bin --emit=dep-info,link -C codegen-units=100000 --out-dir /t/livepatch/out/b-1 \
            -C incremental=/t/i --extern a=/t/deps/liba-1.rlib --extern c=/t/deps/libc-2.rlib -L dependency=/t/deps";
        let captured = Arguments::from_expanded(captured.split_whitespace().map(OsString::from).collect());
        let places = Places {
            folders: &Folders::at("/t/livepatch".into()),
            out: Path::new("/r/out-1"),
            libraries: &["/r/out-1/stub".into(), "/r/libraries".into()],
            latest: &[("liba-1".into(), "/r/out-1/stub/liba-1.rlib".into())],
            shared: false,
        };
        let thin = arguments(captured, &places, Options { colour: true });
        assert_eq!(thin.value("--emit"), Some(OsStr::new("dep-info,link")));
        assert_eq!(
            thin.value("--json"),
            Some(OsStr::new("artifacts,future-incompat,diagnostic-rendered-ansi"))
        );
        assert_eq!(thin.codegen("incremental"), Some(OsStr::new("/t/i")));
        assert_eq!(thin.value("--out-dir"), Some(OsStr::new("/t/livepatch/out/b-1")));
        let externs: Vec<_> = thin.externs().collect();
        assert_eq!(externs, [Path::new("/r/out-1/stub/liba-1.rlib"), Path::new("/t/deps/libc-2.rlib")]);
        let folders: Vec<_> = thin.values("-L").collect();
        assert_eq!(folders, ["dependency=/t/deps", "dependency=/r/out-1/stub", "dependency=/r/libraries"]);
    }

    #[test]
    fn a_cancelled_child_is_killed_and_no_other_starts() {
        let cancel = Cancel::default();
        let mut command = Command::new("sleep");
        command.arg("60").stderr(Stdio::piped());
        let (child, mut stderr) = cancel.spawn(&mut command).unwrap().unwrap();
        cancel.cancel();
        stderr.read_to_end(&mut Vec::new()).unwrap();
        assert!(!cancel.wait(child).unwrap().success());
        assert!(cancel.spawn(&mut command).unwrap().is_none());
    }
}
