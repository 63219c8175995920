//! What `android_dlopen_ext` can be asked for, and libraries in archives.

use crate::build::{Folder, call, done};
use crate::cases::{Case, Outcome, cases};
use livepatch_linker::{ExtInfo, Flags, Linker, LinkerError, Reserved, SharedRelro, page_size};
use livepatch_object::address::RuntimeAddress;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const CASES: &[Case] = cases![
    dlext::nothing_asked_for,
    dlext::library_fd,
    dlext::library_fd_with_offset,
    dlext::offset_that_is_no_pages,
    dlext::offset_past_the_end,
    dlext::offset_without_fd,
    dlext::memory_file,
    dlext::force_load,
    dlext::archive_entry_by_absolute_path,
    dlext::archive_entry_by_runpath,
    dlext::archive_entry_by_search_path,
    dlext::archive_entry_that_is_compressed_or_not_aligned,
    dlext::reserved_address,
    dlext::reserved_address_too_small,
    dlext::reserved_address_as_hint,
    dlext::reserved_address_recursive,
    dlext::relro_is_protected,
    dlext::relro_shared,
    dlext::relro_written_by_a_child,
    dlext::relro_of_library_without,
];

const SOURCE: &str = "long get(void) { return 9; }";

fn get(library: &livepatch_linker::Library) -> i64 {
    call(library.symbol("get").unwrap())
}

/// A file with a library at an offset.
fn padded(folder: &Folder, library: &Path, offset: usize) -> PathBuf {
    let path = folder.file("padded");
    let mut bytes = vec![0x55; offset];
    bytes.extend(std::fs::read(library).unwrap());
    std::fs::write(&path, bytes).unwrap();
    path
}

fn nothing_asked_for() {
    let folder = Folder::new();
    let path = folder.library("liba.so", SOURCE, &[]);
    assert_eq!(get(&Linker::new().dlopen_ext(path, Flags::NOW, &ExtInfo::default()).unwrap()), 9);
}

fn library_fd() {
    let folder = Folder::new();
    let file = File::open(folder.library("liba.so", SOURCE, &[])).unwrap();
    let ext_info = ExtInfo { library_fd: Some(file.as_fd()), ..ExtInfo::default() };
    assert_eq!(get(&Linker::new().dlopen_ext("any-name.so", Flags::NOW, &ext_info).unwrap()), 9);
}

fn library_fd_with_offset() {
    let folder = Folder::new();
    let offset = page_size();
    let path = padded(&folder, &folder.library("liba.so", SOURCE, &[]), offset as usize);
    let file = File::open(path).unwrap();
    let ext_info =
        ExtInfo { library_fd: Some(file.as_fd()), library_fd_offset: Some(offset), ..ExtInfo::default() };
    assert_eq!(get(&Linker::new().dlopen_ext("any-name.so", Flags::NOW, &ext_info).unwrap()), 9);
}

fn with_offset(offset: u64) -> LinkerError {
    let folder = Folder::new();
    let file = File::open(folder.library("liba.so", SOURCE, &[])).unwrap();
    let ext_info =
        ExtInfo { library_fd: Some(file.as_fd()), library_fd_offset: Some(offset), ..ExtInfo::default() };
    Linker::new().dlopen_ext("liba.so", Flags::NOW, &ext_info).unwrap_err()
}

fn offset_that_is_no_pages() {
    let text = "file offset for the library \"liba.so\" is not page-aligned: 17";
    assert_eq!(with_offset(17).to_string(), text);
}

fn offset_past_the_end() {
    let error = with_offset(1 << 30).to_string();
    assert!(
        error.starts_with("file offset for the library \"liba.so\" >= file size: 1073741824 >= "),
        "{error}"
    );
}

fn offset_without_fd() {
    let ext_info = ExtInfo { library_fd_offset: Some(0), ..ExtInfo::default() };
    let error = Linker::new().dlopen_ext("liba.so", Flags::NOW, &ext_info).unwrap_err();
    assert!(matches!(error, LinkerError::OffsetWithoutFile), "{error}");
}

