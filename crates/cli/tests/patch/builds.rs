//! Ways to build a fixture's program.

/// A way to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Build {
    /// As `cargo run` does.
    Dev,
    /// Optimised, with debug information.
    Release,
    /// Optimised, as `cargo run --release` does: without debug information.
    Bare,
    /// With the mangling that is going to be rustc's own.
    V0,
    /// One codegen unit for each crate, and nothing incremental.
    OneUnit,
    /// A panic ends the program.
    Abort,
    /// Little optimised: inlined here and there.
    Opt1,
}

/// More builds for all fixtures: names, separated by commas.
const MORE: &str = "LIVEPATCH_FIXTURE_BUILDS";

impl Build {
    /// The build with that name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "dev" => Self::Dev,
            "release" => Self::Release,
            "bare" => Self::Bare,
            "v0" => Self::V0,
            "one-unit" => Self::OneUnit,
            "abort" => Self::Abort,
            "opt-1" => Self::Opt1,
            _ => return None,
        })
    }

    /// What a fixture asks for and what the environment adds.
    pub(crate) fn chosen(asked: &[Self]) -> Vec<Self> {
        let mut all = if asked.is_empty() { vec![Self::Dev] } else { asked.to_vec() };
        for name in std::env::var(MORE).unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
            let build = Self::of(name).unwrap_or_else(|| panic!("{MORE} names no build: {name}"));
            if !all.contains(&build) {
                all.push(build);
            }
        }
        all
    }

    /// A test's name: the fixture's, and the build's where it is not the usual one.
    pub(crate) fn label(self, fixture: &str) -> String {
        match self {
            Self::Dev => fixture.to_owned(),
            Self::Release => format!("{fixture}@release"),
            Self::Bare => format!("{fixture}@bare"),
            Self::V0 => format!("{fixture}@v0"),
            Self::OneUnit => format!("{fixture}@one-unit"),
            Self::Abort => format!("{fixture}@abort"),
            Self::Opt1 => format!("{fixture}@opt-1"),
        }
    }

    /// Arguments of the command.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        if matches!(self, Self::Release | Self::Bare) { &["--release"] } else { &[] }
    }

    /// Lines for the manifest.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Dev | Self::Bare | Self::V0 => "",
            Self::Release => "[profile.release]\ndebug = 2\n",
            Self::OneUnit => "[profile.dev]\ncodegen-units = 1\nincremental = false\n",
            Self::Abort => "[profile.dev]\npanic = 'abort'\n",
            Self::Opt1 => "[profile.dev]\nopt-level = 1\n",
        }
    }

    /// What a note says of every patch that is compared.
    pub(crate) fn note(self) -> Option<&'static str> {
        (self == Self::Bare).then_some("without debug information")
    }

    /// Lines for cargo's configuration.
    pub(crate) fn config(self) -> &'static str {
        if self == Self::V0 { "[build]\nrustflags = ['-Csymbol-mangling-version=v0']\n" } else { "" }
    }
}
