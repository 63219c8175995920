//! From a patch as it was sent to what will be done: checks, no effects.
//!
//! In two halves, since what the second refers to is there only once the first has passed and the
//! image is loaded.

use super::address::{
    CodeAddress, CodeWord, Ground, Island, IslandAddress, IslandJump, IslandKind, SlotAddress, Span, Target,
    check_island,
};
use super::entry;
use super::memory::CodePages;
use super::tls;
use super::trap_table::Continuation;
use livepatch_proto::{ApplyError, Patch, Redirect, Redirected, Shim, SlotSet, Stage, Trap, TrapTarget};

/// Pages of a segment this far apart are opened in one system call: cheaper than two.
const BRIDGED: u64 = 64 * super::address::PAGE;

/// One store to live code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Store {
    /// The bytes that `mask` selects.
    Word {
        at: CodeWord,
        new: u64,
        mask: u64,
    },
    Byte {
        at: CodeAddress,
        byte: u8,
    },
}

impl Store {
    fn address(self) -> CodeAddress {
        match self {
            Self::Word { at, .. } => at.address(),
            Self::Byte { at, .. } => at,
        }
    }
}

/// How live code will be changed.
#[derive(Default, Debug)]
pub(crate) struct CodeChange {
    /// Stores by stage; all cores are synchronized after each.
    pub(crate) stages: Vec<Vec<Store>>,
    /// The pages they are on, ascending.
    pub(crate) pages: Vec<CodePages>,
    /// Whether trapping opcodes replace opcodes that threads may come to meanwhile.
    pub(crate) traps: bool,
    /// Whether a function passes through stages in which its entry traps.
    pub(crate) bytes: bool,
}

/// Checks redirections against the code as it is, which `read` reads.
///
/// Bytes that a redirection does not expect anything of are not changed, even where they share a word
/// with ones that are: they may be a neighbour's entry.
pub(crate) fn plan_code(
    redirects: &[Redirect],
    ground: &Ground,
    read: impl Fn(CodeAddress) -> Vec<u8>,
) -> Result<CodeChange, ApplyError> {
    let mut change = CodeChange::default();
    let mut windows = Vec::with_capacity(redirects.len());
    for redirect in redirects {
        CodeAddress::check(redirect.entry, 1, ground, "redirected: no loaded code is there")?;
        let known = check_expected(redirect, ground, &read)?;
        let mut changed: Option<Span> = None;
        for (index, stage) in redirect.stages.iter().enumerate() {
            if change.stages.len() <= index {
                change.stages.push(Vec::new());
            }
            let stores = plan_stage(stage, &known, ground)?;
            change.traps |= matches!(stage, Stage::Word { store } if store.traps != 0);
            change.bytes |= matches!(stage, Stage::Bytes { .. });
            for (store, window) in stores {
                change.stages[index].push(store);
                changed =
                    Some(changed.map_or(window, |span| Span::through(span.min(window), span.max(window))));
            }
        }
        windows.extend(changed);
    }
    windows.sort_unstable();
    if let Some(pair) = windows.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
        return Err(invalid(format!("two redirections change {:#x}", pair[1].start())));
    }
    change.traps |= change.bytes;
    change.pages = pages_of(change.stages.iter().flatten());
    Ok(change)
}

/// The bytes of a redirection's function that are known, and are as they should be.
fn check_expected(
    redirect: &Redirect,
    ground: &Ground,
    read: &impl Fn(CodeAddress) -> Vec<u8>,
) -> Result<Vec<(Span, Vec<u8>)>, ApplyError> {
    let mut known = Vec::with_capacity(redirect.expected.len());
    for expected in &redirect.expected {
        let length = expected.bytes.len() as u64;
        let at = CodeAddress::check(expected.at, length, ground, "compared: no loaded code is there")?;
        let found = read(at);
        if found != expected.bytes {
            let expected_bytes = expected.bytes.clone();
            return Err(ApplyError::CodeDiffers { address: expected.at, expected: expected_bytes, found });
        }
        known.push((at.span(), found));
    }
    Ok(known)
}

