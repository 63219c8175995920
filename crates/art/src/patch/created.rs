//! When a patch was made, as Java's `Date.toGMTString()` writes it: `27 Apr 2015 05:35:54 GMT`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970 began, in UTC; up to the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Created(u64);

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

impl Created {
    /// So many seconds since 1970 began.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(LAST))
    }

    /// At this moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::from_seconds(since.map_or(0, |since| since.as_secs()))
    }

    /// Seconds since 1970 began.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Of a text; none if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let day: u64 = words.next()?.parse().ok()?;
        let month = words.next()?;
        let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
        let year: u64 = words.next().filter(|year| year.len() == 4)?.parse().ok()?;
        let time = words.next()?;
        let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let is_sane = (1970..=9999).contains(&year)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        (is_sane && words.next() == Some("GMT") && words.next().is_none() && parts.next().is_none())
            .then(|| Self(days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second))
            .filter(|created| created.to_string().starts_with(&day.to_string()))
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years begin in March, so that leap days are last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (today, second) = (self.0 / 86400, self.0 % 86400);
        // The last year and month that have begun by then: at most ten thousand and twelve steps.
        let is_begun = |year: &u64| days(*year, 1, 1) <= today;
        let year = (1970..=9999).rev().find(is_begun).unwrap_or(1970);
        let month = (1..=12).rev().find(|month| days(year, *month, 1) <= today).unwrap_or(1);
        let day = today - days(year, month, 1) + 1;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
        write!(f, "{day} {name} {year} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are `date --utc +%s`'s.
    #[test]
    fn times() {
        for (text, seconds) in [
            ("27 Apr 2015 05:35:54 GMT", 1_430_112_954),
            ("1 Jan 1970 00:00:00 GMT", 0),
            ("29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("31 Dec 9999 23:59:59 GMT", LAST),
            ("1 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            assert_eq!(Created::parse(text), Some(Created(seconds)), "{text}");
            assert_eq!(Created(seconds).to_string(), text);
        }
        let bad = [
            "",
            "27 Apr 2015",
            "29 Feb 2001 00:00:00 GMT",
            "1 Jan 2015 24:00:00 GMT",
            "1 Jan 99999 00:00:00 GMT",
            "27 Apr 2015 05:35:54 CET",
            "0 Jan 2015 00:00:00 GMT",
            "1 Jan 2015 00:00:00 GMT x",
        ];
        for text in bad {
            assert_eq!(Created::parse(text), None, "{text}");
        }
    }
}
