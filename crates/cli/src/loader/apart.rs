//! Loading in a process of its own, and how that ended.

use super::arguments::LoadArgs;
use super::message::Message;
use crate::error::Failure;
use livepatch_object::address::{LinkAddress, RuntimeAddress};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fd::AsRawFd as _;
use std::io::{BufRead as _, BufReader};
use std::process::Command;

/// All that was said, and how the process ended.
pub(super) struct Load {
    pub(super) messages: Vec<Message>,
    pub(super) end: End,
}

/// How the process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Crashed(Crash),
}

/// A signal that has ended the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Crash {
    pub(super) signal: Signal,
    /// The instruction, if that could be seen.
    pub(super) pc: Option<RuntimeAddress>,
    /// The file that was mapped there.
    pub(super) file: Option<String>,
}

/// Has a process load it, and bind a symbol if one is named; `each` is told what it says, as it says it.
pub(super) fn load(
    arguments: &LoadArgs,
    bindings: bool,
    bind: Option<&str>,
    each: impl Fn(&Message) + Send + 'static,
) -> Result<Load, Failure> {
    let own = std::env::current_exe().map_err(Failure::system("cannot find this program"))?;
    let (from, to) = rustix::pipe::pipe()
        .map_err(|error| Failure::system("cannot make a pipe")(std::io::Error::from(error)))?;
    let mut command = Command::new(own);
    command.arg("load-here").arg("--to").arg(format!("/proc/self/fd/{}", to.as_raw_fd()));
    command.args(bindings.then_some("--bindings"));
    command.args(bind.map(|symbol| format!("--bind={symbol}"))).args(command_line(arguments));
    let child = command.spawn().map_err(Failure::system("cannot start a process to load it in"))?;
    drop(to);
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(std::fs::File::from(from)).lines().map_while(Result::ok);
        let messages = lines.filter_map(|line| serde_json::from_str::<Message>(&line).ok());
        messages.inspect(|message| each(message)).collect()
    });
    let pid = i32::try_from(child.id()).map_or(Pid::from_raw(0), Pid::from_raw);
    let end = wait(pid).map_err(|error| Failure::system("cannot wait for it")(error.into()))?;
    let messages = reader.join().unwrap_or_default();
    Ok(Load { messages, end })
}

/// The same arguments for the other process.
fn command_line(arguments: &LoadArgs) -> Vec<std::ffi::OsString> {
    use clap::ValueEnum as _;
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    };
    let mut line: Vec<std::ffi::OsString> = Vec::new();
    for folder in &arguments.search {
        line.extend(["-L".into(), folder.into()]);
    }
    if let Some(call) = &arguments.call {
        line.push(format!("--call={call}").into());
        line.push(format!("--returns={}", name(arguments.returns.to_possible_value())).into());
    }
    line.extend(arguments.lazy.then(|| "--lazy".into()));
    line.push(format!("--bionic={}", name(arguments.bionic.to_possible_value())).into());
    line.extend(["--".into(), arguments.path.clone().into()]);
    line
}

/// Waits for it to end. It is watched on the way, if the kernel allows it: of a signal that ends it, the
/// instruction is known then.
fn wait(pid: Pid) -> nix::Result<End> {
    let watched = ptrace::seize(pid, ptrace::Options::empty()).is_ok();
    let mut last = None;
    loop {
        match waitpid(pid, None)? {
            WaitStatus::Exited(_, code) => return Ok(End::Exited(code)),
            WaitStatus::Signaled(_, signal, _) => {
                let crash = last.filter(|crash: &Crash| crash.signal == signal);
                return Ok(End::Crashed(crash.unwrap_or(Crash { signal, pc: None, file: None })));
            }
            WaitStatus::Stopped(_, signal) if watched => {
                // Libraries may handle it; if not, it was the last one.
                let pc = instruction(pid);
                let file = pc.and_then(|pc| mapped_file(pid, pc));
                last = Some(Crash { signal, pc, file });
                ptrace::cont(pid, signal)?;
            }
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None)?,
            _ => {}
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn instruction(pid: Pid) -> Option<RuntimeAddress> {
    ptrace::getregs(pid).ok().map(|registers| RuntimeAddress(registers.rip))
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction(_pid: Pid) -> Option<RuntimeAddress> {
    None
}

fn mapped_file(pid: Pid, at: RuntimeAddress) -> Option<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let parsed = range.and_then(|(start, end)| {
            Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
        });
        parsed.is_some_and(|range| range.contains(&at.0))
    })?;
    let path = line.split_whitespace().nth(5)?;
    Some(path.rsplit('/').next().unwrap_or(path).to_owned())
}