/// A stage's stores, each with the bytes from the first to the last that it changes.
fn plan_stage(
    stage: &Stage,
    known: &[(Span, Vec<u8>)],
    ground: &Ground,
) -> Result<Vec<(Store, Span)>, ApplyError> {
    let old = |at: u64| {
        known.iter().find_map(|(span, bytes)| {
            bytes.get(usize::try_from(at.checked_sub(span.start())?).ok()?).copied()
        })
    };
    match stage {
        Stage::Word { store } => {
            let at = CodeWord::check(store.at, ground)?;
            let mut mask = [0; 8];
            let mut window: Option<Span> = None;
            for ((address, mask), new) in
                (at.address().span().start()..).zip(&mut mask).zip(store.new.to_le_bytes())
            {
                let Some(old) = old(address) else { continue };
                *mask = 0xff;
                if old != new {
                    let byte = Span::new(address, 1);
                    window = window.zip(byte).map(|(window, byte)| window.through(byte)).or(byte);
                }
            }
            let window =
                window.ok_or_else(|| invalid(format!("the store to {} changes nothing", store.at)))?;
            Ok(vec![(Store::Word { at, new: store.new, mask: u64::from_le_bytes(mask) }, window)])
        }
        Stage::Bytes { writes } => writes
            .iter()
            .map(|write| {
                let at = CodeAddress::check(write.at, 1, ground, "changed: no loaded code is there")?;
                if old(write.at.0).is_none() {
                    return Err(invalid(format!("what was at {} is not said", write.at)));
                }
                Ok((Store::Byte { at, byte: write.byte }, at.span()))
            })
            .collect(),
    }
}

/// The pages that stores are on; joined where it takes fewer system calls.
fn pages_of<'a>(stores: impl Iterator<Item = &'a Store>) -> Vec<CodePages> {
    let mut touched: Vec<_> =
        stores.map(|store| (store.address().span().pages(), store.address().segment())).collect();
    touched.sort_unstable_by_key(|&(span, _)| span);
    touched.dedup_by(|(next, segment), (previous, before)| {
        let joined = segment == before && next.start() <= previous.end() + BRIDGED;
        if joined {
            *previous = previous.through(*next);
        }
        joined
    });
    touched.into_iter().map(|(span, segment)| CodePages { span, writable: segment.writable }).collect()
}

/// Islands that a patch brings. Whether their pages are free is for the kernel to say.
pub(crate) fn plan_islands(patch: &Patch) -> Result<Vec<Island>, ApplyError> {
    let islands = patch.island_pages.iter().map(check_island).collect::<Result<Vec<_>, _>>()?;
    disjoint(islands.iter().map(|island| island.span))?;
    Ok(islands)
}

/// What is written and pointed where, once the image is loaded and the islands are mapped.
#[derive(Debug)]
pub(crate) struct Links<'a> {
    pub(crate) writes: Vec<(IslandAddress, &'a [u8])>,
    /// Pages of earlier patches among them that hold code, ascending.
    pub(crate) reopened: Vec<CodePages>,
    pub(crate) traps: Vec<(u64, Continuation)>,
    /// Where slots point while code is changed; empty if they are set at once.
    pub(crate) settle: Vec<(SlotAddress, Target)>,
    /// Where slots point once the patch is live.
    pub(crate) slots: Vec<(SlotAddress, Target)>,
    /// The functions that are redirected for the first time.
    pub(crate) redirected: Vec<Redirected>,
    /// Jumps of islands past their slots.
    pub(crate) jumps: Jumps,
}

/// Jumps of islands that change together.
#[derive(Default, Debug)]
pub(crate) struct Jumps {
    pub(crate) stores: Vec<IslandJump>,
    /// The pages they are on, ascending.
    pub(crate) pages: Vec<CodePages>,
}

/// Checks what a patch writes to islands and tables. `ground` has its image and its islands, `fresh`.
pub(crate) fn plan_links<'a>(
    patch: &'a Patch,
    fresh: &[Island],
    ground: &Ground,
) -> Result<Links<'a>, ApplyError> {
    patch.tls.iter().try_for_each(tls::check)?;
    let writes = patch
        .island_writes
        .iter()
        .map(|write| {
            let at = IslandAddress::check(write.at, write.bytes.len() as u64, ground)?;
            Ok((at, write.bytes.as_slice()))
        })
        .collect::<Result<Vec<_>, ApplyError>>()?;
    disjoint(writes.iter().map(|(at, _)| at.span()))?;
    let traps = patch.traps.iter().map(|trap| plan_trap(trap, ground)).collect::<Result<_, _>>()?;
    let reopened = code_pages(writes.iter().map(|&(at, _)| at), fresh);
    let settle = plan_slots(&patch.settle, ground)?;
    if let Some(set) = patch.settle.iter().find(|set| !patch.slots.iter().any(|last| last.slot == set.slot)) {
        return Err(invalid(format!("the slot {} settles and is not set", set.slot)));
    }
    if let Some(set) = patch.settle.iter().find(|set| set.jump.is_some()) {
        return Err(invalid(format!("the slot {} settles, and a jump leads past it", set.slot)));
    }
    let redirected = patch.redirects.iter().map(|redirect| plan_redirected(redirect, ground));
    let redirected = redirected.collect::<Result<_, _>>()?;
    patch.shims.iter().try_for_each(|shim| check_shim(shim, ground))?;
    let slots = plan_slots(&patch.slots, ground)?;
    let jumps = plan_jumps(&patch.slots, ground)?;
    Ok(Links { writes, reopened, traps, settle, slots, redirected, jumps })
}

