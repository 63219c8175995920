//! The `cargo livepatch` command.

fn main() -> std::process::ExitCode {
    cargo_livepatch::main(std::env::args_os().collect())
}