fn memory_file() {
    let folder = Folder::new();
    let bytes = std::fs::read(folder.library("liba.so", SOURCE, &[])).unwrap();
    let mut file = File::from(rustix::fs::memfd_create("library", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&bytes).unwrap();
    let ext_info = ExtInfo { library_fd: Some(file.as_fd()), ..ExtInfo::default() };
    assert_eq!(get(&Linker::new().dlopen_ext("memfd", Flags::NOW, &ext_info).unwrap()), 9);
}

fn force_load() {
    let folder = Folder::new();
    let path = folder.library("liba.so", "static long n; long next(void) { return ++n; }", &[]);
    let linker = Linker::new();
    let one = linker.dlopen(&path, Flags::NOW).unwrap();
    let forced = ExtInfo { force_load: true, ..ExtInfo::default() };
    // Under its own name the loaded one is meant; by path, the file.
    let two = linker.dlopen_ext(&path, Flags::NOW, &forced).unwrap();
    assert_ne!(one.id(), two.id());
    let all = [&one, &one, &two].map(|library| call(library.symbol("next").unwrap()));
    assert_eq!(all, [1, 2, 1]);
}

/// An archive of stored entries, by Python: at a page's beginning, or compressed, or one byte off.
fn archive(folder: &Folder, library: &Path, how: &str) -> Option<PathBuf> {
    let path = folder.file("base.apk");
    let script = "
import sys, zipfile
archive, library, how, page = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
with zipfile.ZipFile(archive, 'w') as z:
    z.writestr('assets/first.txt', 'x' * 100)
    name = 'lib/x86_64/' + library.rsplit('/', 1)[1]
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if how == 'deflated' else zipfile.ZIP_STORED
    begins = z.fp.tell() + 30 + len(name) + 4
    padding = -begins % page + (1 if how == 'unaligned' else 0)
    info.extra = b'\\x35\\xd9' + padding.to_bytes(2, 'little') + bytes(padding)
    z.writestr(info, open(library, 'rb').read())
";
    let python = Command::new("python3").arg("--version").output().is_ok();
    python.then(|| {
        let page = page_size().to_string();
        done(Command::new("python3").arg("-c").arg(script).arg(&path).arg(library).arg(how).arg(page));
        path
    })
}

fn skipped() -> Outcome {
    Outcome::Skipped("there is no python3 to make an archive with".to_owned())
}

fn archive_entry_by_absolute_path() -> Outcome {
    let folder = Folder::new();
    let library = folder.library("liba.so", SOURCE, &[]);
    let Some(archive) = archive(&folder, &library, "stored") else { return skipped() };
    let linker = Linker::new();
    let opened = linker.dlopen(format!("{}!/lib/x86_64/liba.so", archive.display()), Flags::NOW).unwrap();
    assert_eq!(get(&opened), 9);
    assert!(opened.path().ends_with("base.apk!/lib/x86_64/liba.so"));
    let again = linker.dlopen(format!("{}!/lib/x86_64/liba.so", archive.display()), Flags::NOW).unwrap();
    assert_eq!(again.id(), opened.id());
    let error = linker.dlopen(format!("{}!/lib/libb.so", archive.display()), Flags::NOW).unwrap_err();
    assert!(error.to_string().ends_with("!/lib/libb.so\" not found"), "{error}");
    Outcome::Passed
}

fn archive_entry_by_runpath() -> Outcome {
    let folder = Folder::new();
    let library = folder.library("liba.so", SOURCE, &[]);
    let runpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/base.apk!/lib/x86_64";
    let user =
        folder.library("libuser.so", "long get(void); long user(void) { return get(); }", &["-la", runpath]);
    let Some(_) = archive(&folder, &library, "stored") else { return skipped() };
    let opened = Linker::new().dlopen(user, Flags::NOW).unwrap();
    assert_eq!(call(opened.symbol("user").unwrap()), 9);
    Outcome::Passed
}

fn archive_entry_by_search_path() -> Outcome {
    let folder = Folder::new();
    let library = folder.library("liba.so", SOURCE, &[]);
    let Some(archive) = archive(&folder, &library, "stored") else { return skipped() };
    let linker = Linker::builder().search_path(format!("{}!/lib/x86_64", archive.display())).build();
    assert_eq!(get(&linker.dlopen("liba.so", Flags::NOW).unwrap()), 9);
    Outcome::Passed
}

fn archive_entry_that_is_compressed_or_not_aligned() -> Outcome {
    let folder = Folder::new();
    let library = folder.library("liba.so", SOURCE, &[]);
    for (how, says) in [("deflated", "the entry is compressed"), ("unaligned", "not at a page")] {
        let Some(archive) = archive(&folder, &library, how) else { return skipped() };
        let path = format!("{}!/lib/x86_64/liba.so", archive.display());
        let error = Linker::new().dlopen(path, Flags::NOW).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    Outcome::Passed
}

/// Address space that nobody else uses.
fn reserve(size: u64) -> (RuntimeAddress, u64) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), size as usize, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    (RuntimeAddress(start as u64), size)
}

