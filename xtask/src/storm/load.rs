//! Requests without pause over connections that stay, and what is right of their answers.

use super::pieces::{Piece, read};
use crate::http::Connection;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

/// One connection of these many is opened again from time to time, so that new ones are accepted too.
const REOPENED: usize = 8;
/// After how many requests.
const REOPEN_AFTER: usize = 100;

/// Which edits an answer may be of.
#[derive(Default)]
pub(super) struct Times {
    /// For each piece, the last edit that was saved: it may be live.
    pub(super) saved: [AtomicU64; Piece::ALL.len()],
    /// For each piece, the last edit that was said to be live: nothing asked after that is older.
    pub(super) live: [AtomicU64; Piece::ALL.len()],
    /// The storm is over.
    pub(super) over: AtomicBool,
}

/// What came of a thread's requests.
#[derive(Default)]
pub(super) struct Outcome {
    /// Seconds from request to answer.
    pub(super) latencies: Vec<f64>,
    /// Requests that were not answered as they should be: how, and how many more.
    pub(super) failed: Vec<String>,
    pub(super) wrong: Vec<String>,
    /// How often each count was seen, by edit; the server's own under no edit.
    pub(super) counted: HashMap<Option<u64>, Tally>,
}

/// Numbers that were counted up by one each: none is missing, and none came twice.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    seen: u64,
    sum: u128,
    highest: u64,
}

impl Tally {
    fn add(&mut self, number: u64) {
        self.seen += 1;
        self.sum += u128::from(number);
        self.highest = self.highest.max(number);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.sum += other.sum;
        self.highest = self.highest.max(other.highest);
    }

    /// Whether the numbers were 0, 1, 2 and so on.
    pub(super) fn is_whole(&self) -> bool {
        let last = u128::from(self.highest);
        self.seen == self.highest + 1 && self.sum == last * (last + 1) / 2
    }
}

/// Asks until it is over. `at` says which thread this is.
pub(super) fn run(at: usize, port: u16, times: &Times) -> Outcome {
    let mut outcome = Outcome::default();
    let which = at % Piece::ALL.len();
    let mut connection = None;
    let mut last = 0;
    while !times.over.load(SeqCst) && outcome.failed.len() + outcome.wrong.len() < 100 {
        let now = match connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(port, &Piece::ALL[which].path()),
        };
        let answered = now.and_then(|mut now| {
            let oldest = times.live[which].load(SeqCst).max(last);
            let began = Instant::now();
            let answer = now.get()?;
            outcome.latencies.push(began.elapsed().as_secs_f64());
            let newest = times.saved[which].load(SeqCst);
            Ok((now, answer, oldest..=newest))
        });
        let (now, answer, right) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                outcome.failed.push(error);
                continue;
            }
        };
        let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|answer| answer.split_once("\n\n"));
        match body.and_then(|(_, text)| read(Piece::ALL[which], text)) {
            Some(answer) if right.contains(&answer.edit) => {
                last = answer.edit;
                if let Some((hits, total)) = answer.counts {
                    outcome.counted.entry(Some(answer.edit)).or_default().add(hits);
                    outcome.counted.entry(None).or_default().add(total);
                }
            }
            _ => outcome.wrong.push(format!("{answer:?}, where {right:?} were right")),
        }
        let reopens = at % REOPENED == REOPENED - 1 && now.requests() >= REOPEN_AFTER;
        connection = (!reopens).then_some(now);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_twice_or_not_at_all_shows() {
        let tally = |numbers: &[u64]| {
            let mut tally = Tally::default();
            numbers.iter().for_each(|&number| tally.add(number));
            tally.is_whole()
        };
        assert!(tally(&[1, 0, 2]));
        assert!(!tally(&[1, 2]));
        assert!(!tally(&[0, 0, 2]));
        assert!(!tally(&[0, 1, 1, 3]));
        assert!(!tally(&[0, 0, 1, 2]));
    }
}
