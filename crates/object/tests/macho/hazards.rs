//! The table of hazards, against this machine's C library: a name that it does not have links to nothing, and is none.

use crate::build::run;
use livepatch_object::macho::hazard::HAZARDS;
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_c_library_has_every_name_of_the_table() {
    let path = |library: &str| {
        let output = Command::new("cc").arg(format!("-print-file-name={library}")).output().ok()?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // Only the name comes back where there is none.
        path.contains('/').then_some(path)
    };
    let Some(libraries) = ["libc.so.6", "libm.so.6"].map(path).into_iter().collect::<Option<Vec<_>>>() else {
        return println!("skipped: there is no C compiler, or no glibc");
    };
    let mut names = BTreeSet::new();
    for library in libraries {
        let said = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
        let name = |line: &str| Some(line.split_whitespace().nth(2)?.split('@').next()?.to_owned());
        names.extend(said.lines().filter_map(name));
    }
    let strangers: Vec<&str> =
        HAZARDS.iter().map(|hazard| hazard.symbol).filter(|symbol| !names.contains(*symbol)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    assert!(HAZARDS.len() > 150);
}
