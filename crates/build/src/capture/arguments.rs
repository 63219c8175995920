//! rustc's command line: reading it, and changing single options of it.

use crate::session::UnitId;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The arguments of a rustc invocation, without rustc itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arguments(Vec<OsString>);

/// One option with its value, and which arguments hold it.
struct Found<'a> {
    name: &'a [u8],
    value: &'a [u8],
    at: usize,
    length: usize,
}

/// Options that take a value, as cargo and users write them. `-C`, `-L` and the like also with the
/// value attached.
const SHORT: &[&[u8]] = &[b"-C", b"-L", b"-l", b"-o", b"-A", b"-W", b"-D", b"-F", b"-Z"];
const LONG: &[&[u8]] = &[
    b"--allow",
    b"--cap-lints",
    b"--cfg",
    b"--check-cfg",
    b"--codegen",
    b"--color",
    b"--crate-name",
    b"--crate-type",
    b"--deny",
    b"--diagnostic-width",
    b"--edition",
    b"--emit",
    b"--env-set",
    b"--error-format",
    b"--explain",
    b"--extern",
    b"--force-warn",
    b"--forbid",
    b"--json",
    b"--out-dir",
    b"--print",
    b"--remap-path-prefix",
    b"--remap-path-scope",
    b"--sysroot",
    b"--target",
    b"--warn",
];

impl Arguments {
    /// The given arguments, with argument files (`@path`) replaced by what they hold.
    pub fn expanded(arguments: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let mut all = Vec::new();
        for argument in arguments {
            match argument.as_bytes().strip_prefix(b"@") {
                Some(path) => {
                    let contents = std::fs::read(OsStr::from_bytes(path))?;
                    let lines = contents.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
                    all.extend(lines.map(|line| OsString::from_vec(line.to_vec())));
                }
                None => all.push(argument),
            }
        }
        Ok(Self(all))
    }

    /// Arguments that name no argument files.
    pub fn from_expanded(arguments: Vec<OsString>) -> Self {
        Self(arguments)
    }

    /// The arguments as they are to be passed.
    pub fn as_slice(&self) -> &[OsString] {
        &self.0
    }

