//! The `livepatch` command.

fn main() -> std::process::ExitCode {
    cargo_livepatch::loader::main(std::env::args_os())
}
