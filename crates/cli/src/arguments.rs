//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Change the code of a running Rust program: every saved edit goes live, state is kept.
#[derive(Parser, Debug)]
#[command(name = "cargo livepatch", bin_name = "cargo livepatch", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: `run` passes on the program's own exit status. Otherwise: 0 all is well, and for `attach` that \
it was detached or the program has ended; 1 the request was \
refused, or doctor found a problem; 2 wrong usage; 101 the build failed, as cargo says it; 130 interrupted \
before the program was started.";

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Build the program, start it, and patch it on every save.
    Run(RunArgs),
    /// Build the program so that it can be patched once it runs: see `attach`.
    Build(BuildArgs),
    /// Patch a program that runs already: one that `build` built, or whose session has ended.
    Attach(AttachArgs),
    /// End the session of `attach`; the program goes on as it is.
    Detach(At),
    /// Show what the running session is at.
    Status(At),
    /// Go back to an earlier patch.
    Rollback(RollbackArgs),
    /// Rebuild and start the program anew.
    Restart(At),
    /// End the program and the session.
    Stop(At),
    /// Check whether this machine and project can be live-patched.
    Doctor(DoctorArgs),
}

/// Where the project is.
#[derive(Args, Clone, Default, Debug)]
pub struct At {
    /// Path to Cargo.toml.
    #[arg(long, value_name = "PATH")]
    pub manifest_path: Option<PathBuf>,
    /// Folder for everything that is built.
    #[arg(long, value_name = "DIRECTORY")]
    pub target_dir: Option<PathBuf>,
    /// Override a configuration value of cargo.
    #[arg(long, value_name = "KEY=VALUE|PATH")]
    pub config: Vec<String>,
    /// Require Cargo.lock to be up to date.
    #[arg(long)]
    pub locked: bool,
    /// Run without accessing the network.
    #[arg(long)]
    pub offline: bool,
    /// Both --locked and --offline.
    #[arg(long)]
    pub frozen: bool,
}

/// What cargo is asked to build.
#[derive(Args, Clone, Default, Debug)]
pub struct Selection {
    /// Run this binary.
    #[arg(long, value_name = "NAME")]
    pub bin: Option<String>,
    /// Run this example.
    #[arg(long, value_name = "NAME")]
    pub example: Option<String>,
    /// The package with the program.
    #[arg(short, long, value_name = "SPEC")]
    pub package: Option<String>,
    /// Build with the release profile.
    #[arg(short, long, conflicts_with = "profile")]
    pub release: bool,
    /// Build with this profile.
    #[arg(long, value_name = "PROFILE-NAME")]
    pub profile: Option<String>,
    /// Features to activate, separated by spaces or commas.
    #[arg(short = 'F', long, value_name = "FEATURES")]
    pub features: Vec<String>,
    /// Activate all features.
    #[arg(long)]
    pub all_features: bool,
    /// Do not activate the `default` feature.
    #[arg(long)]
    pub no_default_features: bool,
    /// Build for this target triple.
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
    /// Number of parallel jobs.
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<String>,
}

/// `cargo livepatch run`.
#[derive(Args, Clone, Default, Debug)]
pub struct RunArgs {
    /// Where the project is.
    #[command(flatten)]
    pub at: At,
    /// What to build.
    #[command(flatten)]
    pub selection: Selection,
    /// Also build the shared library of this package, which the program loads while it runs. Those that were
    /// built before are built anyway.
    #[arg(long, value_name = "PACKAGE")]
    pub plugin: Vec<String>,
    /// Append what happens to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// How to say on standard error what happens.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub message_format: MessageFormat,
    /// What to do about an edit that the program's data would not survive, such as a new field of a struct.
    #[arg(long, value_enum, default_value_t, value_name = "POLICY")]
    pub on_unsound: OnUnsound,
    /// How patches come into the program.
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    pub via: Via,
    /// Hear processes that dial by themselves, with the crate `livepatch`: at a port of this machine, or at an
    /// address. The program is one of them, and gets no agent.
    #[arg(long, value_name = "PORT|ADDRESS:PORT", value_parser = listen_address)]
    pub listen: Option<SocketAddr>,
    /// Take keys from the terminal: r restarts, b rolls back, q ends. The program's standard input is
    /// empty then.
    #[arg(long)]
    pub keys: bool,
    /// Do not show cargo's progress.
    #[arg(short, long)]
    pub quiet: bool,
    /// Arguments for the program.
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// `cargo livepatch build`.
#[derive(Args, Clone, Default, Debug)]
pub struct BuildArgs {
    /// Where the project is.
    #[command(flatten)]
    pub at: At,
    /// What to build.
    #[command(flatten)]
    pub selection: Selection,
    /// Also build the shared library of this package, which the program loads while it runs. Those that were
    /// built before are built anyway.
    #[arg(long, value_name = "PACKAGE")]
    pub plugin: Vec<String>,
    /// Do not show cargo's progress.
    #[arg(short, long)]
    pub quiet: bool,
}

/// `cargo livepatch attach`.
#[derive(Args, Clone, Default, Debug)]
pub struct AttachArgs {
    /// The program's process id.
    pub pid: u32,
    /// Where the project is.
    #[command(flatten)]
    pub at: At,
    /// Append what happens to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// How to say on standard error what happens.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub message_format: MessageFormat,
    /// Make an edit live that the program's data would not survive (a new field of a struct, say), where
    /// only a type's layout speaks against it. The program may crash or compute nonsense.
    #[arg(long)]
    pub force_unsound: bool,
    /// Take keys from the terminal: b rolls back, q ends the session.
    #[arg(long)]
    pub keys: bool,
}

/// What to do about an edit that cannot go live soundly.
#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum OnUnsound {
    /// Start the program anew, and say why.
    #[default]
    Restart,
    /// Say why; the program goes on without the edit.
    Refuse,
    /// Make it live all the same where only a type's layout speaks against it. The program may crash or
    /// compute nonsense.
    Force,
}