/// What a later session is told of a redirection.
fn plan_redirected(redirect: &Redirect, ground: &Ground) -> Result<Redirected, ApplyError> {
    let Redirect { entry, slot, original, jump, .. } = *redirect;
    SlotAddress::check(slot, ground)?;
    Target::check(original, ground)?;
    jump.map(|jump| IslandJump::check(jump, ground)).transpose()?;
    Ok(Redirected { entry, slot, original, jump })
}

/// A later session is told of it as it is.
fn check_shim(shim: &Shim, ground: &Ground) -> Result<(), ApplyError> {
    CodeAddress::check(shim.entry, 1, ground, "a shim's entry: no loaded code is there")?;
    SlotAddress::check(shim.slot, ground)?;
    Target::check(shim.kept, ground).map(drop)
}

/// Checks which jumps change with slots.
pub(crate) fn plan_jumps(slots: &[SlotSet], ground: &Ground) -> Result<Jumps, ApplyError> {
    let jumps = slots.iter().filter_map(|set| set.jump);
    let stores = jumps.map(|set| IslandJump::check(set, ground)).collect::<Result<Vec<_>, _>>()?;
    let pages = code_pages(stores.iter().map(|jump| jump.address()), &[]);
    Ok(Jumps { stores, pages })
}

/// Checks that jumps are where they are to be changed, once all islands are written.
pub(crate) fn confirm_jumps(
    jumps: &Jumps,
    read: impl Fn(IslandAddress) -> Vec<u8>,
) -> Result<(), ApplyError> {
    let wrong = jumps.stores.iter().find(|jump| !entry::is_jump(&read(jump.address())));
    wrong.map_or(Ok(()), |jump| {
        Err(invalid(format!("no island has a jump at {:#x}", jump.address().span().start())))
    })
}

/// The pages with code that are not fresh.
fn code_pages(addresses: impl Iterator<Item = IslandAddress>, fresh: &[Island]) -> Vec<CodePages> {
    let mut pages: Vec<Span> = addresses
        .filter(|at| at.kind() == IslandKind::Code)
        .filter(|at| !fresh.iter().any(|island| island.span.contains(at.span())))
        .map(|at| at.span().pages())
        .collect();
    pages.sort_unstable();
    pages.dedup_by(|next, previous| {
        let joined = next.start() <= previous.end();
        if joined {
            *previous = previous.through(*next);
        }
        joined
    });
    pages.into_iter().map(|span| CodePages { span, writable: false }).collect()
}

fn plan_trap(trap: &Trap, ground: &Ground) -> Result<(u64, Continuation), ApplyError> {
    let at = CodeAddress::check(trap.at, 1, ground, "a place to trap: no loaded code is there")?;
    let to = match trap.target {
        TrapTarget::Address { address } => Continuation::Address(Target::check(address, ground)?.get()),
        TrapTarget::Slot { slot } => Continuation::Slot(SlotAddress::check(slot, ground)?.get()),
    };
    Ok((at.span().start(), to))
}

/// Checks where slots will point.
pub(crate) fn plan_slots(
    slots: &[SlotSet],
    ground: &Ground,
) -> Result<Vec<(SlotAddress, Target)>, ApplyError> {
    slots
        .iter()
        .map(|set| Ok((SlotAddress::check(set.slot, ground)?, Target::check(set.target, ground)?)))
        .collect()
}

fn disjoint(spans: impl Iterator<Item = Span>) -> Result<(), ApplyError> {
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[0].overlaps(pair[1])) {
        Some(pair) => Err(invalid(format!("{:#x} is said twice", pair[1].start()))),
        None => Ok(()),
    }
}

fn invalid(detail: String) -> ApplyError {
    ApplyError::Invalid { detail }
}

