//! What is known of a program: `xtask/fixtures/realworld/*.toml`.

use crate::run::{Result, root};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A program and what to do with it.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    /// The package's name.
    pub(super) name: String,
    /// The exact version, of a published one.
    #[serde(default)]
    pub(super) version: String,
    /// What it is, for people.
    pub(super) kind: String,
    /// Where its source comes from.
    #[serde(default)]
    pub(super) origin: Origin,
    /// What its lock file has in a version that compiles no more: newer ones are taken.
    #[serde(default)]
    pub(super) update: Vec<String>,
    /// What cargo is told: which target to run, say.
    #[serde(default)]
    pub(super) cargo: Vec<String>,
    /// Arguments; `{port}` and `{data}` stand for a free port and the folder of [`Program::data`].
    #[serde(default)]
    pub(super) arguments: Vec<String>,
    /// The port, of a program that cannot be told one.
    pub(super) port: Option<u16>,
    /// Files that it works on.
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
    /// How its user sees it.
    pub(super) view: ViewSpec,
    /// The edits; each has its own text in the sources.
    pub(super) edits: Vec<Edit>,
}

/// Where a program's source comes from.
#[derive(Deserialize, Debug, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Origin {
    /// The package of the registry, as it is.
    #[default]
    Package,
    /// The package and these others of the same version, which are published one by one, put back into
    /// the one workspace that they come from.
    Workspace(Vec<String>),
    /// A folder beside the description: what no published program is.
    Own,
}

impl Program {
    /// The name, with the version if there is one.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.version).trim_end().to_owned()
    }
}

/// How a user sees the program.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ViewSpec {
    /// One connection, kept from before the first edit to the end.
    Http {
        /// What is asked for.
        path: String,
        /// A file of [`Program::data`] that the program watches: it is written again before a look.
        rewrite: Option<String>,
    },
    /// One connection with a protocol of lines.
    Exchange {
        /// What is said.
        send: String,
        /// How many lines are answered.
        lines: usize,
        /// What is said once to each process, for state; one line is answered.
        first: Option<String>,
    },
    /// What it prints, without end.
    Output {
        /// How many lines make up a view.
        lines: usize,
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
    /// The file, in the program's folder.
    pub(super) file: String,
    /// Text that occurs there once.
    pub(super) search: String,
    /// What it becomes.
    pub(super) replace: String,
    /// Further places of the same edit.
    #[serde(default)]
    pub(super) also: Vec<Place>,
    /// What the user sees without the edit, and not with it, if that is always the same.
    pub(super) before: Option<String>,
    /// What the user sees with the edit, and not without it.
    pub(super) after: String,
    /// It is seen on new connections, while old ones go on as they were.
    #[serde(default)]
    pub(super) reconnects: bool,
    /// It is live, but nothing runs it any more in this process: that is said, and nothing else is seen.
    #[serde(default)]
    pub(super) unseen: bool,
    /// What must come of it.
    #[serde(default)]
    pub(super) expect: Expect,
    /// Text that the reason, the notes or the versioned functions must contain.
    pub(super) says: Option<String>,
    /// Why it is known not to go so yet: the report says it, and the run does not fail for it.
    pub(super) not_yet: Option<String>,
}

/// A further place of an edit.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    file: String,
    search: String,
    replace: String,
}

/// What must come of an edit.
#[derive(Deserialize, Debug, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Expect {
    /// Live in the same process.
    #[default]
    Patched,
    /// The same, and functions are named that exist twice from now on.
    Versioned,
    /// A new process, and a reason.
    Restarted,
}

impl Edit {
    /// All places: file, text, new text.
    pub(super) fn places(&self) -> impl Iterator<Item = (&String, &String, &String)> {
        let first = (&self.file, &self.search, &self.replace);
        let more = self.also.iter().map(|place| (&place.file, &place.search, &place.replace));
        std::iter::once(first).chain(more)
    }

    /// Whether the process goes on with it.
    pub(super) fn keeps_process(&self) -> bool {
        self.expect != Expect::Restarted
    }
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
        assert!(programs.len() >= 10);
        for edit in programs.iter().flat_map(|program| &program.edits) {
            let same = |before: &String| before.contains(&edit.after) || edit.after.contains(before);
            assert!(!edit.before.as_ref().is_some_and(same), "{edit:?}");
            assert!(!edit.unseen || edit.says.is_some(), "{edit:?}");
            assert!(edit.places().all(|(_, search, replace)| search != replace), "{edit:?}");
        }
        for program in &programs {
            assert_eq!(program.version.is_empty(), program.origin == Origin::Own, "{}", program.name);
            assert!(program.edits.iter().any(Edit::keeps_process), "{}", program.name);
            assert!(program.edits.is_sorted_by_key(|edit| !edit.keeps_process()), "{}", program.name);
        }
        assert!(load(&["no such program".into()]).is_err());
    }
}
