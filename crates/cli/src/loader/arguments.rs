//! The command line of `livepatch`.

use crate::art::arguments::ArtArgs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use livepatch_object::android::{ApiLevel, PageSizes};
use livepatch_object::macho::Architecture;
use std::path::PathBuf;

/// Shared objects: would Android load this one, what happens when it is loaded, and how does one of macOS call others.
/// Java programs: patches.
#[derive(Parser, Debug)]
#[command(name = "livepatch", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Would Android load it, and if not, which phase stops it and why?
    #[command(after_help = CHECK_EXIT_CODES)]
    Check(CheckArgs),
    /// How does this Mach-O image call what it imports: through which stubs, pointers and helpers, from which library?
    #[command(after_help = EXPLAIN_EXIT_CODES)]
    Explain(ExplainArgs),
    /// Load it here with all that it needs, as Android's linker does (or, a Mach-O image, as dyld did), and call a
    /// function of it.
    #[command(after_help = LOAD_EXIT_CODES)]
    Load(LoadArgs),
    /// Load it here, and show every step: phases, addresses, times.
    #[command(after_help = LOAD_EXIT_CODES)]
    Trace(TraceArgs),
    /// Patches that replace methods of Java programs on Android.
    Art(ArtArgs),
    /// The process in which `load` and `trace` load.
    #[command(hide = true)]
    LoadHere(HereArgs),
}

const CHECK_EXIT_CODES: &str = "\
Exit codes: 0 all of them would load; 1 one would not, or not on devices with 16 KiB pages where those are asked \
about; 2 wrong usage, or the file cannot be read; 3 none is known not to load, but one needs what is not known here.";

/// `livepatch check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// A shared object, an APK, an AAR, or a folder with such libraries.
    pub path: PathBuf,
    /// The API level of the device, which the app targets: 21 to 36.
    #[arg(long, value_name = "API", value_parser = level)]
    pub android: ApiLevel,
    /// Which page sizes devices have. Default: 4 KiB, and from API level 35 on 16 KiB too.
    #[arg(long, value_name = "SIZE")]
    pub pages: Option<Pages>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const EXPLAIN_EXIT_CODES: &str = "\
Exit codes: 0 it was explained; 1 it is no image that can be read, or has no such slice or symbol; 2 wrong usage, or the \
file cannot be read.";

/// `livepatch explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// An executable, a dylib or a bundle of macOS or iOS; of a file for several machines one slice.
    pub path: PathBuf,
    /// Only this symbol, step by step: stub, pointer, helper, binder.
    #[arg(long, value_name = "SYMBOL")]
    pub symbol: Option<String>,
    /// Load the image in a process of its own as well, have the symbol bound there, and show the addresses. Its
    /// initializers run.
    #[arg(long, requires = "symbol")]
    pub run: bool,
    /// Which slice: x86_64, x86_64h, arm64, arm64e. Default: x86_64, or the first that can be read.
    #[arg(long, value_name = "ARCHITECTURE", value_parser = architecture)]
    pub arch: Option<Architecture>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

const LOAD_EXIT_CODES: &str = "\
Exit codes: 0 it was loaded, and the function has returned; 1 it could not be loaded, or has no such function; 2 wrong \
usage; 3 the process in which it was loaded has ended by itself; 128 + n the signal n ended that process.";

/// `livepatch load`.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// A shared object, or an archive and an entry of it: `app.apk!/lib/x86_64/libx.so`; or a Mach-O image: a dylib, a
    /// bundle or an executable.
    pub path: PathBuf,
    /// Call this function, which takes nothing; `main` of a Mach-O executable gets its path.
    #[arg(long, value_name = "SYMBOL")]
    pub call: Option<String>,
    /// What it returns.
    #[arg(long, value_enum, default_value_t, value_name = "TYPE", requires = "call")]
    pub returns: Returns,
    /// Look for libraries in this folder first.
    #[arg(short = 'L', long = "search", value_name = "DIRECTORY")]
    pub search: Vec<PathBuf>,
    /// Bind functions at their first call.
    #[arg(long)]
    pub lazy: bool,
    /// Whether it is for Android, which is given functions of bionic then (on x86-64 and AArch64). Default: if it needs
    /// libc.so, as Android's is called.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub bionic: When,
}

/// `livepatch trace`.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// What is loaded.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Print one JSON object for each step, and one for how it ended.
    #[arg(long)]
    pub json: bool,
    /// Draw the load as a page for a browser, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show each symbol that is bound, too.
    #[arg(long)]
    pub bindings: bool,
}

/// The process in which `load` and `trace` load.
#[derive(Args, Clone, Debug)]
pub struct HereArgs {
    /// What is loaded.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Where steps are written to.
    #[arg(long)]
    pub to: PathBuf,
    /// Whether symbols that are bound are steps.
    #[arg(long)]
    pub bindings: bool,
    /// A symbol of a Mach-O image that is to be bound without a call.
    #[arg(long)]
    pub bind: Option<String>,
}

/// What a function returns.
#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Returns {
    /// Nothing.
    Nothing,
    /// A number.
    #[default]
    Number,
    /// A text of C.
    Text,
}

/// Whether to do something.
#[derive(ValueEnum, Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum When {
    /// If it seems right.
    #[default]
    Auto,
    /// Yes.
    Always,
    /// No.
    Never,
}

/// Page sizes to ask about.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Pages of 4 KiB only.
    #[value(name = "4k")]
    Only4Kib,
    /// Pages of 16 KiB as well.
    #[value(name = "16k")]
    With16Kib,
}

impl CheckArgs {
    /// The page sizes that are asked about.
    pub fn page_sizes(&self) -> PageSizes {
        match self.pages {
            None => PageSizes::OfLevel,
            Some(Pages::Only4Kib) => PageSizes::Only4Kib,
            Some(Pages::With16Kib) => PageSizes::With16Kib,
        }
    }
}

fn architecture(text: &str) -> Result<Architecture, String> {
    let known = || Architecture::NAMED.map(|known| known.to_string()).join(", ");
    Architecture::named(text).ok_or_else(|| format!("known are {}", known()))
}

fn level(text: &str) -> Result<ApiLevel, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    let (first, last) = (ApiLevel::FIRST, ApiLevel::LAST);
    ApiLevel::new(number).ok_or_else(|| format!("known are the API levels {first} to {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn levels_have_bounds() {
        assert!(Cli::try_parse_from(["livepatch", "check", "x", "--android", "20"]).is_err());
        assert!(Cli::try_parse_from(["livepatch", "check", "x", "--android", "37"]).is_err());
        assert!(Cli::try_parse_from(["livepatch", "check", "x", "--android", "36"]).is_ok());
    }
}
