//! `livepatch explain`: how a Mach-O image calls what it imports. Nothing is loaded; what is decided about its bytes is
//! decided in `livepatch_object::macho`.

mod json;
mod live;
mod names;
mod subject;
mod supply;
mod text;
mod walk;

use crate::error::Failure;
use crate::loader::arguments::ExplainArgs;
use livepatch_object::macho::path::SymbolPath;
use livepatch_object::macho::{Architecture, Fixups, Image};
use std::path::Path;
use std::process::ExitCode;
use supply::Imported;

/// What was found out about one slice of a file.
#[derive(Debug)]
pub struct Answer {
    /// What was given.
    pub path: String,
    /// Whose slices the file has.
    pub architectures: Vec<Architecture>,
    /// The slice that was asked about.
    pub image: Image,
    /// What is written into it when it is loaded.
    pub fixups: Fixups,
    /// Of each import, who would have it on this machine.
    pub imports: Vec<Imported>,
}

impl Answer {
    /// Text for people.
    pub fn text(&self) -> Result<String, Failure> {
        text::render(self)
    }

    /// One JSON object and a line's end, for tools.
    pub fn json(&self) -> Result<String, Failure> {
        json::render(self)
    }

    /// The way of a symbol, which may be named without its underscore.
    pub fn path_of(&self, symbol: &str) -> Result<SymbolPath, Failure> {
        walk::find(self, symbol)
    }

    /// The same as text for people.
    pub fn walk_text(&self, symbol: &str) -> Result<String, Failure> {
        self.path_of(symbol).map(|path| walk::text(self, &path))
    }
}

/// Reads a file, and looks for what the image imports on this machine.
pub fn answer(path: &Path, architecture: Option<Architecture>) -> Result<Answer, Failure> {
    let file = subject::file(path)?;
    let slices = subject::slices(path, &file)?;
    let slice = subject::choose(path, &slices, architecture)?;
    let unsound = |problem| subject::unsound(path, problem);
    let image = Image::read(slice).map_err(unsound)?;
    let fixups = image.fixups().map_err(unsound)?;
    let imports = supply::imports(path, &image, &fixups);
    let architectures = slices.iter().map(|slice| slice.architecture).collect();
    Ok(Answer { path: path.display().to_string(), architectures, image, fixups, imports })
}

/// Runs the command.
pub fn run(arguments: &ExplainArgs) -> Result<ExitCode, Failure> {
    // A file that cannot be read is wrong usage; one that is not what it says is an answer.
    if let Err(error) = subject::file(&arguments.path) {
        error.report();
        return Ok(ExitCode::from(2));
    }
    let answer = answer(&arguments.path, arguments.arch)?;
    let rendered = match (&arguments.symbol, arguments.json) {
        (Some(symbol), json) => {
            let path = answer.path_of(symbol)?;
            let live = arguments.run.then(|| live::run(&arguments.path, &path)).transpose()?;
            match json {
                true => walk::json(&answer, &path, live),
                false => walk::text(&answer, &path) + &live.as_ref().map(live::text).unwrap_or_default(),
            }
        }
        (None, false) => answer.text()?,
        (None, true) => answer.json()?,
    };
    super::print(&rendered);
    Ok(ExitCode::SUCCESS)
}
