//! The command line of `livepatch art`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `livepatch art`.
#[derive(Args, Clone, Debug)]
pub struct ArtArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a patch from two versions of a program.
    #[command(after_help = DIFF_EXIT_CODES)]
    Diff(DiffArgs),
    /// Show what a patch says and holds. Nothing of it is run, and anyone may have made it.
    Show(ShowArgs),
    /// Check that a patch is as the owner of a certificate's key has signed it.
    #[command(after_help = "Exit codes: 0 it is; 1 it is not, or cannot be read.")]
    Verify(VerifyArgs),
    /// Run a program with a bug in Android's runtime, patch it while it runs, and roll back.
    Demo(DemoArgs),
    /// The process in which the demonstration runs.
    #[command(hide = true)]
    DemoHere(DemoHereArgs),
}

const DIFF_EXIT_CODES: &str = "\
Exit codes: 0 the patch is written, or would be; 1 something that changed cannot be patched, or a file cannot be read; 3 \
nothing changed.";

/// `livepatch art diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// The program as it runs: an APK, a JAR or a dex file.
    pub old: PathBuf,
    /// The program as it is to be.
    pub new: PathBuf,
    /// Write the patch here. Without it, only say what changed.
    #[arg(short, long, value_name = "FILE", requires = "key")]
    pub output: Option<PathBuf>,
    /// The private key to sign it with: PEM, PKCS #8; RSA or ECDSA on P-256.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// That key's certificate: PEM or DER.
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The patch's name. Default: that of the output file.
    #[arg(long, requires = "output")]
    pub name: Option<String>,
}

/// `livepatch art show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The patch.
    pub patch: PathBuf,
}

/// `livepatch art verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The patch.
    pub patch: PathBuf,
    /// The certificate of who should have signed it: PEM or DER.
    #[arg(long, value_name = "FILE")]
    pub certificate: PathBuf,
    /// Accept what AndFix's tool writes: SHA-1, and a manifest of the patch that is not signed.
    #[arg(long)]
    pub as_andfix: bool,
}

/// `livepatch art demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The version of Android whose runtime is used: 11, or 10 or 14 if that is unpacked (see docs/art.md).
    #[arg(long, default_value_t = 11)]
    pub android: u32,
    /// Show what the runtime logs.
    #[arg(long)]
    pub verbose: bool,
}

/// The process in which the demonstration runs.
#[derive(Args, Clone, Debug)]
pub struct DemoHereArgs {
    /// The version of Android.
    #[arg(long)]
    pub android: u32,
    /// A folder that is empty at first.
    #[arg(long)]
    pub folder: PathBuf,
}
