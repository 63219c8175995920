//! Libraries that the program loads and unloads.

use crate::support::{Program, compile, program};
use livepatch_proto::{
    ApplyError, FromProcess, Generation, LoadedModule, ModuleList, ModuleTls, ToProcess, WireAddress,
};
use std::path::PathBuf;
use std::process::Command;

/// A program that loads libraries, and the path of one: `f` adds what it was called with before.
fn plugin_host() -> Option<(Program, PathBuf)> {
    let program = Program::start_with(&program("plugins", &[])?, |_| {})?;
    let (source, library) = (program.folder.0.join("f.c"), program.folder.0.join("f.so"));
    std::fs::write(&source, "static __thread long sum; long f(long x) { return sum += x; }\n")
        .expect("a source file");
    compile(
        Command::new("gcc")
            .args(["-O1", "-shared", "-fPIC", "-Wl,--build-id", "-o"])
            .arg(&library)
            .arg(&source),
    )?;
    Some((program, library))
}

fn modules(program: &mut Program, known: Generation) -> Option<ModuleList> {
    match program.server.ask(&ToProcess::Modules { known }) {
        FromProcess::Modules { list, free_ranges } => {
            assert_eq!(list.is_none(), free_ranges.is_empty());
            list
        }
        other => panic!("{other:?}"),
    }
}

/// The library as the process has it now.
fn library(program: &mut Program) -> Option<LoadedModule> {
    let list = modules(program, Generation::default()).expect("something was loaded since the beginning");
    list.modules.into_iter().find(|module| module.name.ends_with("/f.so"))
}

/// The lines of /proc/pid/maps with a file.
fn maps(program: &Program, file: &str) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", program.child.id())).expect("it runs");
    maps.lines().filter(|line| line.ends_with(file)).map(str::to_owned).collect()
}

#[test]
fn what_is_loaded_is_told_as_the_kernel_has_it() {
    let Some((mut program, path)) = plugin_host() else { return };
    let at_start = program.server.hello.modules.clone();
    let first = at_start.modules.first().expect("the program");
    assert_eq!((first.name.as_str(), &first.key.build_id), ("", &program.server.hello.build_id));
    let libc = at_start.modules.iter().find(|module| module.name.ends_with("/libc.so.6")).expect("libc");
    // `errno` is a thread-local of libc's, whose block is below the thread pointer (psABI).
    assert!(matches!(libc.tls, ModuleTls::Static { tp_offset: ..0 }), "{libc:?}");
    assert_eq!(modules(&mut program, at_start.generation), None, "nothing has changed");

    assert_eq!(program.ask(&format!("open {}", path.display())), "opened");
    let found = library(&mut program).expect("it is loaded");
    assert!(matches!(found.tls, ModuleTls::Dynamic { .. }), "{found:?}");
    let lines = maps(&program, "/f.so");
    let number = |digits: &str| u64::from_str_radix(digits, 16).expect("an address");
    let mapped = |line: &String| number(line.split('-').next().unwrap_or_default());
    assert_eq!(found.range.start.0, mapped(&lines[0]));
    // A shared object is linked for address 0.
    assert_eq!(found.key.bias, found.range.start.0);
    assert!(found.range.end.0 > mapped(&lines[lines.len() - 1]));

    assert_eq!(program.ask(&format!("close {}", path.display())), "gone");
    assert_eq!(library(&mut program), None);
    assert!(program.finish().success());
}

#[test]
fn a_library_that_a_patch_is_for_stays() {
    let Some((mut program, path)) = plugin_host() else { return };
    assert_eq!(program.ask(&format!("open {}", path.display())), "opened");
    let found = library(&mut program).expect("it is loaded");
    let patch = |number| {
        let mut patch = program.server.patch(number);
        patch.holds = vec![found.key.clone()];
        patch
    };
    let (good, mut bad, mut gone) = (patch(1), patch(1), patch(2));
    // Refused after the library was taken hold of: it is let go.
    bad.island_pages = vec![livepatch_proto::IslandPage { start: WireAddress(1), length: 1, code: 0 }];
    assert!(matches!(program.server.apply(bad), Err(ApplyError::BadAddress { .. })));
    assert_eq!(program.ask(&format!("close {}", path.display())), "gone");
    assert_eq!(program.ask(&format!("open {}", path.display())), "opened");
    let again = library(&mut program).expect("it is loaded again");
    let good = livepatch_proto::Patch { holds: vec![again.key.clone()], ..good };
    assert_eq!(program.ask(&format!("call {} 5", path.display())), "5");
    program.server.apply(good).expect("the patch applies");
    assert_eq!(program.ask(&format!("close {}", path.display())), "stays");
    assert_eq!(program.ask(&format!("open {}", path.display())), "opened");
    assert_eq!(library(&mut program).as_ref(), Some(&again));
    assert_eq!(program.ask(&format!("call {} 5", path.display())), "10", "its variables stay too");

    gone.holds[0].bias ^= 0x1000;
    let error = program.server.apply(gone.clone()).expect_err("nothing is loaded there");
    assert_eq!(error, ApplyError::ModuleGone { module: gone.holds[0].clone() });
    assert!(program.finish().success());
}

#[test]
fn a_load_waits_for_the_server_and_only_where_it_is_watched_for() {
    let Some((mut program, path)) = plugin_host() else { return };
    let open = format!("open {}", path.display());
    let close = format!("close {}", path.display());
    assert_eq!(program.ask(&open), "opened");
    let id = library(&mut program).expect("it is loaded").key.build_id;
    assert_eq!(program.ask(&close), "gone");
    program.server.tell(&ToProcess::Watch { libraries: vec![id] });
    // The answer to a question says that what was told before has arrived.
    let known = modules(&mut program, Generation::default()).expect("a list").generation;
    assert_eq!(program.ask("open libm.so.6"), "opened");

    program.tell(&open);
    assert_eq!(program.server.answer(), FromProcess::Loaded { ticket: 1 });
    // It is there, and its thread waits: what the program says next comes after the server's word.
    let list = modules(&mut program, known).expect("two are new");
    assert!(list.modules.iter().any(|module| module.name.ends_with("/f.so")));
    program.server.tell(&ToProcess::Proceed { ticket: 1 });
    assert_eq!(program.line(), "opened");
    // Loaded already: nothing to look at.
    assert_eq!(program.ask(&open), "opened");
    assert_eq!(program.ask(&close), "stays");
    assert_eq!(program.ask(&close), "gone");

    // A server that is gone holds nobody up.
    program.tell(&open);
    assert_eq!(program.server.answer(), FromProcess::Loaded { ticket: 2 });
    program.server.hang_up();
    assert_eq!(program.line(), "opened");
    assert_eq!(program.ask(&close), "gone");
    assert_eq!(program.ask(&open), "opened");
    assert!(program.finish().success());
}