impl Load {
    /// The exit code (see the help text).
    pub(super) fn code(&self) -> u8 {
        match &self.end {
            End::Crashed(crash) => 128 + u8::try_from(crash.signal as i32).unwrap_or(0),
            End::Exited(code) => match self.messages.last() {
                Some(Message::Loaded { .. } | Message::Returned { .. }) if *code == 0 => 0,
                Some(Message::Failed { .. }) => 1,
                _ => 3,
            },
        }
    }

    /// How it ended, if not well: what the phase was, and where the code.
    pub(super) fn trouble(&self) -> Option<String> {
        match (&self.end, self.messages.last()) {
            (End::Crashed(crash), _) => {
                Some(format!("{} in phase {}{}", crash.signal, self.phase(crash), self.place(crash)))
            }
            (_, Some(Message::Failed { error })) => Some(error.clone()),
            (End::Exited(code), _) if self.code() == 3 => Some(format!(
                "the process ended itself with exit code {code}, in phase {}",
                self.last_phase()
            )),
            _ => None,
        }
    }

    fn last_phase(&self) -> &str {
        if self.messages.iter().any(|message| matches!(message, Message::Calling { .. })) {
            return "call";
        }
        self.messages.iter().rev().find_map(Message::phase).unwrap_or("find")
    }

    /// Steps are said when they are done: what runs in code of a library that is relocated is an initialiser.
    fn phase(&self, crash: &Crash) -> String {
        let last = self.last_phase();
        let library = crash.pc.and_then(|pc| self.library_at(pc));
        let relocated = |path: &str| {
            let mut steps = self.steps("relocate").chain(self.steps("fixups"));
            steps.any(|step| step["library"] == *path)
        };
        match (last, library) {
            ("call" | "construct" | "bind" | "close", _) => last.to_owned(),
            (_, Some((path, _))) if relocated(path) => "construct".to_owned(),
            // All that was reserved is relocated: what is left are initialisers.
            (_, None)
                if self
                    .steps("reserve")
                    .all(|step| relocated(step["library"].as_str().unwrap_or_default()))
                    && self.steps("reserve").next().is_some() =>
            {
                "construct".to_owned()
            }
            _ => last.to_owned(),
        }
    }

    fn place(&self, crash: &Crash) -> String {
        let Some(pc) = crash.pc else { return String::new() };
        if let Some((path, slide)) = self.library_at(pc) {
            let at = LinkAddress(pc.0.wrapping_sub(slide));
            let symbol = super::trace::symbol_at(path, at).map(|name| format!(" ({name})"));
            let file = path.rsplit('/').next().unwrap_or(path);
            return format!(", at {:#x} of {file}{}", at.0, symbol.unwrap_or_default());
        }
        match &crash.file {
            Some(file) => format!(", in {file}, which it was called by or has called"),
            None => format!(", at {:#x}, where nothing is mapped from a file", pc.0),
        }
    }

    /// The library that was loaded there: its path and slide.
    fn library_at(&self, at: RuntimeAddress) -> Option<(&str, u64)> {
        self.steps("reserve").find_map(|step| {
            let (start, size) = (step["start"].as_u64()?, step["size"].as_u64()?);
            let inside = at.0.checked_sub(start).is_some_and(|offset| offset < size);
            inside.then_some((step["library"].as_str()?, step["slide"].as_u64()?))
        })
    }

    /// The steps of a kind.
    pub(super) fn steps<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a serde_json::Value> + 'a {
        self.messages.iter().filter_map(move |message| match message {
            Message::Step { record, .. } if record["event"] == event => Some(record),
            _ => None,
        })
    }
}
