//! What is known of a program: `xtask/fixtures/realworld/*.toml`.

use crate::run::{Result, root};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A program of the registry and what to do with it.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    /// The package's name.
    pub(super) name: String,
    /// The exact version.
    pub(super) version: String,
    /// What it is, for people.
    pub(super) kind: String,
    /// Arguments; `{port}` and `{data}` stand for a free port and the folder of [`Program::data`].
    pub(super) arguments: Vec<String>,
    /// Files that it works on.
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
    /// How its user sees it.
    pub(super) view: ViewSpec,
    /// The edits; each has its own text in the sources.
    pub(super) edits: Vec<Edit>,
}

/// How a user sees the program.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ViewSpec {
    /// One connection, kept from before the first edit to the end.
    Http {
        /// What is asked for.
        path: String,
    },
    /// A terminal, in which state is made with keys before the first edit.
    Terminal {
        /// What is seen once it takes keys.
        ready: String,
        /// Keys, as tmux names them.
        keys: Vec<String>,
    },
}

/// An edit that can be seen.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// What it is, for people.
    pub(super) what: String,
    /// The file, in the package.
    pub(super) file: String,
    /// Text that occurs there once.
    pub(super) search: String,
    /// What it becomes.
    pub(super) replace: String,
    /// What the user sees without the edit, and not with it.
    pub(super) before: String,
    /// What the user sees with the edit, and not without it.
    pub(super) after: String,
}

/// All programs, or those that are named.
pub(super) fn load(only: &[String]) -> Result<Vec<Program>> {
    let folder = root().join("xtask/fixtures/realworld");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut programs = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let program: Program =
            toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        programs.push(program);
    }
    for name in only {
        if !programs.iter().any(|program| program.name == *name) {
            return Err(format!("xtask/fixtures/realworld has no program `{name}`"));
        }
    }
    programs.retain(|program| only.is_empty() || only.contains(&program.name));
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_understood_and_its_edits_can_be_told_apart() {
        let programs = load(&[]).unwrap();
        assert!(programs.len() >= 3);
        for edit in programs.iter().flat_map(|program| &program.edits) {
            assert!(!edit.before.contains(&edit.after) && !edit.after.contains(&edit.before), "{edit:?}");
            assert_ne!(edit.search, edit.replace);
        }
        assert!(load(&["no such program".into()]).is_err());
    }
}
