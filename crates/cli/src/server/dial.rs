//! Processes that dial by themselves: where they are heard, and what tells them so.

use crate::error::Failure;
use crate::report::Reporter;
use livepatch_build::capture::Folders;
use livepatch_proto::Token;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What processes find the session by.
const SERVER_VARIABLE: &str = "LIVEPATCH_SERVER";
const TOKEN_VARIABLE: &str = "LIVEPATCH_TOKEN";

/// The file under `target/livepatch` with these two, as lines of `NAME=value`.
const FILE: &str = "dial.env";

/// Where processes are heard that dial.
#[derive(Debug)]
pub(super) struct Dial {
    /// As [`SERVER_VARIABLE`] has it.
    pub(super) server: String,
    file: PathBuf,
    loopback: bool,
}

impl Dial {
    /// Writes down, for this user only, where the session hears processes.
    pub(super) fn at(address: SocketAddr, token: &Token, folders: &Folders) -> Result<Self, Failure> {
        let server = format!("tcp:{address}");
        let file = folders.root().join(FILE);
        write(&file, &server, token).map_err(Failure::file("write", &file))?;
        Ok(Self { server, file, loopback: address.ip().is_loopback() })
    }

    /// Tells the user.
    pub(super) fn announce(&self, reporter: &Reporter) {
        let (server, file) = (&self.server, reporter.path(&self.file).display().to_string());
        reporter.note(&format!("programs that dial {server} are patched: {file} has what they need"));
        if !self.loopback {
            reporter.warning(
                "others can reach that address: whoever reads what goes over the network can run code in \
                 the programs that dial",
            );
        }
    }
}

fn write(file: &Path, server: &str, token: &Token) -> std::io::Result<()> {
    let _ = std::fs::remove_file(file);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    write!(file, "{SERVER_VARIABLE}={server}\n{TOKEN_VARIABLE}={}\n", token.to_hex())
}

impl Drop for Dial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