/// The same at a place that another process has chosen; none if it is taken here.
fn reserve_at(start: u64) -> Option<(RuntimeAddress, u64)> {
    const SIZE: u64 = 1 << 20;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let at = start as *mut libc::c_void;
    // SAFETY: a new mapping, and nothing else is replaced.
    let got = unsafe { libc::mmap(at, SIZE as usize, libc::PROT_NONE, flags, -1, 0) };
    (got == at).then_some((RuntimeAddress(start), SIZE))
}

fn reserved(size: u64) -> Reserved {
    let (start, size) = reserve(size);
    // SAFETY: just mapped, and told to nobody.
    unsafe { Reserved::new(start, size) }
}

fn reserved_address() {
    let folder = Folder::new();
    let (start, size) = reserve(1 << 20);
    // SAFETY: just mapped, and told to nobody.
    let reserved = unsafe { Reserved::new(start, size) };
    let ext_info = ExtInfo { reserved: Some(reserved), ..ExtInfo::default() };
    let library =
        Linker::new().dlopen_ext(folder.library("liba.so", SOURCE, &[]), Flags::NOW, &ext_info).unwrap();
    // There, or at the first address behind that is as aligned as the library asks for.
    let at = library.memory().unwrap().0;
    assert!(
        at >= start && at.0 < start.0 + (1 << 16) && at.0 + library.memory().unwrap().1 <= start.0 + size
    );
    assert_eq!(get(&library), 9);
}

fn reserved_address_too_small() {
    let folder = Folder::new();
    let ext_info = ExtInfo { reserved: Some(reserved(page_size())), ..ExtInfo::default() };
    let path = folder.library("liba.so", SOURCE, &[]);
    let error = Linker::new().dlopen_ext(&path, Flags::NOW, &ext_info).unwrap_err().to_string();
    assert!(error.starts_with(&format!("reserved address space {} smaller than ", page_size())), "{error}");
    assert!(
        error.ends_with(&format!(" bytes needed for \"{}\"", path.canonicalize().unwrap().display())),
        "{error}"
    );
}

fn reserved_address_as_hint() {
    let folder = Folder::new();
    let (start, size) = reserve(page_size());
    // SAFETY: just mapped, and told to nobody.
    let mut reserved = unsafe { Reserved::new(start, size) };
    reserved.hint = true;
    let ext_info = ExtInfo { reserved: Some(reserved), ..ExtInfo::default() };
    let library =
        Linker::new().dlopen_ext(folder.library("liba.so", SOURCE, &[]), Flags::NOW, &ext_info).unwrap();
    assert_ne!(library.memory().unwrap().0, start);
    assert_eq!(get(&library), 9);
}

fn reserved_address_recursive() {
    let folder = Folder::new();
    folder.library("liba.so", SOURCE, &[]);
    let source = "long get(void); long user(void) { return get(); }";
    let user = folder.library("libuser.so", source, &["-la", "-Wl,-rpath,$ORIGIN"]);
    let (start, size) = reserve(1 << 20);
    for recursive in [false, true] {
        // SAFETY: mapped above, and used by one library after the other.
        let mut reserved = unsafe { Reserved::new(start, size) };
        reserved.recursive = recursive;
        let ext_info = ExtInfo { reserved: Some(reserved), ..ExtInfo::default() };
        let linker = Linker::new();
        let library = linker.dlopen_ext(&user, Flags::NOW, &ext_info).unwrap();
        assert_eq!(call(library.symbol("user").unwrap()), 9);
        let inside = |library: &livepatch_linker::Library| {
            let at = library.memory().unwrap().0;
            at >= start && at.0 < start.0 + size
        };
        let others: Vec<bool> = linker.libraries().iter().map(inside).collect();
        assert_eq!(others, [true, recursive]);
    }
}

const RELRO: &str = "extern char **environ; void *const table[] = { &environ, (void *)table, 0 };
    long get(void) { return table[1] == table && table[0] == &environ; }";

/// The lines of `/proc/self/maps` that cover an address.
fn permissions(at: RuntimeAddress) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let covers = |line: &&str| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        number(start) <= at.0 && at.0 < number(end)
    };
    maps.lines().find(covers).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

