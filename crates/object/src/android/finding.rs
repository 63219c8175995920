//! What a check found.

use std::fmt;

/// The phases of loading, as `livepatch-linker` has them; before them, the package that is installed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// The installer and the package.
    Package,
    /// Libraries are looked for.
    Find,
    /// Headers are read, segments are mapped.
    Read,
    /// The dynamic section is read.
    Prelink,
    /// Relocations are done.
    Link,
    /// Initialisers are called, then `JNI_OnLoad`.
    Construct,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Find => "find",
            Self::Read => "read",
            Self::Prelink => "prelink",
            Self::Link => "link",
            Self::Construct => "construct",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a finding means for the load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Effect {
    /// Nothing; worth knowing.
    Note,
    /// It loads, and something may go wrong.
    Warning,
    /// Whether it loads depends on what is not known here.
    Unknown,
    /// It does not load where pages have 16 KiB.
    StopsWith16Kib,
    /// It does not load.
    Stops,
}

impl Effect {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::StopsWith16Kib => "stops-16k",
            Self::Stops => "stops",
        }
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which phase would come upon it.
    pub phase: Phase,
    /// What it does to the load.
    pub effect: Effect,
    /// A short name that stays the same.
    pub rule: &'static str,
    /// What it is; where Android's linker has a message for it, in its words.
    pub what: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

impl Finding {
    pub(crate) fn new(phase: Phase, effect: Effect, rule: &'static str, what: impl Into<String>) -> Self {
        Self { phase, effect, rule, what: what.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

/// Whether it would load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// Yes.
    Loads,
    /// As far as can be seen; some of what it needs is not known here.
    Unknown,
    /// Where pages have 4 KiB, and not where they have 16 KiB.
    OnlyWith4Kib(Phase),
    /// No; this phase stops it.
    DoesNotLoad(Phase),
}

impl Verdict {
    /// Of all findings: the earliest phase that stops it counts.
    pub fn of<'a>(findings: impl Iterator<Item = &'a Finding> + Clone) -> Self {
        let first = |effect| {
            let with = findings.clone().filter(move |finding: &&Finding| finding.effect == effect);
            with.map(|finding| finding.phase).min()
        };
        let stops = first(Effect::Stops).map(Self::DoesNotLoad);
        let stops = stops.or_else(|| first(Effect::StopsWith16Kib).map(Self::OnlyWith4Kib));
        stops.or_else(|| first(Effect::Unknown).map(|_| Self::Unknown)).unwrap_or(Self::Loads)
    }

    /// A short name that stays the same.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loads => "loads",
            Self::Unknown => "unknown",
            Self::OnlyWith4Kib(_) => "only-with-4k-pages",
            Self::DoesNotLoad(_) => "does-not-load",
        }
    }

    /// The phase that stops it.
    pub fn phase(self) -> Option<Phase> {
        match self {
            Self::Loads | Self::Unknown => None,
            Self::OnlyWith4Kib(phase) | Self::DoesNotLoad(phase) => Some(phase),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loads => write!(f, "loads"),
            Self::Unknown => write!(f, "loads, if what is not known here is there"),
            Self::OnlyWith4Kib(phase) => write!(f, "{phase} stops it where pages have 16 KiB"),
            Self::DoesNotLoad(phase) => write!(f, "{phase} stops it"),
        }
    }
}
