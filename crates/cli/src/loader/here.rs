//! The process in which a library is loaded: whatever it does to this process, the one that has started it can say.

mod image;

use super::arguments::{HereArgs, LoadArgs, Returns, When};
use super::call;
use super::message::Message;
use crate::error::Failure;
use image::Image;
use livepatch_linker::trace::{Detail, Trace};
use livepatch_linker::{Flags, Linker, LinkerBuilder};
use livepatch_object::android::Siblings;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Where messages go. Each is one write, so that nothing is lost if the process ends in the next moment.
#[derive(Clone)]
struct Report(Arc<Mutex<File>>);

impl Report {
    fn send(&self, message: &Message) {
        let Ok(mut line) = serde_json::to_vec(message) else { return };
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // If nobody listens any more, nobody misses it.
        let _ = file.write_all(&line);
    }
}

/// Loads, and says each step.
pub(super) fn run(arguments: &HereArgs) -> Result<ExitCode, Failure> {
    let to = OpenOptions::new().write(true).open(&arguments.to);
    let report = Report(Arc::new(Mutex::new(to.map_err(Failure::file("write to", &arguments.to))?)));
    // What the command itself does before is not in the trace.
    let prepared = Prepared::of(&arguments.load);
    let detail = if arguments.bindings { Detail::Bindings } else { Detail::Phases };
    let listener = report.clone();
    let trace = Trace::with_listener(detail, move |record| {
        let text = record.to_string();
        let record = serde_json::to_value(record).unwrap_or_default();
        listener.send(&Message::Step { text, record });
    });
    let began = Instant::now();
    let library = match prepared.load(&arguments.load, &trace) {
        Ok(library) => library,
        Err(error) => {
            report.send(&Message::Failed { error });
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(symbol) = &arguments.bind
        && let Err(error) = library.bind(symbol)
    {
        report.send(&Message::Failed { error });
        return Ok(ExitCode::FAILURE);
    }
    report.send(&Message::Loaded { path: library.path(), nanoseconds: nanoseconds(began) });
    let code = match &arguments.load.call {
        Some(symbol) => call(&library, symbol, arguments.load.returns, &report),
        None => ExitCode::SUCCESS,
    };
    // What it has started may run on: it is not unloaded under it.
    library.leak();
    Ok(code)
}

/// What loads the file: by its format.
enum Prepared {
    Elf(LinkerBuilder),
    Macho,
}

impl Prepared {
    fn of(arguments: &LoadArgs) -> Self {
        match image::is_macho(&arguments.path) {
            true => Self::Macho,
            false => Self::Elf(builder(arguments)),
        }
    }

    /// Loads it, or says why not.
    fn load(self, arguments: &LoadArgs, trace: &Trace) -> Result<Image, String> {
        match self {
            Self::Elf(builder) => {
                let flags = if arguments.lazy { Flags::LAZY } else { Flags::NOW };
                let loaded = builder.trace(trace).build().dlopen(&arguments.path, flags);
                loaded.map(Image::Elf).map_err(|error| error.to_string())
            }
            Self::Macho => image::load_macho(arguments, trace),
        }
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn builder(arguments: &LoadArgs) -> LinkerBuilder {
    let mut builder = arguments.search.iter().fold(Linker::builder(), LinkerBuilder::search_path);
    if is_for_android(arguments) {
        // An app's libraries are all in one folder, which is looked into.
        if let Some(folder) = arguments.path.parent() {
            builder = builder.search_path(folder);
        }
        builder = with_bionic(builder);
    }
    builder
}

#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_os = "linux", target_env = "gnu"))]
fn with_bionic(builder: LinkerBuilder) -> LinkerBuilder {
    livepatch_linker::bionic::add_to(builder)
}

#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux",
    target_env = "gnu"
)))]
fn with_bionic(builder: LinkerBuilder) -> LinkerBuilder {
    eprintln!("warning: bionic is imitated on x86-64 with glibc only");
    builder
}

/// Android's libc is `libc.so`; others' have a number.
fn is_for_android(arguments: &LoadArgs) -> bool {
    match arguments.bionic {
        When::Always => true,
        When::Never => false,
        When::Auto => needs_libc_so(&arguments.path),
    }
}

fn needs_libc_so(path: &Path) -> bool {
    const NAME: &str = "subject";
    // In an archive, whatever it is: other systems load nothing from archives.
    let Ok(bytes) = std::fs::read(path) else { return path.to_string_lossy().contains("!/") };
    let subject = Siblings::of([(NAME.to_owned(), bytes.into())]);
    subject.get(NAME).is_some_and(|tables| tables.needed().any(|needed| needed == "libc.so"))
}

fn call(library: &Image, symbol: &str, returns: Returns, report: &Report) -> ExitCode {
    let function = match library.symbol(symbol) {
        Ok(function) => function,
        Err(error) => {
            report.send(&Message::Failed { error });
            return ExitCode::FAILURE;
        }
    };
    report.send(&Message::Calling { symbol: symbol.to_owned(), address: function.0 });
    let began = Instant::now();
    let number = match library.run_main(symbol) {
        Some(code) => code.into(),
        // SAFETY: the user says that it is such a function; this process exists for this call only.
        None => unsafe { call::number(function) },
    };
    let nanoseconds = nanoseconds(began);
    let text = match returns {
        // SAFETY: the user says that it returns a text.
        Returns::Text => unsafe { call::text(number) },
        Returns::Nothing | Returns::Number => None,
    };
    let number = (returns == Returns::Number).then_some(number);
    report.send(&Message::Returned { number, text, nanoseconds });
    ExitCode::SUCCESS
}
