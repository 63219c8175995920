//! Namespaces.

use crate::build::{Folder, call};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::{
    ExtInfo, Flags, Library, Linker, LinkerError, NamespaceConfig, NamespaceId, NamespaceLink,
};
use std::ffi::{c_char, c_int, c_void};
use std::path::PathBuf;

pub(crate) const CASES: &[Case] = cases![
    namespaces::each_has_its_own_copy,
    namespaces::isolated_loads_from_its_folders_only,
    namespaces::permitted_folders,
    namespaces::exempt_libraries,
    namespaces::allowed_names,
    namespaces::links_are_followed_once,
    namespaces::link_to_all_libraries,
    namespaces::cyclic_links,
    namespaces::shared_has_what_its_parent_has,
    namespaces::symbols_are_of_the_own_group,
    namespaces::global_inside_isolated,
    namespaces::unload_across,
    namespaces::hidden_child,
    namespaces::caller_decides,
    namespaces::anonymous,
    namespaces::names_are_unique,
];

fn config(name: &str, folders: &[PathBuf], isolated: bool) -> NamespaceConfig {
    NamespaceConfig {
        name: name.to_owned(),
        search_paths: folders.to_vec(),
        isolated,
        ..NamespaceConfig::default()
    }
}

fn open(
    linker: &Linker,
    name: impl AsRef<std::path::Path>,
    namespace: NamespaceId,
) -> Result<Library, LinkerError> {
    linker.dlopen_ext(name, Flags::NOW, &ExtInfo { namespace: Some(namespace), ..ExtInfo::default() })
}

/// A library in a folder of its own.
fn inside(folder: &Folder, sub: &str, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    std::fs::create_dir_all(folder.file(sub)).unwrap();
    let search = format!("-L{}", folder.file(sub).display());
    folder.library(&format!("{sub}/{name}"), source, &[&[search.as_str()], arguments].concat())
}

const COUNTER: &str = "static long n; long next(void) { return ++n; }";

fn next(library: &Library) -> i64 {
    call(library.symbol("next").unwrap())
}

fn each_has_its_own_copy() {
    let folder = Folder::new();
    let path = inside(&folder, "one", "libcounter.so", COUNTER, &[]);
    let linker = Linker::new();
    let other = linker.create_namespace(config("other", &[], false)).unwrap();
    let (a, b) = (linker.dlopen(&path, Flags::NOW).unwrap(), open(&linker, &path, other).unwrap());
    assert_ne!(a.id(), b.id());
    assert_eq!([next(&a), next(&a), next(&b)], [1, 2, 1]);
    assert_eq!(open(&linker, &path, other).unwrap().id(), b.id());
}

fn isolated_loads_from_its_folders_only() {
    let folder = Folder::new();
    inside(&folder, "own", "libown.so", COUNTER, &[]);
    let strange = inside(&folder, "strange", "libstrange.so", COUNTER, &[]);
    let linker = Linker::new();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    assert_eq!(next(&open(&linker, "libown.so", own).unwrap()), 1);
    let error = open(&linker, &strange, own).unwrap_err();
    let expected = format!(
        "library \"{}\" needed or dlopened by \"(unknown)\" is not accessible for the namespace \"own\"",
        strange.canonicalize().unwrap().display()
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(open(&linker, "libstrange.so", own), Err(LinkerError::NotFound { .. })));
}

fn permitted_folders() {
    let folder = Folder::new();
    let deep = inside(&folder, "permitted/deep", "libdeep.so", COUNTER, &[]);
    let linker = Linker::new();
    let permitted = vec![folder.file("permitted")];
    let own = NamespaceConfig { permitted_paths: permitted, ..config("own", &[], true) };
    let own = linker.create_namespace(own).unwrap();
    assert_eq!(next(&open(&linker, deep, own).unwrap()), 1);
    // They may be loaded from, and are not searched.
    assert!(open(&linker, "libdeep.so", linker.create_namespace(config("x", &[], true)).unwrap()).is_err());
}

fn exempt_libraries() {
    let folder = Folder::new();
    let strange = inside(&folder, "strange", "libstrange.so", COUNTER, &[]);
    let linker = Linker::new();
    let own = NamespaceConfig { exempt: vec!["libstrange.so".to_owned()], ..config("own", &[], true) };
    let own = linker.create_namespace(own).unwrap();
    assert_eq!(next(&open(&linker, strange, own).unwrap()), 1);
}

fn allowed_names() {
    let folder = Folder::new();
    let a = inside(&folder, "own", "liba.so", COUNTER, &[]);
    let b = inside(&folder, "own", "libb.so", COUNTER, &[]);
    let linker = Linker::new();
    let own = NamespaceConfig { allowed: vec!["liba.so".to_owned()], ..config("own", &[], false) };
    let own = linker.create_namespace(own).unwrap();
    assert!(open(&linker, a, own).is_ok());
    assert!(matches!(open(&linker, b, own), Err(LinkerError::Inaccessible { .. })));
}

fn link(to: NamespaceId, names: &[&str]) -> NamespaceLink {
    NamespaceLink { to, libraries: Some(names.iter().map(|name| (*name).to_owned()).collect()) }
}

