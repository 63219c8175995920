//! Checks of the project: what it sets, and what is set differently for a captured build.

use super::Finding;
use crate::arguments::Selection;
use crate::captured_build::TARGETS;
use crate::project::{Lto, Profile, Project, UserRunner, linker_variable};
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) fn check(project: &Project, selection: &Selection) -> Vec<Finding> {
    let triple = project.triple(selection);
    let mut findings = vec![target(&triple), hard_links(project)];
    findings.extend(runner(project, &triple));
    findings.push(linker(project, &triple));
    findings.extend(flags(&rust_flags(project, &triple)));
    findings.extend(wrappers(project));
    findings.extend(profile(&project.profile(selection.profile())));
    findings.extend(outsiders(project));
    findings
}

fn target(triple: &str) -> Finding {
    if TARGETS.contains(&triple) {
        return Finding::ok(format!("builds for {triple}"));
    }
    let why = if triple.contains("musl") { " (static programs take no preloaded agent)" } else { "" };
    Finding::problem(format!("builds for {triple}{why}"), format!("build for {}", TARGETS.join(" or ")))
}

/// What is kept of a build is kept by hard links.
fn hard_links(project: &Project) -> Finding {
    let folder = project.folders.root();
    let (one, other) = (folder.join(".link-test-1"), folder.join(".link-test-2"));
    let linked = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&one, ""))
        .and_then(|()| std::fs::hard_link(&one, &other));
    let _ = std::fs::remove_file(&one);
    let _ = std::fs::remove_file(&other);
    match linked {
        Ok(()) => Finding::ok(format!("target directory {}", project.target.display())),
        Err(error) => Finding::problem(
            format!("{} takes no hard links: {error}", project.target.display()),
            "give --target-dir on another file system",
        ),
    }
}

fn runner(project: &Project, triple: &str) -> Option<Finding> {
    Some(match project.runner(triple)? {
        UserRunner::Known(words) => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            Finding::ok(format!("programs are started through {}", words.join(" ")))
        }
        UserRunner::Conditional(set) => Finding::problem(
            format!("a runner is set by a condition ({set}), which only cargo can decide"),
            format!("set target.{triple}.runner"),
        ),
    })
}

