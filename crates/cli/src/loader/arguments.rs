//! The command line of `livepatch`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use livepatch_object::android::{ApiLevel, PageSizes};
use std::path::PathBuf;

/// Shared objects: would Android load this one, and what happens when it is loaded.
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