#[cfg(test)]
mod tests {
    use super::super::address::CodeSegment;
    use super::*;
    use livepatch_proto::{ByteWrite, ExpectedBytes, WireAddress, WordStore};

    const BASE: u64 = 0x10000;

    fn ground() -> Ground {
        let segment =
            |start, length| CodeSegment { span: Span::new(start, length).expect("a range"), writable: false };
        Ground::new(vec![segment(BASE, 0x100_0000), segment(BASE + 0x100_0000, 0x1000)], Default::default())
    }

    /// Code whose bytes are their addresses' low bytes.
    fn read(at: CodeAddress) -> Vec<u8> {
        (at.span().start()..at.span().end()).map(|at| at as u8).collect()
    }

    fn expected(at: u64, length: u64) -> ExpectedBytes {
        ExpectedBytes { at: WireAddress(at), bytes: (at..at + length).map(|at| at as u8).collect() }
    }

    fn word(at: u64, known: ExpectedBytes) -> Redirect {
        let store = WordStore { at: WireAddress(at & !7), new: 0xeeee_eeee_eeee_eeee, traps: 0 };
        redirect(at, known, Stage::Word { store })
    }

    fn bytes(at: u64, known: ExpectedBytes) -> Redirect {
        let writes = vec![ByteWrite { at: WireAddress(at), byte: 0xcc }];
        redirect(at, known, Stage::Bytes { writes })
    }

    fn redirect(at: u64, known: ExpectedBytes, stage: Stage) -> Redirect {
        let nowhere = WireAddress(0);
        let (expected, stages) = (vec![known], vec![stage]);
        Redirect { entry: WireAddress(at), slot: nowhere, original: nowhere, jump: None, expected, stages }
    }

    #[test]
    fn only_known_bytes_are_changed() {
        let plan = plan_code(&[word(BASE + 3, expected(BASE + 3, 5))], &ground(), read).expect("a plan");
        let [Store::Word { mask, .. }] = plan.stages[0][..] else { panic!("one word") };
        assert_eq!(mask, 0xffff_ffff_ff00_0000);
        assert!(!plan.traps && !plan.bytes);
        assert!(plan_code(&[bytes(BASE + 8, expected(BASE, 8))], &ground(), read).is_err());
        assert!(plan_code(&[word(BASE + 8, expected(BASE, 8))], &ground(), read).is_err());
    }

    #[test]
    fn neighbours_may_share_a_word_but_not_a_byte() {
        let pair = |first, second| {
            let redirects =
                [word(BASE, expected(BASE, first)), word(BASE + second, expected(BASE + second, 8 - second))];
            plan_code(&redirects, &ground(), read)
        };
        assert!(pair(3, 3).is_ok());
        assert!(matches!(pair(4, 3), Err(ApplyError::Invalid { .. })));
    }

    #[test]
    fn stages_of_all_functions_go_together() {
        let mut redirects = [bytes(BASE, expected(BASE, 8)), word(BASE + 64, expected(BASE + 64, 8))];
        redirects[0].stages.push(redirects[0].stages[0].clone());
        let plan = plan_code(&redirects, &ground(), read).expect("a plan");
        assert_eq!(plan.stages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert!(plan.traps && plan.bytes);
    }

    #[test]
    fn near_pages_of_a_segment_are_opened_together() {
        let at = [BASE, BASE + 0x8000, BASE + 0x80_0000, BASE + 0xff_fff8, BASE + 0x100_0000];
        let redirects: Vec<_> = at.iter().map(|&at| word(at, expected(at, 8))).collect();
        let plan = plan_code(&redirects, &ground(), read).expect("a plan");
        let pages: Vec<_> = plan.pages.iter().map(|run| (run.span.start(), run.span.length())).collect();
        assert_eq!(
            pages,
            [
                (BASE, 0x9000),
                (BASE + 0x80_0000, 0x1000),
                (BASE + 0xff_f000, 0x1000),
                (BASE + 0x100_0000, 0x1000)
            ]
        );
    }

    #[test]
    fn the_first_difference_is_said() {
        let mut wrong = expected(BASE, 8);
        wrong.bytes[2] = 0xcc;
        let error = plan_code(&[word(BASE, wrong)], &ground(), read).expect_err("a breakpoint");
        let ApplyError::CodeDiffers { found, expected, .. } = error else { panic!("{error}") };
        assert_eq!((found[2], expected[2]), (2, 0xcc));
    }
}
