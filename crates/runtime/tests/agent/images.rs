//! Patch images: pre-linked shared objects beside the program.

use crate::plan::{PUSH_MOV, Plan, Symbols};
use crate::support::{Folder, Program, compile};
use livepatch_proto::{ApplyError, Image, ImageSource, Patch, WireAddress};
use std::process::Command;

/// The image's code: x + 4000, as the first bytes of its executable segment.
const SOURCE: &str = r#"
__attribute__((section(".text.first"))) long patched(long x) { return x + 4000; }
"#;

struct Built {
    bytes: Vec<u8>,
    image: Image,
    /// Run-time address of `patched`.
    function: u64,
}

/// Links an image for `start`, which is a multiple of 0x2000, and gives it a load bias of 0x1000.
fn build(folder: &Folder, start: u64) -> Option<Built> {
    let (source, linked) = (folder.0.join("image.c"), folder.0.join("linked.so"));
    std::fs::write(&source, SOURCE).expect("a source file");
    compile(
        Command::new("gcc")
            .args([
                "-O1",
                "-shared",
                "-fPIC",
                "-nostdlib",
                "-Wl,-z,max-page-size=0x1000",
                "-Wl,--build-id=none",
            ])
            .arg(format!("-Wl,-Ttext-segment={:#x}", start - BIAS))
            .arg("-o")
            .arg(&linked)
            .arg(&source),
    )?;
    let (bytes, length, function) = with_bias(&std::fs::read(&linked).expect("it was linked"));
    let path = folder.0.join(format!("image-{start:x}.so"));
    std::fs::write(&path, &bytes).expect("an image");
    let source =
        ImageSource::Path { path: path.to_str().expect("a path").to_owned(), length: bytes.len() as u64 };
    let image = Image { source, bias: BIAS, start: WireAddress(start), length };
    Some(Built { bytes, image, function: function + BIAS })
}

const BIAS: u64 = 0x1000;

/// Moves the file's contents by a page and raises the segments' alignment, so that the dynamic linker
/// has to align the address it asked for. Also the image's length and the link-time address of its code.
fn with_bias(elf: &[u8]) -> (Vec<u8>, u64, u64) {
    let word = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().expect("eight bytes"));
    let (headers, count) = (word(32) as usize, usize::from(elf[56]));
    let mut moved = elf[..headers + count * 56].to_vec();
    moved.resize(BIAS as usize, 0);
    moved.extend_from_slice(elf);
    let mut put = |at: usize, value: u64| moved[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let (mut start, mut end, mut code) = (u64::MAX, 0, 0);
    for header in (headers..headers + count * 56).step_by(56) {
        put(header + 8, word(header + 8) + BIAS);
        if elf[header] == 1 {
            put(header + 48, 0x2000);
            let address = word(header + 16);
            (start, end) = (start.min(address), end.max(address + word(header + 40)));
            if elf[header + 4] & 1 == 1 {
                code = address;
            }
        }
    }
    // No section headers.
    put(40, 0);
    moved[60..64].fill(0);
    (moved, end - start, code)
}

fn image_patch(program: &Program, built: &Built, number: u32) -> Patch {
    let mut patch = program.server.patch(number);
    patch.images = vec![built.image.clone()];
    patch
}

/// A free place below the program, and one above that is nearer to its end.
fn place(program: &Program, n: u64) -> u64 {
    let below = program.server.hello.free_ranges[0];
    (below.end.0 - 0x10_0000 * (n + 1)) & !0x1fff
}

#[test]
fn an_image_is_loaded_where_it_was_made_for() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 1, 64);
    let Some(built) = build(&program.folder, place(&program, 0)) else { return };
    let mut patch = image_patch(&program, &built, 1);
    patch.island_pages.clone_from(&plan.pages);
    plan.add(&mut patch, 0..1, built.function);
    let times = program.server.apply(patch).expect("the patch applies");
    println!("{times:?}");
    assert_eq!(program.ask("call 0 push_mov"), "4005");
    program.server.roll_back(1, 0, vec![plan.set(0, plan.original(0))]).expect("rolls back");
    assert_eq!(program.ask("call 0 push_mov"), "1005");
    assert!(program.finish().success());
}

#[test]
fn images_arrive_in_messages_too() {
    let Some(mut program) = Program::start() else { return };
    let symbols = Symbols::of(&mut program);
    let plan = Plan::new(PUSH_MOV, &symbols, &program.server, 2, 64);
    // Two: the second must not be taken for the first.
    for number in 1..=2 {
        let Some(built) = build(&program.folder, place(&program, number)) else { return };
        let mut patch = image_patch(&program, &built, number as u32);
        let hash = built.bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let mut damaged = patch.clone();
        let source = |hash| ImageSource::Bytes { bytes: built.bytes.clone(), hash };
        damaged.images[0].source = source(hash ^ 1);
        let error = program.server.apply(damaged).expect_err("the hash is wrong");
        assert!(matches!(error, ApplyError::ImageRejected { .. }), "{error}");
        patch.images[0].source = source(hash);
        if number == 1 {
            patch.island_pages.clone_from(&plan.pages);
        }
        plan.add(&mut patch, number - 1..number, built.function);
        program.server.apply(patch).expect("the patch applies");
        assert_eq!(program.ask(&format!("call {} push_mov", number - 1)), "4005");
    }
    assert!(program.finish().success());
}

#[test]
fn an_image_that_does_not_fit_leaves_nothing_behind() {
    let Some(mut program) = Program::start() else { return };
    let Some(built) = build(&program.folder, place(&program, 0)) else { return };
    let before = program.ask("mappings");
    let mut refused = |change: &dyn Fn(&mut Patch)| {
        let mut patch = image_patch(&program, &built, 1);
        change(&mut patch);
        let error = program.server.apply(patch).expect_err("the patch must not apply");
        println!("{error}");
        assert_eq!(program.ask("mappings"), before);
        error
    };
    fn image(patch: &mut Patch) -> &mut Image {
        patch.images.first_mut().expect("an image")
    }
    let error = refused(&|patch| image(patch).bias = 0);
    let ApplyError::ImagePlacedElsewhere { bias: BIAS, free_ranges } = error else { panic!("{error}") };
    assert!(!free_ranges.is_empty());
    for change in [
        &(|patch: &mut Patch| image(patch).start.0 += 0x1000) as &dyn Fn(&mut Patch),
        &|patch| image(patch).length += 0x1000,
        &|patch| image(patch).source = ImageSource::Path { path: "/nowhere/x.so".into(), length: 1 },
        &|patch| image(patch).source = ImageSource::Path { path: "/proc/self/exe".into(), length: 1 },
        &|patch| image(patch).source = ImageSource::Bytes { bytes: vec![1, 2, 3], hash: 0xd0_4f8d_1904_9cd7 },
    ] {
        let error = refused(change);
        assert!(matches!(error, ApplyError::ImageRejected { .. }), "{error}");
    }
    // A later step fails: the image goes too.
    let error = refused(&|patch| {
        patch.slots.push(livepatch_proto::SlotSet {
            slot: WireAddress(8),
            target: WireAddress(8),
            jump: None,
        })
    });
    assert!(matches!(error, ApplyError::BadAddress { .. }), "{error}");
    let patch = image_patch(&program, &built, 1);
    program.server.apply(patch).expect("the patch applies");
    // The same file again is no new image.
    let again = image_patch(&program, &built, 2);
    let error = program.server.apply(again).expect_err("it is loaded already");
    assert!(matches!(error, ApplyError::ImageRejected { .. }), "{error}");
    assert!(program.finish().success());
}