fn links_are_followed_once() {
    let folder = Folder::new();
    inside(&folder, "public", "libpublic.so", COUNTER, &[]);
    inside(&folder, "public", "libprivate.so", COUNTER, &[]);
    inside(&folder, "far", "libfar.so", COUNTER, &[]);
    let user = inside(
        &folder,
        "own",
        "libuser.so",
        "long next(void); long get(void) { return next() + 10; }",
        &["-lpublic", &format!("-L{}", folder.file("public").display())],
    );
    let linker = Linker::new();
    let far = linker.create_namespace(config("far", &[folder.file("far")], true)).unwrap();
    let public = linker.create_namespace(config("public", &[folder.file("public")], true)).unwrap();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    linker.link_namespaces(own, link(public, &["libpublic.so"])).unwrap();
    linker.link_namespaces(public, link(far, &["libfar.so"])).unwrap();
    let user = open(&linker, user, own).unwrap();
    assert_eq!(call(user.symbol("get").unwrap()), 11);
    // One copy for both.
    assert_eq!(next(&open(&linker, "libpublic.so", public).unwrap()), 2);
    assert!(matches!(open(&linker, "libprivate.so", own), Err(LinkerError::NotFound { .. })));
    assert!(matches!(open(&linker, "libfar.so", own), Err(LinkerError::NotFound { .. })));
}

fn link_to_all_libraries() {
    let folder = Folder::new();
    inside(&folder, "public", "libpublic.so", COUNTER, &[]);
    let linker = Linker::new();
    let public = linker.create_namespace(config("public", &[folder.file("public")], true)).unwrap();
    let own = linker.create_namespace(config("own", &[], true)).unwrap();
    linker.link_namespaces(own, NamespaceLink { to: public, libraries: None }).unwrap();
    let a = open(&linker, "libpublic.so", own).unwrap();
    assert_eq!(a.id(), open(&linker, "libpublic.so", public).unwrap().id());
}

fn cyclic_links() {
    let folder = Folder::new();
    let linker = Linker::new();
    std::fs::create_dir_all(folder.file("one")).unwrap();
    inside(&folder, "two", "libtwo.so", "long two(void) { return 2; }", &[]);
    let two = format!("-L{}", folder.file("two").display());
    inside(
        &folder,
        "one",
        "libone.so",
        "long two(void); long one(void) { return two() + 1; }",
        &[&two, "-ltwo"],
    );
    let one = linker.create_namespace(config("one", &[folder.file("one")], true)).unwrap();
    let two = linker.create_namespace(config("two", &[folder.file("two")], true)).unwrap();
    linker.link_namespaces(one, link(two, &["libtwo.so"])).unwrap();
    linker.link_namespaces(two, link(one, &["libone.so"])).unwrap();
    let library = open(&linker, "libone.so", two).unwrap();
    assert_eq!(call(library.symbol("one").unwrap()), 3);
    assert!(matches!(open(&linker, "libthree.so", one), Err(LinkerError::NotFound { .. })));
}

fn shared_has_what_its_parent_has() {
    let folder = Folder::new();
    let before = inside(&folder, "one", "libbefore.so", COUNTER, &[]);
    let after = inside(&folder, "one", "libafter.so", COUNTER, &[]);
    let linker = Linker::new();
    let parent = linker.create_namespace(config("parent", &[folder.file("one")], false)).unwrap();
    let a = open(&linker, &before, parent).unwrap();
    let child = NamespaceConfig { shares: Some(parent), ..config("child", &[], true) };
    let child = linker.create_namespace(child).unwrap();
    assert_eq!(open(&linker, "libbefore.so", child).unwrap().id(), a.id());
    let b = open(&linker, &after, parent).unwrap();
    assert_eq!(open(&linker, "libafter.so", child).unwrap().id(), b.id());
}

fn symbols_are_of_the_own_group() {
    let folder = Folder::new();
    let who = |n: i64| format!("long who(void) {{ return {n}; }}");
    inside(&folder, "one", "libwho.so", &who(1), &[]);
    inside(&folder, "two", "libwho.so", &who(2), &[]);
    let user = "long who(void); long get(void) { return who(); }";
    for sub in ["one", "two"] {
        inside(&folder, sub, "libuser.so", user, &["-lwho"]);
    }
    let linker = Linker::new();
    let mut found = Vec::new();
    let mut keep = Vec::new();
    for sub in ["one", "two"] {
        let namespace = linker.create_namespace(config(sub, &[folder.file(sub)], true)).unwrap();
        let library = open(&linker, "libuser.so", namespace).unwrap();
        found.push(call(library.symbol("get").unwrap()));
        keep.push(library);
    }
    assert_eq!(found, [1, 2]);
}

fn global_inside_isolated() {
    let folder = Folder::new();
    inside(&folder, "own", "libgiven.so", "long given(void) { return 6; }", &[]);
    inside(&folder, "own", "libwants.so", "long given(void); long get(void) { return given(); }", &[]);
    let linker = Linker::new();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    let in_own = ExtInfo { namespace: Some(own), ..ExtInfo::default() };
    let _given = linker.dlopen_ext("libgiven.so", Flags::NOW.global(), &in_own).unwrap();
    assert_eq!(call(open(&linker, "libwants.so", own).unwrap().symbol("get").unwrap()), 6);
    // For that namespace only.
    assert!(linker.dlopen(folder.file("own/libwants.so"), Flags::NOW).is_err());
}

