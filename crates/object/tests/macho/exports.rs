//! Exports of every kind. No linker that is installed writes all of them: a trie is written here, as Apple's header
//! describes it, and llvm-objdump must see in it what is seen here.

use crate::build::{Folder, Way, link, read, tools};
use crate::differential;
use crate::objdump;
use crate::older::{commands, get, put};
use livepatch_object::address::LinkAddress;
use livepatch_object::macho::{Export, ExportTarget, Image, Problem, Slice};

const DYLD_INFO: u32 = 0x8000_0022;
const SEGMENT: u32 = 0x19;

/// A node: what is said of the name that ends here, and its children.
struct Node {
    terminal: Vec<u8>,
    children: Vec<(&'static str, Node)>,
}

fn leaf(terminal: &[u8]) -> Node {
    Node { terminal: terminal.to_vec(), children: Vec::new() }
}

/// Numbers of one byte only, so that a node's size is known before its children are placed.
fn byte(number: usize) -> u8 {
    assert!(number < 0x80);
    number as u8
}

/// Children behind their parent, each edge a text and the child's offset, of two bytes always.
fn encode(node: &Node, out: &mut Vec<u8>) {
    out.push(byte(node.terminal.len()));
    out.extend(&node.terminal);
    out.push(byte(node.children.len()));
    let mut places = Vec::new();
    for (edge, _) in &node.children {
        out.extend(edge.as_bytes());
        out.push(0);
        places.push(out.len());
        out.extend([0, 0]);
    }
    for (place, (_, child)) in places.into_iter().zip(&node.children) {
        let at = out.len();
        out[place] = (at & 0x7f) as u8 | 0x80;
        out[place + 1] = byte(at >> 7);
        encode(child, out);
    }
}

/// An image with another trie, which is put behind everything else.
fn with_trie(image: &Image, trie: &[u8]) -> Vec<u8> {
    let mut bytes = image.bytes().to_vec();
    let end = bytes.len() as u32;
    bytes.extend(trie);
    let all = commands(&bytes);
    let info = all.iter().find(|at| get(&bytes, **at) == DYLD_INFO).copied().unwrap();
    put(&mut bytes, info + 40, end);
    put(&mut bytes, info + 44, trie.len() as u32);
    let linkedit = all.iter().rfind(|at| get(&bytes, **at) == SEGMENT).copied().unwrap();
    let size = bytes.len() as u32 - get(&bytes, linkedit + 40);
    put(&mut bytes, linkedit + 48, size);
    put(&mut bytes, linkedit + 32, size.next_multiple_of(0x1000));
    bytes
}

fn slice(image: &Image, bytes: Vec<u8>) -> Slice {
    Slice { architecture: image.header.architecture, offset: Default::default(), bytes: bytes.into() }
}

/// Every kind; and a name that is another's beginning, once as a node of its own, once by an edge without a text.
fn every_kind() -> Node {
    let node = |terminal: &[u8], children| Node { terminal: terminal.to_vec(), children };
    node(
        &[],
        vec![
            ("_code", node(&[0x00, 0x10], vec![("_more", leaf(&[0x04, 0x18]))])),
            ("_thread", leaf(&[0x01, 0x20])),
            ("_number", leaf(&[0x02, 0x2a])),
            // Flags, ordinal, name there: none, if it is the same.
            ("_same", leaf(&[0x08, 1, 0])),
            ("_other", leaf(&[0x08, 2, b'_', b'x', 0])),
            // Stub and resolver.
            ("_found", leaf(&[0x10, 0x30, 0x40])),
            ("_old", node(&[], vec![("", leaf(&[0x00, 0x50])), ("er", leaf(&[0x00, 0x58]))])),
        ],
    )
}

#[test]
fn every_kind_is_read_as_llvm_reads_it() {
    let tools = tools!();
    let folder = Folder::new();
    let image = read(&link(&folder, &tools, Way::DYLIB), None);
    let mut trie = Vec::new();
    encode(&every_kind(), &mut trie);
    let bytes = with_trie(&image, &trie);
    let file = folder.write("exports.dylib", &bytes);
    let changed = Image::read(&slice(&image, bytes)).unwrap();
    let at = |offset: u64| LinkAddress(changed.base().0 + offset);
    let reexport = |ordinal, name: &'static str| ExportTarget::Reexport { ordinal, name: name.into() };
    let expected = [
        ("_code", false, ExportTarget::Regular(at(0x10))),
        ("_code_more", true, ExportTarget::Regular(at(0x18))),
        ("_thread", false, ExportTarget::ThreadLocal(at(0x20))),
        ("_number", false, ExportTarget::Absolute(0x2a)),
        ("_same", false, reexport(1, "_same")),
        ("_other", false, reexport(2, "_x")),
        ("_found", false, ExportTarget::StubAndResolver { stub: at(0x30), resolver: at(0x40) }),
        ("_old", false, ExportTarget::Regular(at(0x50))),
        ("_older", false, ExportTarget::Regular(at(0x58))),
    ];
    let expected = expected.map(|(name, weak, target)| Export { name: name.into(), weak, target });
    let exports = changed.exports().unwrap();
    assert_eq!(exports.all().unwrap(), expected);
    for export in expected {
        assert_eq!(exports.find(&export.name).unwrap(), Some(export));
    }
    for name in ["", "_", "_cod", "_code_", "_olde", "_olders", "_nobody"] {
        assert_eq!(exports.find(name.as_bytes()).unwrap(), None, "{name}");
    }
    match objdump::program() {
        Ok(program) => {
            differential::compare(&program, &file, &changed, changed.header.architecture);
        }
        Err(why) => println!("skipped, the comparison with llvm-objdump: {why}"),
    }
}

/// The problem of a trie of these bytes.
fn problem(image: &Image, trie: &[u8]) -> Problem {
    let changed = Image::read(&slice(image, with_trie(image, trie))).unwrap();
    let exports = changed.exports().unwrap();
    // Looking for a name must end, too.
    let _ = exports.find(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    exports.all().unwrap_err()
}

#[test]
fn tries_that_make_no_sense_are_refused() {
    let tools = tools!();
    let folder = Folder::new();
    let image = read(&link(&folder, &tools, Way::DYLIB), None);
    let says = |trie: &[u8], what: &str| {
        let problem = problem(&image, trie).to_string();
        assert!(problem.contains(what), "{problem}");
    };
    // Nodes that lead to themselves, by an edge with a text and by one without.
    says(&[0, 1, b'a', 0, 0], "a node that is reached twice");
    says(&[0, 1, 0, 0], "a node that is reached twice");
    says(&[0, 1, b'a', 0, 0x7f], "ends early");
    says(&[9, 0, 0], "longer than the trie");
    says(&[0, 1, b'a'], "ends early");
    // A re-export of a library that there is not, flags that nobody knows.
    says(&[3, 0x08, 9, 0, 0], "library ordinal 9, but there are 3 libraries");
    says(&[2, 0x03, 0, 0], "a kind that is not known");
    // A chain of nodes, each with a name longer by one: together they would be much more than the file.
    let node = |number: usize| {
        let next = (number + 1) * 7;
        [0, 1, b'a', 0, next as u8 | 0x80, (next >> 7) as u8 | 0x80, (next >> 14) as u8]
    };
    let long: Vec<u8> = (0..9000).flat_map(node).chain([0, 0]).collect();
    says(&long, "more exported names than the file has room for");
}
