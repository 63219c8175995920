//! Calls that ask the jump table first: for platforms where a function's entry cannot be changed.

mod detour;
mod function;

use crate::published;
use detour::Callee;
pub use function::HotFunction;
use std::marker::PhantomData;

/// Calls `function`, or what a patch put in its place.
///
/// What is looked up is the closure: its newest body runs, and whatever that calls directly. Without
/// `debug_assertions` (as `cargo build --release` compiles, unless the profile says otherwise) this is
/// nothing but the call.
///
/// ```
/// let mut clicks = 0;
/// for _ in 0..3 {
///     // What is between the braces can be edited while the loop goes on.
///     livepatch::call(|| clicks += 1);
/// }
/// assert_eq!(clicks, 3);
/// ```
pub fn call<R>(function: impl FnMut() -> R) -> R {
    HotFn::current(function).call(())
}

/// A function, a closure or a function pointer, whose newest body is called.
///
/// As with subsecond's type of that name, arguments come as a tuple. A function pointer is looked up by
/// the address that it holds, anything else by its type. A closure keeps what it captured: patches that
/// would have it capture something else must not be applied.
///
/// ```
/// use livepatch::HotFn;
///
/// fn area(width: u32, height: u32) -> u32 {
///     width * height
/// }
///
/// let mut hot = HotFn::current(area);
/// assert_eq!(hot.call((6, 7)), 42);
///
/// let unit = "m²";
/// let mut closure = HotFn::current(|n: u32| format!("{n} {unit}"));
/// assert_eq!(closure.call((hot.call((2, 3)),)), "6 m²");
/// ```
#[derive(Debug)]
pub struct HotFn<A, M, F> {
    inner: F,
    marker: PhantomData<fn(A) -> M>,
}

/// Where a function's newest body is: it changes when the function does, and only then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HotFnPtr(u64);

impl HotFnPtr {
    /// The run-time address.
    pub fn address(self) -> u64 {
        self.0
    }
}

impl<A, M, F: HotFunction<A, M>> HotFn<A, M, F> {
    /// The function, to be called as it is at the time of the call.
    pub const fn current(function: F) -> Self {
        Self { inner: function, marker: PhantomData }
    }

    /// Calls the function's newest body.
    ///
    /// ```
    /// # use livepatch::HotFn;
    /// let mut total = 0;
    /// let mut add = HotFn::current(|n: i32| total += n);
    /// add.call((20,));
    /// add.call((22,));
    /// assert_eq!(total, 42);
    /// ```
    // Plain code, as in `JumpTable::get`.
    #[inline]
    pub fn call(&mut self, arguments: A) -> F::Return {
        if cfg!(debug_assertions)
            && let Some(table) = published::current()
        {
            let callee = detour::callee(&self.inner);
            let newest = table.get(callee.address());
            if newest != 0 {
                // SAFETY: who applied the table promised that functions it leads to can take the place of
                // those it leads from (`livepatch::apply`).
                return unsafe { detour::call(&mut self.inner, callee, newest, arguments) };
            }
        }
        self.inner.call_it(arguments)
    }

    /// Where the newest body is, to see whether it changed.
    ///
    /// ```
    /// # use livepatch::HotFn;
    /// let view = HotFn::current(|| "hello");
    /// let drawn_by = view.ptr_address();
    /// // Later: nothing to draw again where nothing changed.
    /// assert_eq!(view.ptr_address(), drawn_by);
    /// ```
    pub fn ptr_address(&self) -> HotFnPtr {
        let old = detour::callee::<A, M, F>(&self.inner).address();
        let newest = match published::current() {
            Some(table) if cfg!(debug_assertions) => table.get(old),
            _ => 0,
        };
        HotFnPtr(if newest == 0 { old } else { newest } as u64)
    }

    /// Calls the body that [`HotFn::ptr_address`] found, without looking it up again.
    ///
    /// ```
    /// # use livepatch::HotFn;
    /// let mut double = HotFn::current(|n: u32| n * 2);
    /// let body = double.ptr_address();
    /// // SAFETY: it is the same function's.
    /// assert_eq!(unsafe { double.call_with_ptr(body, (21,)) }, 42);
    /// ```
    ///
    /// # Safety
    ///
    /// `body` is what [`HotFn::ptr_address`] said of a function of this very type, and for a function pointer
    /// of this very pointer.
    pub unsafe fn call_with_ptr(&mut self, body: HotFnPtr, arguments: A) -> F::Return {
        let callee: Callee = detour::callee::<A, M, F>(&self.inner);
        // SAFETY: as the caller promises, the body belongs to a function of this type.
        #[expect(clippy::cast_possible_truncation, reason = "it was an address of this process")]
        unsafe {
            detour::call(&mut self.inner, callee, body.0 as usize, arguments)
        }
    }
}

#[cfg(test)]
mod tests;
