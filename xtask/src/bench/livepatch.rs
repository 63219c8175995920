//! `cargo livepatch`.

use super::contender::{Contender, EDIT, ms};
use super::project::Project;
use super::samples::Times;
use crate::live::Live;
use crate::memory;
use crate::run::Result;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// After how many patches the disk is looked at.
pub(super) const DISK_PATCHES: u32 = 20;

/// A running session.
pub(super) struct Livepatch {
    project: Project,
    live: Live,
    pid: u64,
    patches: u32,
    mappings: usize,
    disk: u64,
}

impl Livepatch {
    /// Builds and starts the program.
    pub(super) fn start(project: Project, command: &Path) -> Result<Self> {
        let mut live = Live::quiet(command, &project.folder, &["--quiet"])?;
        let pid = live.event("ready")?["pid"].as_u64().ok_or("no process id")?;
        live.lines().until(&project.line(0), EDIT)?;
        let disk = memory::disk(&project.folder.join("target/livepatch"));
        Ok(Self { project, live, pid, patches: 0, mappings: memory::mappings(pid), disk })
    }

    /// Saves an edit and waits for it; returns the event and when the program said the new text.
    fn save(&mut self, number: u32) -> Result<(Value, f64)> {
        let began = Instant::now();
        self.project.edit(number)?;
        // Lines know when they came; an edit that does not go live has none to wait for.
        let event = self.live.event("patched")?;
        let seen = self.live.lines().until(&self.project.line(number), EDIT)?;
        self.patches += 1;
        Ok((event, seen.duration_since(began).as_secs_f64() * 1e3))
    }
}

impl Contender for Livepatch {
    fn edit(&mut self, number: u32) -> Result<Times> {
        let (event, seen) = self.save(number)?;
        let (back, seen_back) = self.save(0)?;
        let time = |event: &Value, phase: &str| event["ms"][phase].as_f64().unwrap_or(f64::NAN);
        let after =
            |event: &Value| ["diff", "resolve", "write", "apply"].map(|p| time(event, p)).iter().sum();
        let mut times = Times::from([("seen", seen), ("after rustc", after(&event))]);
        times.extend([("back: seen", seen_back), ("back: after rustc", after(&back))]);
        for phase in ["rustc", "diff", "resolve", "write", "apply", "total"] {
            times.insert(phase, time(&event, phase));
        }
        times.extend([("back: rustc", time(&back, "rustc")), ("back: total", time(&back, "total"))]);
        Ok(times)
    }

    fn end(mut self: Box<Self>) -> Result<Value> {
        let mut number = 1_000_000;
        while self.patches < DISK_PATCHES {
            number += 1;
            self.save(number)?;
        }
        let host = self.project.binary();
        let symbols = memory::symbol_bytes(&host)?;
        let objects = memory::disk(&self.project.folder.join("target/livepatch/base"));
        let facts = json!({
            "patches": self.patches,
            "server peak bytes": memory::status(u64::from(self.live.server()), "VmHWM"),
            "host .symtab + .strtab + .text bytes": symbols,
            "object bytes": objects,
            "host bytes": std::fs::metadata(&host).map_or(0, |file| file.len()),
            "disk bytes at the start": self.disk,
            "disk bytes at the end": memory::disk(&self.project.folder.join("target/livepatch")),
            "mappings at the start": self.mappings,
            "mappings at the end": memory::mappings(self.pid),
        });
        self.live.stop()?;
        Ok(facts)
    }
}

/// What a session took from its start: to the build's end, to the first line, to readiness.
pub(super) fn first_start(project: &Project, command: &Path) -> Result<Times> {
    let began = Instant::now();
    let mut live = Live::quiet(command, &project.folder, &["--quiet"])?;
    let own = live.event("built")?["ms"].as_f64().unwrap_or(f64::NAN);
    let built = ms(began);
    let line = live.lines().until(&project.line(0), EDIT)?.duration_since(began).as_secs_f64() * 1e3;
    live.event("ready")?;
    let ready = ms(began);
    live.stop()?;
    Ok(Times::from([
        ("livepatch: its cargo build", own),
        ("livepatch: built", built),
        ("livepatch: first line", line),
        ("livepatch: ready", ready),
    ]))
}