/// How patches come into a program.
#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Via {
    /// As images that are laid out beside the program: nothing is linked.
    #[default]
    Image,
    /// As shared objects that the program's own linker makes, wherever the dynamic linker puts them.
    Library,
    /// The same, loaded by livepatch's own dynamic linker (the crate livepatch-linker).
    Linker,
}

/// How events are shown.
#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum MessageFormat {
    /// One line of text each.
    #[default]
    Human,
    /// One JSON object each.
    Json,
}

/// `cargo livepatch rollback`.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// Where the project is.
    #[command(flatten)]
    pub at: At,
    /// The patch to be at afterwards; 0 is the code the program was started with. Default: the one
    /// before the last.
    #[arg(long, value_name = "N")]
    pub to: Option<u32>,
}

/// `cargo livepatch doctor`.
#[derive(Args, Clone, Default, Debug)]
pub struct DoctorArgs {
    /// Where the project is.
    #[command(flatten)]
    pub at: At,
    /// What would be built.
    #[command(flatten)]
    pub selection: Selection,
}

/// A port, which is one of this machine's, or an address with a port.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse::<u16>().map(|port| (Ipv4Addr::LOCALHOST, port).into());
    port.or_else(|_| text.parse()).map_err(|_| "neither a port nor an address with one".to_owned())
}

impl At {
    /// The same for cargo.
    pub fn to_cargo(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option =
            |name: &str, value: &std::ffi::OsStr| arguments.extend([name.into(), value.to_owned()]);
        self.manifest_path.iter().for_each(|path| option("--manifest-path", path.as_os_str()));
        self.config.iter().for_each(|config| option("--config", config.as_ref()));
        for (flag, set) in [("--locked", self.locked), ("--offline", self.offline), ("--frozen", self.frozen)]
        {
            arguments.extend(set.then(|| OsString::from(flag)));
        }
        arguments
    }
}

impl Selection {
    /// The same for cargo.
    pub fn to_cargo(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: &str| arguments.extend([name.into(), value.into()]);
        let single = [
            ("--bin", &self.bin),
            ("--example", &self.example),
            ("--package", &self.package),
            ("--profile", &self.profile),
            ("--target", &self.target),
            ("--jobs", &self.jobs),
        ];
        for (name, value) in single {
            value.iter().for_each(|value| option(name, value));
        }
        self.features.iter().for_each(|features| option("--features", features));
        let flags = [
            ("--release", self.release),
            ("--all-features", self.all_features),
            ("--no-default-features", self.no_default_features),
        ];
        for (flag, set) in flags {
            arguments.extend(set.then(|| OsString::from(flag)));
        }
        arguments
    }

    /// The profile's name.
    pub fn profile(&self) -> &str {
        match (&self.profile, self.release) {
            (Some(profile), _) => profile,
            (None, true) => "release",
            (None, false) => "dev",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_port_alone_is_this_machines() {
        assert_eq!(listen_address("7700").unwrap().to_string(), "127.0.0.1:7700");
        assert_eq!(listen_address("0.0.0.0:1").unwrap().to_string(), "0.0.0.0:1");
        assert!(["", "70000", "host:1", "127.0.0.1"].iter().all(|text| listen_address(text).is_err()));
    }

    #[test]
    fn selections_reach_cargo() {
        let line = "x run --manifest-path a/Cargo.toml -p b --example c --release -F d,e --locked -j 3 -- -x --release";
        let Command::Run(run) = Cli::parse_from(line.split(' ')).command else { panic!() };
        let join =
            |arguments: Vec<OsString>| arguments.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
        assert_eq!(join(run.at.to_cargo()), "--manifest-path a/Cargo.toml --locked");
        assert_eq!(
            join(run.selection.to_cargo()),
            "--example c --package b --jobs 3 --features d,e --release"
        );
        assert_eq!(run.selection.profile(), "release");
        assert_eq!(join(run.arguments), "-x --release");
    }
}
