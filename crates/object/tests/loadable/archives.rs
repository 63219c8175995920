//! Entries of ZIP archives, as Python's `zipfile` writes them.

use livepatch_object::loadable::archive_entry::{ArchiveError, find, locate, names};
use std::process::Command;

#[test]
fn entries_that_python_writes() {
    let script = "
import sys, zipfile, io
b = io.BytesIO()
with zipfile.ZipFile(b, 'w') as z:
    z.comment = b'PK\\x05\\x06 in a comment'
    z.writestr('one.txt', b'first')
    z.writestr(zipfile.ZipInfo('lib/x.so'), b'y' * 5000)
    z.writestr('packed.so', b'z' * 5000, zipfile.ZIP_DEFLATED)
sys.stdout.buffer.write(b.getvalue())";
    let Ok(output) = Command::new("python3").arg("-c").arg(script).output() else {
        println!("skipped: there is no python3");
        return;
    };
    let archive = output.stdout;
    let listed: Vec<_> = names(&archive).unwrap().into_iter().map(String::from_utf8_lossy).collect();
    assert_eq!(listed, ["one.txt", "lib/x.so", "packed.so"]);
    let stored = locate(&archive, b"lib/x.so").unwrap();
    assert_eq!(stored.size, 5000);
    let start = stored.offset.0 as usize;
    assert!(archive[start..start + 5000].iter().all(|&byte| byte == b'y'));
    assert_eq!(find(&archive, b"lib/x.so", 1), Ok(stored));
    let page = ArchiveError::NotAligned { offset: stored.offset.0, page: 4096 };
    assert_eq!(find(&archive, b"lib/x.so", 4096), Err(page));
    assert_eq!(locate(&archive, b"packed.so"), Err(ArchiveError::Compressed));
    assert_eq!(locate(&archive, b"none"), Err(ArchiveError::NoEntry));
    for length in 0..archive.len().min(400) {
        let _ = (names(&archive[..length]), locate(&archive[..length], b"one.txt"));
    }
}
