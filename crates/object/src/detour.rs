//! Instructions whose operand in memory is out of reach: they are made elsewhere, where there is room to load the
//! operand's address first.
//!
//! ```text
//! mov X(%rip), %eax   becomes   jmp elsewhere; nop
//!
//! elsewhere:                    mov cell(%rip), %rax; mov (%rax), %eax; jmp back
//! ```
//!
//! The cell is a word that holds the address of X. Registers, flags and the red zone are as the instruction alone
//! would have left them. Where a register has to be borrowed, it is kept on the stack meanwhile: an unwinder that looks at that
//! very moment finds the caller's frame misplaced.

mod x86_64;

pub use x86_64::detour;

use std::ops::Range;

/// An instruction that is made elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detour {
    /// Where the instruction is.
    pub instruction: Range<usize>,
    /// What takes its place: as many bytes, the distance to `elsewhere` left zero.
    pub leave: Vec<u8>,
    /// Where in `leave` that distance is: 4 bytes, which count from behind themselves.
    pub leave_field: usize,
    /// What is made elsewhere, distances left zero.
    pub elsewhere: Vec<u8>,
    /// Where in `elsewhere` the distance to the cell is: 4 bytes, which count from behind themselves.
    pub cell_field: usize,
    /// Where in `elsewhere` the distance to what follows the instruction is: 4 bytes, which count from behind
    /// themselves. None where nothing goes back there from here.
    pub back_field: Option<usize>,
}
