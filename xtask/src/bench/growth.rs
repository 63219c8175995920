//! What a hundred patches leave in the process.

use super::contender::{EDIT, Running};
use super::project::Project;
use crate::live::Live;
use crate::memory;
use crate::run::Result;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const PATCHES: u32 = 100;
/// When the process is looked at.
const LOOKS: [u32; 6] = [0, 1, 10, 20, 50, 100];

/// Patches the program a hundred times, each time with a text that it never had.
pub(super) fn measure(project: &Project, command: &Path) -> Result<Value> {
    let mut live = Live::quiet(command, &project.folder, &["--quiet"])?;
    let pid = live.event("ready")?["pid"].as_u64().ok_or("no process id")?;
    live.lines().until(&project.line(0), EDIT)?;
    let mut looks = Vec::new();
    for number in 0..=PATCHES {
        if number > 0 {
            project.edit(number)?;
            live.event("patched")?;
            live.lines().until(&project.line(number), EDIT)?;
        }
        if LOOKS.contains(&number) {
            let (all, anonymous) = memory::resident(pid).ok_or("the process is gone")?;
            looks.push(json!({
                "patches": number,
                "resident bytes": all,
                "anonymous bytes": anonymous,
                "mappings": memory::mappings(pid),
                "server resident bytes": memory::status(u64::from(live.server()), "VmRSS"),
                "disk bytes": memory::disk(&project.folder.join("target/livepatch")),
            }));
        }
    }
    let binary = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(|error| error.to_string())?;
    live.stop()?;
    // The same program without livepatch: what the agent itself takes.
    let mut alone = Running::start(&mut Command::new(binary))?;
    alone.lines.next()?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (all, anonymous) = memory::resident(u64::from(alone.pid())).ok_or("the process is gone")?;
    let mappings = memory::mappings(u64::from(alone.pid()));
    let alone = json!({ "resident bytes": all, "anonymous bytes": anonymous, "mappings": mappings });
    let per_patch = |what: &str| {
        let at = |n: usize| looks.get(n).and_then(|look| look[what].as_f64()).unwrap_or(f64::NAN);
        (at(LOOKS.len() - 1) - at(1)) / f64::from(PATCHES - 1)
    };
    Ok(json!({
        "without livepatch": alone,
        "resident bytes per patch": per_patch("resident bytes"),
        "anonymous bytes per patch": per_patch("anonymous bytes"),
        "mappings per patch": per_patch("mappings"),
        "looks": looks,
    }))
}
