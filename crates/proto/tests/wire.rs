//! What is sent arrives; what is not a message is refused, never believed.

use livepatch_proto::codec::{MAX_TEXT, Reader};
use livepatch_proto::frame::{FrameError, MAX_PAYLOAD, Message, decode, receive, send};
use livepatch_proto::{
    ApplyError, Arch, BuildId, ByteWrite, Crash, DecodeError, ExpectedBytes, FromProcess, Generation, Hello,
    Image, ImageSource, IslandPage, Jump, JumpSet, LibraryPatch, LoadedModule, LogLevel, MAGIC, MemoryWrite,
    ModuleAddress, ModuleKey, ModuleList, ModuleTls, Origin, Os, PROTOCOL, Patch, Redirect, Redirected,
    Redirection, Shim, SlotSet, Stage, Times, TlsInit, TlsReserve, ToProcess, Token, Trap, TrapTarget, Wire,
    WireAddress, WireRange, WordStore,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn address() -> impl Strategy<Value = WireAddress> {
    any::<u64>().prop_map(WireAddress)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn ranges() -> impl Strategy<Value = Vec<WireRange>> {
    vec((address(), address()).prop_map(|(start, end)| WireRange { start, end }), 0..5)
}

fn module_key() -> impl Strategy<Value = ModuleKey> {
    (bytes().prop_map(BuildId), any::<u64>()).prop_map(|(build_id, bias)| ModuleKey { build_id, bias })
}

fn generation() -> impl Strategy<Value = Generation> {
    (any::<u64>(), any::<u64>()).prop_map(|(added, removed)| Generation { added, removed })
}

fn module_list() -> impl Strategy<Value = ModuleList> {
    let tls = prop_oneof![
        Just(ModuleTls::Absent),
        any::<i64>().prop_map(|tp_offset| ModuleTls::Static { tp_offset }),
        any::<u64>().prop_map(|module| ModuleTls::Dynamic { module }),
    ];
    let range = (address(), address()).prop_map(|(start, end)| WireRange { start, end });
    let module = (module_key(), range, tls, ".*").prop_map(|(key, range, tls, name)| LoadedModule {
        key,
        range,
        tls,
        name,
    });
    (generation(), vec(module, 0..3)).prop_map(|(generation, modules)| ModuleList { generation, modules })
}

fn slots() -> impl Strategy<Value = Vec<SlotSet>> {
    vec(
        (address(), address(), option::of(jump_set())).prop_map(|(slot, target, jump)| SlotSet {
            slot,
            target,
            jump,
        }),
        0..5,
    )
}

fn jump_set() -> impl Strategy<Value = JumpSet> {
    (address(), address()).prop_map(|(at, to)| JumpSet { at, to })
}

fn image_source() -> impl Strategy<Value = ImageSource> {
    let path = (".*", any::<u64>()).prop_map(|(path, length)| ImageSource::Path { path, length });
    let inline = (bytes(), any::<u64>()).prop_map(|(bytes, hash)| ImageSource::Bytes { bytes, hash });
    prop_oneof![path, inline]
}

fn image() -> impl Strategy<Value = Image> {
    (image_source(), any::<u64>(), address(), any::<u64>()).prop_map(|(source, bias, start, length)| Image {
        source,
        bias,
        start,
        length,
    })
}

fn library_patch() -> impl Strategy<Value = LibraryPatch> {
    let at = || any::<(u32, u64)>().prop_map(|(module, address)| ModuleAddress { module, address });
    let jumps = vec((at(), at()).prop_map(|(from, to)| Jump { from, to }), 0..4);
    let head = (any::<u32>(), any::<u32>(), bytes().prop_map(BuildId));
    (head, image_source(), any::<u64>(), any::<u64>(), jumps).prop_map(|(head, library, host, own, jumps)| {
        LibraryPatch {
            number: head.0,
            predecessor: head.1,
            build_id: head.2,
            library,
            host_anchor: host,
            library_anchor: own,
            jumps,
        }
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    let word = (address(), any::<u64>(), any::<u8>())
        .prop_map(|(at, new, traps)| Stage::Word { store: WordStore { at, new, traps } });
    let write = (address(), any::<u8>()).prop_map(|(at, byte)| ByteWrite { at, byte });
    prop_oneof![word, vec(write, 0..5).prop_map(|writes| Stage::Bytes { writes })]
}

fn redirect() -> impl Strategy<Value = Redirect> {
    let expected = (address(), bytes()).prop_map(|(at, bytes)| ExpectedBytes { at, bytes });
    (redirected(), vec(expected, 0..3), vec(stage(), 0..4)).prop_map(|(redirected, expected, stages)| {
        let Redirected { entry, slot, original, jump } = redirected;
        Redirect { entry, slot, original, jump, expected, stages }
    })
}

fn redirected() -> impl Strategy<Value = Redirected> {
    (address(), address(), address(), option::of(jump_set()))
        .prop_map(|(entry, slot, original, jump)| Redirected { entry, slot, original, jump })
}

fn shim() -> impl Strategy<Value = Shim> {
    (address(), address(), address()).prop_map(|(entry, slot, kept)| Shim { entry, slot, kept })
}

fn trap() -> impl Strategy<Value = Trap> {
    let target = prop_oneof![
        address().prop_map(|address| TrapTarget::Address { address }),
        address().prop_map(|slot| TrapTarget::Slot { slot }),
    ];
    (address(), target).prop_map(|(at, target)| Trap { at, target })
}

fn patch() -> impl Strategy<Value = Patch> {
    let page = (address(), any::<u64>(), any::<u8>()).prop_map(|(start, length, code)| IslandPage {
        start,
        length,
        code,
    });
    let write = (address(), bytes()).prop_map(|(at, bytes)| MemoryWrite { at, bytes });
    let init = (any::<u32>(), bytes()).prop_map(|(offset, bytes)| TlsInit { offset, bytes });
    let loaded = (vec(module_key(), 0..3), vec(image(), 0..3));
    let head = (any::<u32>(), any::<u32>(), bytes().prop_map(BuildId), loaded);
    let islands = (vec(page, 0..3), vec(write, 0..3), vec(trap(), 0..3));
    let rest = (vec(init, 0..3), slots(), slots(), vec(redirect(), 0..3), vec(shim(), 0..3));
    (head, islands, rest).prop_map(|(head, islands, rest)| Patch {
        number: head.0,
        predecessor: head.1,
        build_id: head.2,
        holds: head.3.0,
        images: head.3.1,
        island_pages: islands.0,
        island_writes: islands.1,
        traps: islands.2,
        tls: rest.0,
        settle: rest.1,
        slots: rest.2,
        redirects: rest.3,
        shims: rest.4,
    })
}

fn to_process() -> impl Strategy<Value = ToProcess> {
    prop_oneof![
        Just(ToProcess::Welcome),
        ".*".prop_map(|reason| ToProcess::Refused { reason }),
        (vec(".*", 0..5), option::of(module_key()))
            .prop_map(|(names, within)| ToProcess::Resolve { names, within }),
        Just(ToProcess::FreeRanges),
        patch().prop_map(|patch| ToProcess::Apply { patch }),
        (any::<u32>(), any::<u32>(), slots()).prop_map(|(to, from, slots)| ToProcess::Rollback {
            to,
            from,
            slots
        }),
        Just(ToProcess::Goodbye),
        Just(ToProcess::Redirections),
        generation().prop_map(|known| ToProcess::Modules { known }),
        vec(bytes().prop_map(BuildId), 0..3).prop_map(|libraries| ToProcess::Watch { libraries }),
        any::<u32>().prop_map(|ticket| ToProcess::Proceed { ticket }),
        library_patch().prop_map(|patch| ToProcess::ApplyLibrary { patch }),
        image_source().prop_map(|library| ToProcess::LoadLibrary { library }),
        Just(ToProcess::UnloadLibrary),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let origin = prop_oneof![
        Just(Origin::Started),
        Just(Origin::Dialled),
        any::<u32>().prop_map(|parent| Origin::Forked { parent })
    ];
    let redirection = prop_oneof![
        Just(Redirection::Entry),
        Just(Redirection::JumpTable),
        Just(Redirection::Unguarded),
        ".*".prop_map(|reason| Redirection::Unavailable { reason })
    ];
    let reserve = (any::<i64>(), any::<u32>()).prop_map(|(tp_offset, size)| TlsReserve { tp_offset, size });
    let arch = [Arch::X86_64, Arch::Aarch64, Arch::Arm, Arch::X86, Arch::Riscv64];
    let arch = proptest::sample::select(arch.to_vec());
    let os = [Os::LinuxGnu, Os::LinuxMusl, Os::Android, Os::MacOs, Os::Ios, Os::OtherUnix];
    let os = proptest::sample::select(os.to_vec());
    let head = (any::<[u8; 32]>().prop_map(Token), bytes().prop_map(BuildId), arch, any::<u32>(), origin);
    let rest =
        (any::<u32>(), address(), any::<u32>(), redirection, option::of(reserve), (ranges(), module_list()));
    (head, rest, os).prop_map(|(head, rest, os)| Hello {
        token: head.0,
        build_id: head.1,
        arch: head.2,
        os,
        pid: head.3,
        origin: head.4,
        page_size: rest.0,
        aslr_reference: rest.1,
        current: rest.2,
        redirection: rest.3,
        tls_reserve: rest.4,
        free_ranges: rest.5.0,
        modules: rest.5.1,
    })
}

fn apply_error() -> impl Strategy<Value = ApplyError> {
    prop_oneof![
        ".*".prop_map(|process| ApplyError::WrongBuild { process }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(current, predecessor)| ApplyError::OutOfOrder { current, predecessor }),
        ".*".prop_map(|detail| ApplyError::ImageRejected { detail }),
        (any::<u64>(), ranges())
            .prop_map(|(bias, free_ranges)| ApplyError::ImagePlacedElsewhere { bias, free_ranges }),
        (address(), ranges())
            .prop_map(|(address, free_ranges)| ApplyError::IslandOccupied { address, free_ranges }),
        (address(), bytes(), bytes()).prop_map(|(address, expected, found)| ApplyError::CodeDiffers {
            address,
            expected,
            found
        }),
        (address(), ".*").prop_map(|(address, purpose)| ApplyError::BadAddress { address, purpose }),
        any::<u32>().prop_map(|tracer| ApplyError::Traced { tracer }),
        any::<u32>().prop_map(|thread| ApplyError::TrapsBlocked { thread }),
        (".*", any::<u32>()).prop_map(|(call, errno)| ApplyError::System { call, errno }),
        ".*".prop_map(|detail| ApplyError::Invalid { detail }),
        module_key().prop_map(|module| ApplyError::ModuleGone { module }),
    ]
}

fn from_process() -> impl Strategy<Value = FromProcess> {
    let times = any::<[u64; 5]>().prop_map(|[check, map, islands, redirect, total]| Times {
        check,
        map,
        islands,
        redirect,
        total,
    });
    let level = prop_oneof![Just(LogLevel::Info), Just(LogLevel::Warning), Just(LogLevel::Error)];
    prop_oneof![
        hello().prop_map(|hello| FromProcess::Hello { hello }),
        vec(option::of(address()), 0..5).prop_map(|addresses| FromProcess::Resolved { addresses }),
        ranges().prop_map(|ranges| FromProcess::FreeRanges { ranges }),
        (any::<u32>(), times).prop_map(|(patch, times)| FromProcess::Applied { patch, times }),
        any::<u32>().prop_map(|to| FromProcess::RolledBack { to }),
        apply_error().prop_map(|error| FromProcess::Failed { error }),
        (level, ".*").prop_map(|(level, text)| FromProcess::Log { level, text }),
        (option::of(module_list()), ranges())
            .prop_map(|(list, free_ranges)| FromProcess::Modules { list, free_ranges }),
        any::<u32>().prop_map(|ticket| FromProcess::Loaded { ticket }),
        crash().prop_map(|crash| FromProcess::Crashed { crash }),
        (vec(redirected(), 0..5), vec(shim(), 0..5))
            .prop_map(|(functions, shims)| FromProcess::Redirections { functions, shims }),
        (any::<u64>(), address(), address(), ranges()).prop_map(|(bias, start, end, free_ranges)| {
            FromProcess::LibraryLoaded { bias, range: WireRange { start, end }, free_ranges }
        }),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    let who = (any::<[u8; 32]>().prop_map(Token), any::<[u32; 4]>(), any::<i32>());
    (who, address(), address(), address()).prop_map(|((token, numbers, code), pc, sp, bp)| {
        let [pid, parent, thread, signal] = numbers;
        Crash { token, pid, parent, thread, signal, code, pc, sp, bp }
    })
}

fn payload(message: &impl Wire) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.put(&mut bytes);
    bytes
}

/// A message arrives as it was sent, in one frame; no part of it is taken for the whole.
fn arrives<M: Message + PartialEq + std::fmt::Debug>(message: &M) -> Result<(), TestCaseError> {
    let mut stream = Vec::new();
    prop_assert!(send(&mut stream, message).is_ok());
    let mut rest = stream.as_slice();
    let received = receive::<M>(&mut rest, MAX_PAYLOAD).ok();
    prop_assert_eq!(received.as_ref(), Some(message));
    prop_assert!(rest.is_empty());

    let payload = payload(message);
    prop_assert!(payload.len() >= M::MIN);
    for n in 0..payload.len() {
        let cut = decode::<M>(&payload[..n]);
        prop_assert!(matches!(cut, Err(DecodeError::Truncated | DecodeError::TooLong)), "{n}: {cut:?}");
    }
    let longer = [payload.as_slice(), &[0]].concat();
    prop_assert_eq!(decode::<M>(&longer).err(), Some(DecodeError::TrailingBytes));
    Ok(())
}

proptest! {
    #[test]
    fn what_the_server_says_arrives(message in to_process()) {
        arrives(&message)?;
    }

    #[test]
    fn what_the_process_says_arrives(message in from_process()) {
        arrives(&message)?;
    }

    #[test]
    fn a_crash_is_framed_as_any_message(crash in crash()) {
        let mut sent = Vec::new();
        let framed = send(&mut sent, &FromProcess::Crashed { crash });
        prop_assert!(framed.is_ok());
        let frame = crash.frame();
        prop_assert_eq!(frame.as_slice(), sent);
    }

    #[test]
    fn noise_is_refused_without_harm(bytes in vec(any::<u8>(), 0..200)) {
        // Whatever is made of it has these very bytes.
        if let Ok(message) = decode::<ToProcess>(&bytes) {
            prop_assert_eq!(payload(&message), bytes.clone());
        }
        if let Ok(message) = decode::<FromProcess>(&bytes) {
            prop_assert_eq!(payload(&message), bytes);
        }
    }

    #[test]
    fn damage_is_refused_or_another_message(message in to_process(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = payload(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        prop_assert_ne!(decode::<ToProcess>(&bytes).ok(), Some(message));
    }
}

fn some_hello() -> Hello {
    Hello {
        token: Token([7; 32]),
        build_id: BuildId(vec![1, 2, 3]),
        arch: Arch::X86_64,
        os: Os::LinuxGnu,
        pid: 42,
        origin: Origin::Forked { parent: 41 },
        page_size: 4096,
        aslr_reference: WireAddress(0x5555_0000_1040),
        current: 3,
        redirection: Redirection::Entry,
        tls_reserve: Some(TlsReserve { tp_offset: -4096, size: 4032 }),
        free_ranges: vec![WireRange { start: WireAddress(0x1000), end: WireAddress(0x2000) }],
        modules: ModuleList {
            generation: Generation { added: 6, removed: 1 },
            modules: vec![LoadedModule {
                key: ModuleKey { build_id: BuildId(vec![9]), bias: 0x7000 },
                range: WireRange { start: WireAddress(0x7000), end: WireAddress(0x8000) },
                tls: ModuleTls::Dynamic { module: 2 },
                name: "x.so".into(),
            }],
        },
    }
}

/// The layout of protocol 1. Where this changes, `PROTOCOL` must.
#[test]
fn a_hello_is_laid_out_as_ever() {
    let bytes = payload(&FromProcess::Hello { hello: some_hello() });
    let expected: Vec<&[u8]> = vec![
        &[1],
        b"livepatc",
        &[1, 0, 0, 0],
        &[7; 32],
        &[3, 0, 0, 0, 1, 2, 3],
        &[1],
        &[1],
        &[42, 0, 0, 0],
        &[2, 41, 0, 0, 0],
        &[0, 16, 0, 0],
        &[0x40, 0x10, 0, 0, 0x55, 0x55, 0, 0],
        &[3, 0, 0, 0],
        &[1],
        &[1, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc0, 0x0f, 0, 0],
        &[1, 0, 0, 0],
        &[0, 0x10, 0, 0, 0, 0, 0, 0],
        &[0, 0x20, 0, 0, 0, 0, 0, 0],
        &[6, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0],
        &[1, 0, 0, 0, 9],
        &[0, 0x70, 0, 0, 0, 0, 0, 0],
        &[0, 0x70, 0, 0, 0, 0, 0, 0],
        &[0, 0x80, 0, 0, 0, 0, 0, 0],
        &[3, 2, 0, 0, 0, 0, 0, 0, 0],
        &[4, 0, 0, 0],
        b"x.so",
    ];
    assert_eq!(bytes, expected.concat());
}

/// A later protocol's hello is known for what it is, whatever follows the part that never changes; and
/// ours would be by it, since that part is where it is looked for.
#[test]
fn another_protocol_is_told_from_damage() {
    let ours = payload(&FromProcess::Hello { hello: some_hello() });
    for theirs in [0, PROTOCOL + 1, u32::MAX] {
        let mut bytes = ours.clone();
        bytes[9..13].copy_from_slice(&theirs.to_le_bytes());
        for rest in [0, 32, ours.len() - 13] {
            let hello = decode::<FromProcess>(&bytes[..13 + rest]);
            assert_eq!(hello, Err(DecodeError::OtherProtocol { theirs }));
        }
    }
    assert_eq!(ours[1..9], MAGIC);
    assert_eq!(ours[13..45], [7; 32]);
    let mut other = ours;
    other[1] ^= 1;
    assert_eq!(decode::<FromProcess>(&other), Err(DecodeError::NotLivepatch));
}

#[test]
fn counts_are_not_believed() {
    // Four billion names in a message of five bytes.
    let claim = [3, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(decode::<ToProcess>(&claim), Err(DecodeError::TooLong));
    // A list whose count fits its bytes, but not its elements' smallest size.
    let mut ranges = vec![3, 8, 0, 0, 0];
    ranges.extend_from_slice(&[0; 8 * 16 - 1]);
    assert_eq!(decode::<FromProcess>(&ranges), Err(DecodeError::TooLong));
    assert_eq!(decode::<ToProcess>(&[99]), Err(DecodeError::UnknownTag { of: "ToProcess", tag: 99 }));
    assert_eq!(decode::<ToProcess>(&[2, 1, 0, 0, 0, 0xff]), Err(DecodeError::NotUtf8));
}

#[test]
fn long_texts_are_cut_where_they_may_be() {
    let text = "ä".repeat(MAX_TEXT);
    let bytes = payload(&ToProcess::Refused { reason: format!("x{text}") });
    let Ok(ToProcess::Refused { reason }) = decode(&bytes) else { panic!("not read") };
    assert_eq!(reason.len(), MAX_TEXT - 1);
    assert!(text.starts_with(&reason[1..]));

    let mut too_long = Vec::new();
    ((MAX_TEXT + 1) as u32).put(&mut too_long);
    too_long.resize(4 + MAX_TEXT + 1, b'x');
    assert_eq!(String::take(&mut Reader::new(&too_long)), Err(DecodeError::TooLong));
}

#[test]
fn frames_keep_to_the_limit() {
    let mut stream = Vec::new();
    assert!(send(&mut stream, &FromProcess::Hello { hello: some_hello() }).is_ok());
    let length = stream.len() - 4;
    assert!(receive::<FromProcess>(&mut stream.as_slice(), length).is_ok());
    let refused = receive::<FromProcess>(&mut stream.as_slice(), length - 1);
    assert!(matches!(refused, Err(FrameError::TooLong { length: claimed }) if claimed == length as u64));
    let huge = (MAX_PAYLOAD as u32 + 1).to_le_bytes();
    assert!(matches!(receive::<FromProcess>(&mut &huge[..], usize::MAX), Err(FrameError::TooLong { .. })));
}

#[test]
fn the_end_between_frames_is_no_error_inside_one_it_is() {
    let mut stream = Vec::new();
    assert!(send(&mut stream, &ToProcess::Resolve { names: vec!["malloc".into()], within: None }).is_ok());
    for n in 0..stream.len() {
        let cut = receive::<ToProcess>(&mut &stream[..n], MAX_PAYLOAD);
        match n {
            0 => assert!(matches!(cut, Err(FrameError::Closed))),
            _ => assert!(matches!(cut, Err(FrameError::Io(_))), "{n}: {cut:?}"),
        }
    }
}

#[test]
fn tokens_are_compared_whole_and_read_strictly() {
    let token = Token(std::array::from_fn(|i| i as u8 * 7));
    assert_eq!(Token::from_hex(&token.to_hex()), Some(token));
    let mut other = token;
    other.0[31] ^= 1;
    assert!(token.matches(&token) && !token.matches(&other));
    for text in ["", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"+0".repeat(32), &"ä".repeat(32)] {
        assert_eq!(Token::from_hex(text), None, "{text}");
    }
    assert_eq!(format!("{token:?}"), "Token(…)");
}