    fn options(&self) -> impl Iterator<Item = Found<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (found, next) = self.option_at(at)?;
            at = next;
            Some(found)
        })
    }

    /// The first option at or after argument `from`, and where to look for the one after it.
    fn option_at(&self, from: usize) -> Option<(Found<'_>, usize)> {
        for at in from..self.0.len() {
            let argument = self.0[at].as_bytes();
            if SHORT.contains(&argument) || LONG.contains(&argument) {
                let value = self.0.get(at + 1).map_or(b"".as_slice(), |value| value.as_bytes());
                return Some((Found { name: argument, value, at, length: 2 }, at + 2));
            }
            let split = if argument.starts_with(b"--") {
                argument.iter().position(|&byte| byte == b'=').map(|equals| (equals, equals + 1))
            } else {
                SHORT.iter().any(|short| argument.starts_with(short)).then_some((2, 2))
            };
            if let Some((name, value)) = split {
                let found = Found { name: &argument[..name], value: &argument[value..], at, length: 1 };
                return Some((found, at + 1));
            }
        }
        None
    }

    /// The values of a long option, or of `-L`, in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a OsStr> {
        self.options().filter(move |o| o.name == name.as_bytes()).map(|o| OsStr::from_bytes(o.value))
    }

    /// The last value of a long option.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.options().filter(|o| o.name == name.as_bytes()).last().map(|o| OsStr::from_bytes(o.value))
    }

    /// The last value of a codegen option; the empty string where it stands without one.
    pub fn codegen(&self, key: &str) -> Option<&OsStr> {
        let values = self.options().filter_map(|o| codegen_value(&o, key));
        values.last().map(OsStr::from_bytes)
    }

    /// Whether an argument stands there by itself.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.0.iter().any(|argument| argument == flag)
    }

    /// The same without a long option.
    #[must_use]
    pub fn without(self, name: &str) -> Self {
        self.filtered(|o| o.name != name.as_bytes())
    }

    /// The same without a codegen option.
    #[must_use]
    pub fn without_codegen(self, key: &str) -> Self {
        self.filtered(|o| codegen_value(o, key).is_none())
    }

    fn filtered(self, keep: impl Fn(&Found<'_>) -> bool) -> Self {
        let mut dropped = vec![false; self.0.len()];
        for option in self.options().filter(|option| !keep(option)) {
            let end = (option.at + option.length).min(dropped.len());
            dropped[option.at..end].fill(true);
        }
        Self(
            self.0
                .into_iter()
                .zip(dropped)
                .filter(|(_, dropped)| !dropped)
                .map(|(argument, _)| argument)
                .collect(),
        )
    }

    /// The same with a long option (or `-L`) at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
        self
    }

    /// The same with a codegen option at the end.
    #[must_use]
    pub fn with_codegen(self, key: &str, value: impl AsRef<OsStr>) -> Self {
        let mut text = OsString::from(key);
        text.push("=");
        text.push(value);
        self.with("-C", text)
    }

    /// The same with each `--extern` changed by `change`, which gets the path that it names.
    #[must_use]
    pub fn with_externs(mut self, change: impl Fn(&Path) -> Option<PathBuf>) -> Self {
        let edits: Vec<(usize, OsString)> = self
            .options()
            .filter(|o| o.name == b"--extern" && o.length == 2)
            .filter_map(|o| {
                let (name, path) = split_extern(o.value)?;
                let mut value = OsString::from_vec([name, b"="].concat());
                value.push(change(path)?);
                Some((o.at + 1, value))
            })
            .collect();
        for (at, value) in edits {
            self.0[at] = value;
        }
        self
    }

    /// The paths that `--extern` names, in order.
    pub fn externs(&self) -> impl Iterator<Item = &Path> {
        self.values("--extern").filter_map(|value| split_extern(value.as_bytes()).map(|(_, path)| path))
    }

    /// The folders in which rustc finds what dependencies depend on.
    pub fn library_folders(&self) -> impl Iterator<Item = &Path> {
        let folders = self.values("-L").filter_map(|value| value.as_bytes().strip_prefix(b"dependency="));
        folders.map(|folder| Path::new(OsStr::from_bytes(folder)))
    }

    /// The crate's name.
    pub fn crate_name(&self) -> Option<&str> {
        self.value("--crate-name")?.to_str()
    }

    /// Crate name and extra file name: what the names of outputs are made from.
    pub fn file_stem(&self) -> Option<String> {
        let extra = self.codegen("extra-filename").and_then(OsStr::to_str).unwrap_or_default();
        Some(format!("{}{extra}", self.crate_name()?))
    }

    /// What names this invocation among all. Shared objects of the workspace have no extra file name: one
    /// for each profile and each set of features writes to the same file, but not with the same metadata.
    pub fn unit(&self) -> Option<UnitId> {
        let stem = self.file_stem()?;
        let metadata = self.codegen("metadata").and_then(OsStr::to_str);
        match metadata.filter(|_| self.codegen("extra-filename").is_none_or(OsStr::is_empty)) {
            Some(metadata) => Some(UnitId(format!("{stem}-{metadata}"))),
            None => Some(UnitId(stem)),
        }
    }

    /// The crate types asked for.
    pub fn crate_types(&self) -> Vec<&str> {
        let types: Vec<&str> = self
            .values("--crate-type")
            .filter_map(OsStr::to_str)
            .flat_map(|types| types.split(','))
            .collect();
        if types.is_empty() { vec!["bin"] } else { types }
    }

    /// Whether the invocation compiles a crate to something that runs or links.
    pub fn emits_link(&self) -> bool {
        let mut kinds = self.values("--emit").filter_map(OsStr::to_str).flat_map(|kinds| kinds.split(','));
        kinds.any(|kind| kind == "link" || kind.starts_with("link="))
    }
}

fn codegen_value<'a>(option: &Found<'a>, key: &str) -> Option<&'a [u8]> {
    if option.name != b"-C" && option.name != b"--codegen" {
        return None;
    }
    let same = |name: &[u8]| {
        name.len() == key.len() && name.iter().zip(key.as_bytes()).all(|(&a, &b)| dashed(a) == b)
    };
    match option.value.iter().position(|&byte| byte == b'=') {
        Some(equals) => same(&option.value[..equals]).then(|| &option.value[equals + 1..]),
        None => same(option.value).then_some(b""),
    }
}

/// rustc takes `codegen_units` for `codegen-units`.
fn dashed(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

/// `[options:]name=path`, as bytes before and after the equals sign.
fn split_extern(value: &[u8]) -> Option<(&[u8], &Path)> {
    let equals = value.iter().position(|&byte| byte == b'=')?;
    Some((&value[..equals], Path::new(OsStr::from_bytes(&value[equals + 1..]))))
}

#[cfg(test)]
mod tests;