fn unload_across() {
    let folder = Folder::new();
    inside(&folder, "public", "libpublic.so", COUNTER, &[]);
    let public_folder = format!("-L{}", folder.file("public").display());
    inside(
        &folder,
        "own",
        "libuser.so",
        "long next(void); long get(void) { return next(); }",
        &[&public_folder, "-lpublic"],
    );
    let linker = Linker::new();
    let public = linker.create_namespace(config("public", &[folder.file("public")], true)).unwrap();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    linker.link_namespaces(own, link(public, &["libpublic.so"])).unwrap();
    let user = open(&linker, "libuser.so", own).unwrap();
    assert_eq!(linker.libraries().len(), 2);
    user.close();
    assert_eq!(linker.libraries().len(), 0);
}

/// What a library of another namespace needs for itself is nobody else's business.
fn hidden_child() {
    let folder = Folder::new();
    inside(&folder, "public", "libhidden.so", "long hidden(void) { return 1; }", &[]);
    inside(
        &folder,
        "public",
        "libpublic.so",
        "long hidden(void); long open_(void) { return hidden(); }",
        &["-lhidden"],
    );
    let public_folder = format!("-L{}", folder.file("public").display());
    let source = "long open_(void); __attribute__((weak)) long hidden(void);
        long get(void) { return open_() * 10 + (hidden != 0); }";
    inside(&folder, "own", "libuser.so", source, &[&public_folder, "-lpublic"]);
    let linker = Linker::new();
    let public = linker.create_namespace(config("public", &[folder.file("public")], true)).unwrap();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    linker.link_namespaces(own, link(public, &["libpublic.so"])).unwrap();
    let user = open(&linker, "libuser.so", own).unwrap();
    assert_eq!(call(user.symbol("get").unwrap()), 10);
    assert!(user.symbol("hidden").is_err());
}

/// `dlopen` by code of a library is of the namespace that it is in.
fn caller_decides() {
    let folder = Folder::new();
    let source = "#include <dlfcn.h>
        long get(void) { void *h = dlopen(\"libother.so\", RTLD_NOW); if (!h) return -1;
            return ((long (*)(void))dlsym(h, \"next\"))(); }";
    inside(&folder, "own", "libuser.so", source, &[]);
    inside(&folder, "own", "libother.so", COUNTER, &[]);
    let linker = Linker::new();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    let user = open(&linker, "libuser.so", own).unwrap();
    assert_eq!(call(user.symbol("get").unwrap()), 1);
    assert_eq!(next(&open(&linker, "libother.so", own).unwrap()), 2);
    assert!(linker.dlopen("libother.so", Flags::NOW).is_err());
}

/// Code that no library has: it calls what it is given with a name and flags.
#[cfg(target_arch = "x86_64")]
fn code_of_nobody() -> unsafe extern "C" fn(*const c_char, c_int, u64) -> *mut c_void {
    // sub rsp, 8; call rdx; add rsp, 8; ret
    const CODE: [u8; 11] = [0x48, 0x83, 0xEC, 8, 0xFF, 0xD2, 0x48, 0x83, 0xC4, 8, 0xC3];
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: new memory, which is filled with a function of this type.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        at.cast::<[u8; 11]>().write(CODE);
        std::mem::transmute(at)
    }
}

#[cfg(target_arch = "x86_64")]
fn anonymous() -> Outcome {
    let folder = Folder::new();
    let source = "#include <dlfcn.h>
        void *get(void) { return (void *)dlopen; }";
    inside(&folder, "own", "libhas.so", source, &[]);
    inside(&folder, "own", "libother.so", COUNTER, &[]);
    let linker = Linker::new();
    let own = linker.create_namespace(config("own", &[folder.file("own")], true)).unwrap();
    let dlopen = call(open(&linker, "libhas.so", own).unwrap().symbol("get").unwrap()).cast_unsigned();
    let open_as_nobody = || {
        // SAFETY: the code calls `dlopen`, which is given what it wants.
        let handle = unsafe { code_of_nobody()(c"libother.so".as_ptr(), libc::RTLD_NOW, dlopen) };
        !handle.is_null()
    };
    assert!(!open_as_nobody());
    linker.set_anonymous_namespace(own).unwrap();
    assert!(open_as_nobody());
    assert_eq!(next(&open(&linker, "libother.so", own).unwrap()), 1);
    Outcome::Passed
}

#[cfg(not(target_arch = "x86_64"))]
fn anonymous() -> Outcome {
    Outcome::Skipped("its code is for x86-64".to_owned())
}

fn names_are_unique() {
    let linker = Linker::new();
    linker.create_namespace(config("one", &[], false)).unwrap();
    let error = linker.create_namespace(config("one", &[], false)).unwrap_err();
    assert_eq!(error.to_string(), "there is already a namespace \"one\"");
}