fn relro_is_protected() {
    let folder = Folder::new();
    for (flags, arguments) in [(Flags::NOW, "-Wl,-z,relro,-z,now"), (Flags::LAZY, "-Wl,-z,relro,-z,lazy")] {
        let library = Linker::new().dlopen(folder.library("liba.so", RELRO, &[arguments]), flags).unwrap();
        assert_eq!(get(&library), 1);
        assert_eq!(permissions(library.symbol("table").unwrap()), "r--p", "{arguments}");
    }
}

fn relro_shared() {
    let folder = Folder::new();
    let path = folder.library("liba.so", RELRO, &["-Wl,-z,relro,-z,now"]);
    let shared = tempfile::tempfile().unwrap();
    let (start, size) = reserve(1 << 20);
    let load = |relro| {
        // SAFETY: mapped above, and used by one library after the other.
        let reserved = Some(unsafe { Reserved::new(start, size) });
        let ext_info = ExtInfo { reserved, relro, ..ExtInfo::default() };
        let library = Linker::new().dlopen_ext(&path, Flags::NOW, &ext_info).unwrap();
        assert_eq!(get(&library), 1);
        library
    };
    load(SharedRelro::Write(shared.as_fd())).close();
    assert!(shared.metadata().unwrap().len() >= page_size());
    let library = load(SharedRelro::Use(shared.as_fd()));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let at = library.symbol("table").unwrap().0 & !(page_size() - 1);
    let line = maps.lines().find(|line| line.starts_with(&format!("{at:x}-")) || line.contains("deleted"));
    // The file has no name any more, which is how it is known from the library's own.
    assert!(line.is_some_and(|line| line.contains("(deleted)")), "{maps}");
}

/// As Android's zygote has it: one process writes what is read-only of a library that others have at the same place.
fn relro_written_by_a_child() -> Outcome {
    const CHILD: &str = "LIVEPATCH_LINKER_RELRO_OF";
    const AT: &str = "LIVEPATCH_LINKER_RELRO_AT";
    let load = |path: &str, start: RuntimeAddress, size, relro| {
        // SAFETY: mapped by `reserve_at`, and used by this library only.
        let reserved = Some(unsafe { Reserved::new(start, size) });
        Linker::new()
            .dlopen_ext(path, Flags::NOW, &ExtInfo { reserved, relro, ..ExtInfo::default() })
            .unwrap()
    };
    if let (Ok(path), Ok(at)) = (std::env::var(CHILD), std::env::var(AT)) {
        let Some((start, size)) = reserve_at(at.parse().unwrap()) else { std::process::exit(3) };
        let mut options = File::options();
        let written = options.read(true).write(true).create(true).open(format!("{path}.relro")).unwrap();
        let library = load(&path, start, size, SharedRelro::Write(written.as_fd()));
        std::process::exit(if get(&library) == 1 { 0 } else { 4 });
    }
    let folder = Folder::new();
    // What refers to nobody else is the same in every process that has it at the same place.
    let source = "static int own; void *const table[] = { &own, (void *)table, 0 };
        long get(void) { return table[1] == table && table[0] == &own; }";
    let path = folder.library("liba.so", source, &["-nostdlib", "-Wl,-z,relro,-z,now"]);
    let path = path.to_str().unwrap();
    let (start, size) = reserve(1 << 20);
    let child = std::env::current_exe().unwrap();
    let status = Command::new(child).env(CHILD, path).env(AT, start.0.to_string()).status().unwrap();
    if status.code() == Some(3) {
        return Outcome::Skipped("the child has something else at that place".to_owned());
    }
    assert!(status.success(), "{status}");
    let written = File::open(format!("{path}.relro")).unwrap();
    assert!(written.metadata().unwrap().len() >= page_size());
    let library = load(path, start, size, SharedRelro::Use(written.as_fd()));
    assert_eq!(get(&library), 1);
    let at = library.symbol("table").unwrap().0 & !(page_size() - 1);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.starts_with(&format!("{at:x}-")));
    assert!(line.is_some_and(|line| line.ends_with(".relro")), "{maps}");
    Outcome::Passed
}

fn relro_of_library_without() {
    let folder = Folder::new();
    let path = folder.library("liba.so", SOURCE, &["-Wl,-z,norelro"]);
    let shared = tempfile::tempfile().unwrap();
    let ext_info = ExtInfo { relro: SharedRelro::Write(shared.as_fd()), ..ExtInfo::default() };
    assert_eq!(get(&Linker::new().dlopen_ext(path, Flags::NOW, &ext_info).unwrap()), 9);
    assert_eq!(shared.metadata().unwrap().len(), 0);
}
