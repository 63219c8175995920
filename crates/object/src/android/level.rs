//! Releases of Android by their API level, and the page sizes of their devices.

use std::fmt;

/// An API level that is known: of the device, which the app targets too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ApiLevel(u32);

impl ApiLevel {
    /// Android 5.0, the first one with 64-bit code.
    pub const FIRST: Self = Self(21);
    /// Android 16.
    pub const LAST: Self = Self(36);

    /// The level of that number, if it is between [`ApiLevel::FIRST`] and [`ApiLevel::LAST`].
    pub fn new(number: u32) -> Option<Self> {
        let level = Self(number);
        (Self::FIRST <= level && level <= Self::LAST).then_some(level)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether it is this one or a later one.
    pub fn has(self, first: u32) -> bool {
        self.0 >= first
    }

    /// Whether there are devices with pages of 16 KiB, from Android 15 on.
    pub fn has_16kib_devices(self) -> bool {
        self.has(35)
    }
}

impl fmt::Display for ApiLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Which page sizes are asked about.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum PageSizes {
    /// Those that devices of the level have.
    #[default]
    OfLevel,
    /// Pages of 4 KiB only.
    Only4Kib,
    /// Pages of 16 KiB, whatever the level.
    With16Kib,
}

impl PageSizes {
    /// Whether pages of 16 KiB are asked about.
    pub fn with_16kib(self, level: ApiLevel) -> bool {
        match self {
            Self::OfLevel => level.has_16kib_devices(),
            Self::Only4Kib => false,
            Self::With16Kib => true,
        }
    }
}
