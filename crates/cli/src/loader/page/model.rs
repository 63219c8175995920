//! What the page shows, taken out of the steps.

use crate::loader::apart::Load;
use crate::loader::message::Message;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// A load.
#[derive(Default)]
pub(super) struct Model {
    /// Nanoseconds from its first step to its last.
    pub(super) total: u64,
    /// Stretches of time: a phase, of a library, from and to.
    pub(super) stretches: Vec<Stretch>,
    /// In the order in which they were mapped.
    pub(super) libraries: Vec<Library>,
    /// Who needs whom, by short names; the first is none for what was asked for.
    pub(super) needs: Vec<(Option<String>, String)>,
    /// What else was found: of the program itself, or provided; and what was not found.
    pub(super) others: BTreeMap<String, &'static str>,
}

pub(super) struct Stretch {
    pub(super) phase: String,
    pub(super) what: String,
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Default)]
pub(super) struct Library {
    pub(super) name: String,
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) segments: Vec<Segment>,
    /// What is read-only once it is relocated: start and size.
    pub(super) relro: Option<(u64, u64)>,
    /// By the page's sorts.
    pub(super) counts: [u64; 6],
    pub(super) lookups: u64,
    pub(super) calls: usize,
}

pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) file_size: u64,
    pub(super) protection: String,
}

impl Library {
    /// How many words were changed.
    pub(super) fn relocations(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A path's last part.
pub(super) fn short(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Model {
    pub(super) fn of(load: &Load) -> Self {
        let mut model = Self::default();
        let mut index = HashMap::new();
        let mut last = 0;
        for message in &load.messages {
            let Message::Step { record, text } = message else { continue };
            let at = record["at"].as_u64().unwrap_or(last);
            let phase = record["phase"].as_str().unwrap_or_default().to_owned();
            model.stretches.push(Stretch { phase, what: text.clone(), from: last, to: at });
            last = at;
            model.take(record, &mut index);
        }
        model.total = last;
        model
    }

    fn take(&mut self, record: &Value, index: &mut HashMap<String, usize>) {
        let number = |key: &str| record[key].as_u64().unwrap_or(0);
        let path = record["library"].as_str().unwrap_or_default();
        let event = record["event"].as_str().unwrap_or_default();
        if event == "search" {
            return self.search(record);
        }
        if matches!(event, "segment" | "reserve") && !index.contains_key(path) {
            index.insert(path.to_owned(), self.libraries.len());
            self.libraries.push(Library { name: short(path).to_owned(), ..Library::default() });
        }
        let Some(library) = index.get(path).and_then(|&index| self.libraries.get_mut(index)) else { return };
        match event {
            "reserve" => (library.start, library.size) = (number("start"), number("size")),
            "segment" => library.segments.push(Segment {
                start: number("start"),
                size: number("size"),
                file_size: number("file_size"),
                protection: record["protection"].as_str().unwrap_or_default().to_owned(),
            }),
            "relocate" | "fixups" => {
                let count = |sort: &str| record["counts"][sort].as_u64().unwrap_or(0);
                library.counts = super::SORTS.map(|(sort, _)| count(sort));
                library.lookups = count("lookups");
            }
            "protect" => library.relro = Some((number("start"), number("size"))),
            "call" => library.calls += 1,
            _ => {}
        }
    }

    fn search(&mut self, record: &Value) {
        let outcome = &record["outcome"];
        let name = short(record["name"].as_str().unwrap_or_default()).to_owned();
        let found = outcome["library"].as_str().or(outcome["path"].as_str()).map(short);
        let target = found.unwrap_or(&name).to_owned();
        let kind = match outcome["kind"].as_str().unwrap_or_default() {
            "host" => Some("host"),
            "provider" => Some("provided"),
            "nothing" => Some("missing"),
            _ => None,
        };
        if let Some(kind) = kind {
            self.others.insert(target.clone(), kind);
        }
        let by = record["by"].as_str().map(|by| short(by).to_owned());
        if !self.needs.contains(&(by.clone(), target.clone())) {
            self.needs.push((by, target));
        }
    }
}
