//! `livepatch trace`.

use super::apart::{self, End, Load};
use super::arguments::TraceArgs;
use super::message::Message;
use super::page;
use crate::error::Failure;
use bytes::Bytes;
use livepatch_object::address::LinkAddress;
use livepatch_object::loadable::archive_entry;
use livepatch_object::loadable::header::Header;
use livepatch_object::loadable::image::FileImage;
use livepatch_object::loadable::program::ProgramHeaders;
use livepatch_object::loadable::tables::Tables;
use livepatch_object::macho;
use serde::Serialize;
use std::process::ExitCode;

/// How it ended, for tools.
#[derive(Serialize)]
struct Ended<'a> {
    event: &'static str,
    exit_code: u8,
    signal: Option<&'static str>,
    error: Option<&'a str>,
}

/// Runs the command: standard output has the steps as they happen.
pub(super) fn run(arguments: &TraceArgs) -> Result<ExitCode, Failure> {
    let json = arguments.json;
    let load = apart::load(&arguments.load, arguments.bindings, None, move |message| show(message, json))?;
    let trouble = load.trouble();
    if json {
        let signal = match &load.end {
            End::Crashed(crash) => Some(crash.signal.as_str()),
            End::Exited(_) => None,
        };
        let ended = Ended { event: "ended", exit_code: load.code(), signal, error: trouble.as_deref() };
        super::print(&(serde_json::to_string(&ended).unwrap_or_default() + "\n"));
    }
    if let Some(trouble) = &trouble {
        eprintln!("error: {}: {trouble}", arguments.load.path.display());
    }
    if let Some(file) = &arguments.html {
        let subject = arguments.load.path.display().to_string();
        let html = page::render(&subject, &load, trouble.as_deref());
        std::fs::write(file, html).map_err(Failure::file("write", file))?;
        eprintln!("{}: the load as a page", file.display());
    }
    Ok(ExitCode::from(load.code()))
}

fn show(message: &Message, json: bool) {
    let line = match (message, json) {
        (Message::Step { record, .. }, true) => record.to_string(),
        (message, true) => serde_json::to_string(message).unwrap_or_default(),
        (message, false) => text(message),
    };
    super::print(&(line + "\n"));
}

/// A message as a line for people.
pub(super) fn text(message: &Message) -> String {
    match message {
        Message::Step { text, .. } => text.clone(),
        Message::Loaded { path, nanoseconds } => {
            format!("{path}: loaded in {:.3} ms", *nanoseconds as f64 / 1e6)
        }
        Message::Failed { error } => format!("failed: {error}"),
        Message::Calling { symbol, address } => format!("calling {symbol} at {address:#x}"),
        Message::Returned { number, text, nanoseconds } => {
            let value = match (number, text) {
                (Some(number), _) => format!(" {number} ({number:#x})"),
                (None, Some(text)) => format!(" {text:?}"),
                (None, None) => String::new(),
            };
            format!("returned{value} after {:.3} ms", *nanoseconds as f64 / 1e6)
        }
    }
}

/// The bytes of a library: a file, or an entry of an archive.
fn library(path: &str) -> Option<Bytes> {
    let Some((archive, entry)) = path.split_once(archive_entry::SEPARATOR) else {
        return std::fs::read(path).ok().map(Bytes::from);
    };
    let archive = Bytes::from(std::fs::read(archive).ok()?);
    let stored = archive_entry::locate(&archive, entry.as_bytes()).ok()?;
    let start = usize::try_from(stored.offset.0).ok()?;
    let end = start.checked_add(usize::try_from(stored.size).ok()?)?;
    (end <= archive.len()).then(|| archive.slice(start..end))
}

/// The exported function of a file that an address is in, or behind.
pub(super) fn symbol_at(path: &str, at: LinkAddress) -> Option<String> {
    let file = library(path)?;
    if let Ok(slices) = macho::slices(&file) {
        return symbol_of_macho(&slices, at);
    }
    let header = Header::read(&file).ok()?;
    let headers = ProgramHeaders::read(&header, &file).ok()?;
    let tables =
        Tables::read(&headers, &FileImage::new(file.clone(), &headers), header.known_machine()?).ok()?;
    let before =
        tables.exported().filter(|found| found.symbol.value <= at && !found.symbol.is_thread_local());
    let found = before.max_by_key(|found| found.symbol.value)?;
    let name = String::from_utf8_lossy(tables.symbols.name(&found.symbol)?).into_owned();
    let offset = at.0 - found.symbol.value.0;
    match offset < found.symbol.size {
        true => Some(format!("{name}+{offset:#x}")),
        false => Some(format!("behind {name}")),
    }
}

/// The symbol of the slice for this machine that an address is in, or behind: sizes are not known.
fn symbol_of_macho(slices: &[macho::Slice], at: LinkAddress) -> Option<String> {
    let image = macho::Image::read(macho::choose(slices, macho::Architecture::X86_64)?).ok()?;
    let symbol = image.symbols.before(at)?;
    let name = String::from_utf8_lossy(&image.symbols.name(&symbol)?).into_owned();
    Some(format!("{name}+{:#x}", at.0 - symbol.value))
}

impl Load {
    /// All messages as lines for people.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.messages.iter().map(text)
    }
}
