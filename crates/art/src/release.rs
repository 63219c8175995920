//! Releases of Android, as far as they decide how a method's record looks.

use std::fmt;

/// A release whose records are known: API levels 21 (5.0) to 35 (15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Release(u8);

impl Release {
    /// The oldest one.
    pub const FIRST: Self = Self(21);
    /// The newest one.
    pub const LAST: Self = Self(35);

    /// The release of an API level; none if it is not known here.
    pub fn of_level(level: u32) -> Option<Self> {
        let level = Self(u8::try_from(level).ok()?);
        (Self::FIRST..=Self::LAST).contains(&level).then_some(level)
    }

    /// The release of a major version from 6 on: the first of its API levels.
    pub fn of_version(version: u32) -> Option<Self> {
        Self::of_level(match version {
            6 => 23,
            7 => 24,
            8 => 26,
            9..=12 => version + 19,
            13..=15 => version + 20,
            _ => return None,
        })
    }

    /// Its API level.
    pub fn level(self) -> u32 {
        self.0.into()
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::FIRST.0..=Self::LAST.0).map(Self)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            21 => "5.0",
            22 => "5.1",
            23 => "6.0",
            24 => "7.0",
            25 => "7.1",
            26 => "8.0",
            27 => "8.1",
            28 => "9",
            29 => "10",
            30 => "11",
            31 => "12",
            32 => "12L",
            33 => "13",
            34 => "14",
            _ => "15",
        })
    }
}

/// How wide an address is in a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pointer {
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

impl Pointer {
    /// Of this process.
    pub const OWN: Self = if size_of::<usize>() == 8 { Self::Bits64 } else { Self::Bits32 };

    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bits32 => 4,
            Self::Bits64 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_levels() {
        // developer.android.com, "API levels".
        for (version, level) in
            [(6, 23), (7, 24), (8, 26), (9, 28), (10, 29), (11, 30), (12, 31), (13, 33), (15, 35)]
        {
            let release = Release::of_version(version).map(Release::level);
            assert_eq!(release, Some(level));
            let text = Release::of_level(level).map(|release| release.to_string()).unwrap_or_default();
            assert_eq!(text.split('.').next(), Some(version.to_string().as_str()));
        }
        assert_eq!(Release::of_level(20), None);
        assert_eq!(Release::of_level(36), None);
        assert_eq!(Release::of_level(21 + 256), None);
    }
}