fn linker(project: &Project, triple: &str) -> Finding {
    let set = std::env::var(linker_variable(triple)).ok();
    let configured =
        project.config.get("target").and_then(|targets| targets.get(triple)?.get("linker")?.as_str());
    let linker = set.or_else(|| configured.map(str::to_owned)).unwrap_or_else(|| "cc".into());
    match find_program(&linker) {
        Some(path) => {
            Finding::ok(format!("linker {}; --icf and stripping of symbols are left out", path.display()))
        }
        None => Finding::problem(format!("the linker {linker} is not found"), "install it, or set another"),
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The flags that cargo passes to rustc: from the environment, or else from its configuration.
fn rust_flags(project: &Project, triple: &str) -> Vec<String> {
    if let Ok(encoded) = std::env::var("CARGO_ENCODED_RUSTFLAGS") {
        return encoded.split('\x1f').map(str::to_owned).collect();
    }
    if let Ok(flags) = std::env::var("RUSTFLAGS") {
        return flags.split_whitespace().map(str::to_owned).collect();
    }
    let tables = project.config.get("target").and_then(Value::as_object).into_iter().flatten();
    let of_target =
        tables.filter(|(name, _)| *name == triple || name.starts_with("cfg(")).map(|(_, table)| table);
    let all = of_target.chain(project.config.get("build")).filter_map(|table| table.get("rustflags"));
    all.flat_map(|flags| match flags {
        Value::String(flags) => flags.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        Value::Array(flags) => flags.iter().filter_map(|flag| flag.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    })
    .collect()
}

fn flags(flags: &[String]) -> Vec<Finding> {
    let mentions = |what: &str| flags.iter().any(|flag| flag.contains(what));
    let mut findings = Vec::new();
    if mentions("+crt-static") {
        findings.push(Finding::problem(
            "rustflags ask for a static program (crt-static), which takes no preloaded agent",
            "leave it out for live patching",
        ));
    }
    if mentions("codegen-units") {
        findings.push(Finding::note("rustflags set codegen-units: edits compile more than they need to"));
    }
    if mentions("prefer-dynamic") {
        findings
            .push(Finding::note("rustflags ask for prefer-dynamic: only the executable itself is patched"));
    }
    if mentions("lto") {
        findings.push(Finding::note("rustflags mention lto: objects of single crates are needed"));
    }
    findings
}

fn wrappers(project: &Project) -> Vec<Finding> {
    let mut findings = Vec::new();
    let configured =
        project.config.pointer("/build/rustc-wrapper").and_then(Value::as_str).map(str::to_owned);
    if let Some(wrapper) = std::env::var("RUSTC_WRAPPER").ok().filter(|w| !w.is_empty()).or(configured) {
        findings.push(Finding::note(format!("rustc wrapper {wrapper}: used for builds, not for edits")));
    }
    if let Some(wrapper) = project.workspace_wrapper() {
        findings.push(Finding::note(format!(
            "workspace wrapper {}: called by ours for builds, not for edits",
            wrapper.display()
        )));
    }
    findings
}

fn profile(profile: &Profile) -> Vec<Finding> {
    let name = &profile.name;
    let mut findings = Vec::new();
    if profile.lto == Lto::AcrossCrates {
        findings.push(Finding::note(format!("profile {name}: lto is off for live patching")));
    }
    if profile.strips_symbols {
        findings.push(Finding::note(format!("profile {name}: symbols are kept for live patching")));
    }
    if let Some(units) = profile.codegen_units {
        let what =
            format!("profile {name} sets codegen-units = {units}: edits compile more than they need to");
        findings.push(Finding::note(what));
    }
    if !profile.debug {
        let what = format!("profile {name} has no debug information: changed type layouts cannot be checked");
        findings.push(Finding::note(what));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("profile {name}")));
    }
    if let Some(panic) = &profile.panic {
        findings.push(Finding::ok(format!("panic = {panic:?}")));
    }
    findings
}

/// Path dependencies that are no members: cargo's wrapper for the workspace does not see them.
fn outsiders(project: &Project) -> Vec<Finding> {
    let members: Vec<&Path> =
        project.packages.iter().filter_map(|package| package.manifest_path.parent()).collect();
    let dependencies = project.packages.iter().flat_map(|package| &package.dependencies);
    let mut names: Vec<String> = dependencies
        .filter_map(|dependency| {
            let path = dependency.path.as_ref()?;
            (!members.contains(&path.as_path())).then(|| format!("{} ({})", dependency.name, path.display()))
        })
        .collect();
    names.sort();
    names.dedup();
    let say = |name| format!("{name} is not in the workspace: edits of it start the program anew");
    names.iter().map(|name| Finding::note(say(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_static_program_is_a_problem() {
        let found = flags(&["-C".into(), "target-feature=+crt-static".into()]);
        assert_eq!(found[0].level, Level::Problem);
        assert!(flags(&["-C".into(), "target-cpu=native".into()]).is_empty());
        assert_eq!(target("x86_64-unknown-linux-musl").level, Level::Problem);
    }

    #[test]
    fn what_is_switched_off_is_said() {
        let profile = Profile {
            name: "release".into(),
            lto: Lto::AcrossCrates,
            strips_symbols: true,
            codegen_units: Some(1),
            panic: Some("abort".into()),
            debug: false,
        };
        let found = super::profile(&profile);
        assert_eq!(found.iter().filter(|finding| finding.level == Level::Note).count(), 4);
        assert_eq!(found.last().map(|finding| finding.level), Some(Level::Ok));
    }
}
