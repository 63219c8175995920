//! A host and two objects from anywhere: the patch between them, resolved, laid out, written. What is written
//! is read back by another reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livepatch_build::archives::Archives;
use livepatch_build::place::Layout;
use livepatch_build::process::{Process, Slot};
use livepatch_build::resolve::{Closure, Lookup, LookupError, Sources, resolve};
use livepatch_build::write::{self, BIAS, Bind, HEADERS, IMAGE_ALIGN};
use livepatch_fuzz::{edit, files, object};
use livepatch_object::address::RuntimeAddress;
use livepatch_object::architecture::Architecture;
use livepatch_object::host::Host;
use livepatch_object::relocatable::SectionKind;
use livepatch_proto::{
    Arch, BuildId, Hello, ModuleList, Origin, Os, Redirection, TlsReserve, Token, WireAddress, WireRange,
};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ObjectSymbol as _};

/// A process that has every second name.
struct Libraries;

impl Lookup for Libraries {
    fn addresses(&mut self, names: &[String]) -> Result<Vec<Option<RuntimeAddress>>, LookupError> {
        let at = |index: usize| RuntimeAddress(0x7F00_0000_0000 + 16 * index as u64);
        Ok((0..names.len()).map(|index| (index % 2 == 0).then(|| at(index))).collect())
    }
}

/// A process that runs the host, with room on both sides of it.
fn process(host: &Host) -> Option<Process> {
    let slide = 0x5555_0000_0000_u64;
    let extent = host.extent();
    let (start, end) = (slide.checked_add(extent.start.0)?, slide.checked_add(extent.end.0)?);
    let range = |start: u64, end: u64| WireRange { start: WireAddress(start), end: WireAddress(end) };
    let page = |at: u64| at & !0xFFF;
    let hello = Hello {
        token: Token([0; 32]),
        build_id: BuildId(host.build_id().to_vec()),
        arch: match host.architecture() {
            Architecture::X86_64 => Arch::X86_64,
            Architecture::Aarch64 => Arch::Aarch64,
        },
        os: Os::LinuxGnu,
        pid: 1,
        origin: Origin::Started,
        page_size: 0x1000,
        aslr_reference: WireAddress(slide.checked_add(host.entry().0)?),
        current: 0,
        redirection: Redirection::Entry,
        tls_reserve: Some(TlsReserve { tp_offset: -0x2000, size: 0x1000 }),
        free_ranges: vec![
            range(page(start.checked_sub(1 << 30)?), page(start)),
            range(page(end.checked_add(0xFFF)?), page(end.checked_add(1 << 30)?)),
        ],
        modules: ModuleList::default(),
    };
    Process::new(&hello, host).ok()
}

fuzz_target!(|data: &[u8]| {
    let Some([host, old, new]) = files(data) else { return };
    let (Ok(host), Some(old), Some(new)) = (Host::parse(host.to_vec()), object(old), object(new)) else {
        return;
    };
    let Some(mut process) = process(&host) else { return };
    let (live, diff) = edit(&old, &new, false);
    let Ok(mut archives) = Archives::open(&[]) else { return };
    let sources = Sources {
        host: &host,
        live: &live,
        archives: &mut archives,
        process: &mut Libraries,
        current: 0,
        tls_reserve: process.tls_reserve(),
        tls_reserve_used: 0,
        dynamic_tls: false,
    };
    let Ok(closure) = resolve(sources, &diff) else { return };
    let Ok(layout) = Layout::new(&closure, HEADERS) else { return };
    let Ok(start) = process.take_image_range(layout.length(), IMAGE_ALIGN) else { return };
    for redirected in &closure.redirected {
        let at = WireAddress(start.0);
        process.set_slot(redirected.entry, Slot { at, original: at, jump: None });
    }
    let Ok(addresses) = Libraries.addresses(&closure.process_names) else { return };
    let bind = Bind::new(&closure, &layout, &process, start, &addresses, &[]);
    let _ = write::thread_locals(&closure, &layout, &bind);
    if let Ok(file) = write::write(&closure, &layout, &bind) {
        check(&file, &closure, &layout, start);
    }
});

fn check(file: &[u8], closure: &Closure, layout: &Layout, start: RuntimeAddress) {
    let image = ElfFile64::<object::Endianness>::parse(file).expect("an ELF file");
    for section in image.sections() {
        section.data().expect("its bytes are in the file");
        let _ = section.name().expect("a name");
    }
    let link = start.0 - BIAS;
    let mut end = link;
    for segment in image.segments() {
        assert!(segment.address() >= end, "segments are in order, and apart");
        end = segment.address() + segment.size();
        let (offset, length) = segment.file_range();
        assert!(length <= segment.size() && offset % segment.align() == segment.address() % segment.align());
    }
    assert!(end <= link + layout.length());
    for symbol in image.symbols() {
        let section = symbol.section_index().expect("all are defined");
        let section = image.section_by_index(section).expect("its section");
        assert!((section.address()..=section.address() + section.size()).contains(&symbol.address()));
    }
    for (part, &at) in closure.parts.iter().zip(&layout.parts) {
        let object = &part.object.image;
        let kind = object.section(part.section).kind;
        let copied = matches!(kind, SectionKind::Text | SectionKind::ReadOnly | SectionKind::Data);
        if copied && object.relocations(part.section).is_empty() {
            let bytes = object.data(part.section);
            let segment = image.segments().find(|segment| {
                (segment.address()..segment.address() + segment.size()).contains(&(link + at))
            });
            let there = segment.and_then(|segment| segment.data_range(link + at, bytes.len() as u64).ok()?);
            assert!(bytes.is_empty() || there == Some(bytes), "what refers to nothing is as it was");
        }
    }
    check_frames(&image);
    // What the server itself makes of it, later.
    Host::parse(file.to_vec()).expect("an image to patch again");
}

/// The unwinder searches by halving.
fn check_frames(image: &ElfFile64<'_>) {
    let header = image.section_by_name(".eh_frame_hdr").expect("for unwinders").data().expect("its bytes");
    let word = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let count = usize::try_from(word(8)).expect("a count");
    assert_eq!(header.len(), 12 + 8 * count);
    assert!((1..count).all(|index| word(12 + 8 * (index - 1)) <= word(12 + 8 * index)), "{header:x?}");
}
