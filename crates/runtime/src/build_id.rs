//! Build ids in the notes of a module.

/// The descriptor of the `NT_GNU_BUILD_ID` note (gABI, "Note Section").
pub(crate) fn find_build_id(mut notes: &[u8], align: u64) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let align = if align == 8 { 8 } else { 4 };
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    loop {
        let (name_size, size, kind) = (word(notes, 0)? as usize, word(notes, 4)? as usize, word(notes, 8)?);
        let start = 12usize.checked_add(name_size)?.checked_next_multiple_of(align)?;
        let end = start.checked_add(size)?;
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name_size)? == b"GNU\0" {
            return notes.get(start..end);
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, descriptor: &[u8]) -> Vec<u8> {
        let mut note =
            [4, descriptor.len() as u32, kind].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
        note.extend_from_slice(b"GNU\0");
        note.extend_from_slice(descriptor);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    #[test]
    fn finds_the_build_id_among_notes() {
        let notes = [note(1, &[9; 5]), note(3, &[1, 2, 3])].concat();
        assert_eq!(find_build_id(&notes, 4), Some(&[1, 2, 3][..]));
        assert_eq!(find_build_id(&note(1, &[9; 5]), 4), None);
        for n in 0..notes.len() - 1 {
            assert_eq!(find_build_id(&notes[..n], 4), None);
        }
        assert_eq!(find_build_id(&[0xff; 64], 4), None);
    }
}
