//! The peers, as their own documentation says to use them.

use super::contender::{Contender, EDIT, Running, last_lines, quietly};
use super::livepatch::DISK_PATCHES;
use super::project::Project;
use super::samples::Times;
use crate::memory;
use crate::run::{Result, cargo, cargo_in, neutral, output, step, target};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const CARGO_HOT: &str = "0.1.1";
/// The program dials cargo-hot once in five seconds.
const DIAL: Duration = Duration::from_secs(7);

/// `cargo-hot`, with `subsecond`.
pub(super) struct CargoHot {
    project: Project,
    program: Running,
    log: PathBuf,
    patches: u32,
    disk: u64,
    mappings: usize,
}

/// The peer's command, installed into the target directory where it is not there yet.
pub(super) fn install_cargo_hot() -> Result<PathBuf> {
    let root = target()?.join("peers");
    let command = root.join("bin/cargo-hot");
    if !command.exists() {
        let mut install = cargo();
        install
            .args(["install", "cargo-hot", "--version", CARGO_HOT, "--locked", "--quiet", "--root"])
            .arg(&root);
        neutral(&mut install);
        step("install cargo-hot", &mut install)?;
    }
    Ok(command)
}

/// The folder with the `ld` that rustc's own linker arguments ask for: without it in PATH, every patch of
/// cargo-hot fails.
fn gcc_ld() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let host = output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/gcc-ld"))
}

impl CargoHot {
    /// Builds and starts the program, and waits until it must have dialled.
    pub(super) fn start(project: Project, command: &Path) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(gcc_ld()?).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).map_err(|error| error.to_string())?;
        let log = project.folder.join("cargo-hot.log");
        let file = std::fs::File::create(&log).map_err(|error| error.to_string())?;
        let mut hot = Command::new(command);
        neutral(hot.arg("hot").current_dir(&project.folder).env("PATH", path).stderr(file));
        let mut program = Running::start(&mut hot)?;
        let first = program.lines.until(&project.line(0), crate::live::PATIENCE);
        let mut hot = Self { project, program, log, patches: 0, disk: 0, mappings: 0 };
        first.map_err(|error| hot.explain(&error))?;
        std::thread::sleep(DIAL);
        hot.disk = hot.disk();
        hot.mappings = hot.child().map_or(0, memory::mappings);
        Ok(hot)
    }

    fn explain(&self, error: &str) -> String {
        format!("{error}\n{}", last_lines(&std::fs::read(&self.log).unwrap_or_default()))
    }

    /// The program: the only child of the command that stays.
    fn child(&self) -> Option<u64> {
        let pid = self.program.pid();
        let children = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let children = children.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        children.collect::<String>().split_whitespace().find_map(|child| child.parse().ok())
    }

    fn disk(&self) -> u64 {
        memory::disk(&self.project.folder.join("target"))
    }

    fn save(&mut self, number: u32) -> Result<f64> {
        let began = Instant::now();
        self.project.edit(number)?;
        let seen = self.program.lines.until(&self.project.line(number), EDIT);
        let seen = seen.map_err(|error| self.explain(&error))?;
        self.patches += 1;
        Ok(seen.duration_since(began).as_secs_f64() * 1e3)
    }
}

impl Contender for CargoHot {
    fn edit(&mut self, number: u32) -> Result<Times> {
        let seen = self.save(number)?;
        // It is still busy with what it does after the patch is live.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Times::from([("seen", seen)]))
    }

    fn end(mut self: Box<Self>) -> Result<Value> {
        let mut number = 1_000_000;
        while self.patches < DISK_PATCHES {
            number += 1;
            self.edit(number)?;
        }
        Ok(json!({
            "version": CARGO_HOT,
            "patches": self.patches,
            "server peak bytes": memory::status(u64::from(self.program.pid()), "VmHWM"),
            "disk bytes at the start": self.disk,
            "disk bytes at the end": self.disk(),
            "mappings at the start": self.mappings,
            "mappings at the end": self.child().map(memory::mappings),
        }))
    }
}

impl Drop for CargoHot {
    fn drop(&mut self) {
        // It does not end the program when it is ended itself.
        if let Some(child) = self.child() {
            let _ = Command::new("kill").args(["-s", "KILL", &child.to_string()]).status();
        }
    }
}

/// `hot-lib-reloader`: a library that is built anew and loaded anew.
pub(super) struct HotLib {
    project: Project,
    program: Running,
}

impl HotLib {
    /// Builds and starts the program.
    pub(super) fn start(project: Project) -> Result<Self> {
        quietly(cargo_in(&project.folder).args(["build", "--workspace"]))?;
        let mut command = Command::new(project.binary());
        let log = std::fs::File::create(project.folder.join("program.log")).map_err(|e| e.to_string())?;
        let mut program = Running::start(command.current_dir(&project.folder).stderr(log))?;
        program.lines.until(&project.line(0), EDIT)?;
        Ok(Self { project, program })
    }
}

impl Contender for HotLib {
    fn edit(&mut self, number: u32) -> Result<Times> {
        let began = Instant::now();
        self.project.edit(number)?;
        quietly(cargo_in(&self.project.folder).args(["build", "--package", "code"]))?;
        let build = began.elapsed();
        let seen = self.program.lines.until(&self.project.line(number), EDIT)?;
        let seen = seen.duration_since(began).as_secs_f64() * 1e3;
        Ok(Times::from([("build", build.as_secs_f64() * 1e3), ("seen", seen)]))
    }

    fn end(self: Box<Self>) -> Result<Value> {
        Ok(json!({ "version": "0.8", "file_watch_debounce": "50 ms (500 by default)" }))
    }
}
