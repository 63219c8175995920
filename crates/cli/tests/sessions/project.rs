//! A cargo project in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program that says a number that an edit can change, until a file tells it to end.
pub(crate) const MAIN: &str = r#"mod number;
fn main() {
    println!("started");
    let mut last = 0;
    loop {
        let now = number::number();
        if now != last {
            println!("number {now}");
            last = now;
        }
        if let Ok(status) = std::fs::read_to_string("quit") {
            std::process::exit(status.trim().parse().unwrap_or(0));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
"#;

pub(crate) struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    /// An empty folder; its name has a space in it.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("a project ")
            .disable_cleanup(std::env::var_os("LIVEPATCH_KEEP").is_some())
            .tempdir()
            .expect("a temporary folder");
        Self { dir }
    }

    /// A package with a binary of two files.
    pub(crate) fn simple() -> Self {
        let project = Self::empty();
        project.write("Cargo.toml", &manifest("app", ""));
        project.write("src/main.rs", MAIN);
        project.write("src/number.rs", &number(1));
        project
    }

    /// A workspace: a binary, a library, and a library outside the workspace.
    pub(crate) fn workspace() -> Self {
        let project = Self::empty();
        project.write(
            "Cargo.toml",
            "[workspace]\nresolver = '2'\nmembers = ['app', 'lib']\nexclude = ['outside']\n",
        );
        let dependencies = "[dependencies]\nlib = { path = '../lib' }\noutside = { path = '../outside' }\n";
        project.write("app/Cargo.toml", &manifest("app", dependencies));
        project.write("app/src/main.rs", MAIN);
        project.write("app/src/number.rs", "pub fn number() -> u64 { lib::number() + outside::zero() }\n");
        project.write("lib/Cargo.toml", &manifest("lib", ""));
        project.write("lib/src/lib.rs", &number(1));
        project.write("outside/Cargo.toml", &manifest("outside", ""));
        project.write("outside/src/lib.rs", "pub fn zero() -> u64 { 0 }\n");
        project
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file in place.
    pub(crate) fn write(&self, name: &str, contents: &str) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
        std::fs::write(path, contents).expect("files can be written");
    }

    /// Writes a file as careful editors do: aside, then over the old one.
    pub(crate) fn write_over(&self, name: &str, contents: &str) {
        let aside = format!("{name}.swp");
        self.write(&aside, contents);
        std::fs::rename(self.file(&aside), self.file(name)).expect("files can be renamed");
    }

    /// Runs cargo as a user would.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(std::env::var_os("CARGO").expect("cargo runs the tests"));
        clean(&mut command);
        command.args(arguments).current_dir(self.path()).output().expect("cargo can be run")
    }
}

pub(crate) fn manifest(name: &str, more: &str) -> String {
    format!("[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n{more}")
}

pub(crate) fn number(n: u64) -> String {
    format!("pub fn number() -> u64 {{ {n} }}\n")
}

/// Takes out what the cargo that runs the tests has set for them.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let kept = ["CARGO_HOME", "CARGO"].contains(&&*text);
        if !kept && (text.starts_with("CARGO") || text.starts_with("RUST_") || text.starts_with("LIVEPATCH"))
        {
            command.env_remove(&name);
        }
    }
    command.env("NO_COLOR", "1").env("CARGO_NET_OFFLINE", "true").env_remove("CARGO_TARGET_DIR");
}
