//! Calling a function at another address. Hazard: an address becomes a function.

use super::HotFunction;

/// The function that a hot call would call, and how it is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Callee {
    /// A function pointer: the function that it points to.
    Pointer(usize),
    /// Anything else: its type's instance of [`HotFunction::call_it`].
    Instance(usize),
}

impl Callee {
    #[inline]
    pub(super) fn address(self) -> usize {
        match self {
            Self::Pointer(address) | Self::Instance(address) => address,
        }
    }
}

/// Whom `function` calls.
#[inline]
pub(super) fn callee<A, M, F: HotFunction<A, M>>(function: &F) -> Callee {
    if size_of::<F>() == size_of::<fn()>() && is_function_pointer(std::any::type_name::<F>()) {
        // SAFETY: `F` is as long as an address, and all bytes of a function pointer are set.
        return Callee::Pointer(unsafe { std::mem::transmute_copy::<F, usize>(function) });
    }
    Callee::Instance(F::call_it as *const () as usize)
}

/// Whether that is how a function pointer's type is written: closures that captured one reference are as long.
/// Should the standard library come to write them otherwise, they are taken for closures, and not redirected.
#[inline]
fn is_function_pointer(name: &str) -> bool {
    // Plain code, as in `JumpTable::get`. No path to a type begins with a keyword.
    matches!(name.as_bytes(), [b'f', b'n', b'(', ..] | [b'f', b'o', b'r', b'<', ..])
}

/// Calls the body at `newest` in the place of `callee`, which is that of `function`.
///
/// # Safety
///
/// At `newest` is a function that can take the place of `callee`: same signature and calling convention, and
/// for an instance the same layout of what is captured.
#[inline]
pub(super) unsafe fn call<A, M, F: HotFunction<A, M>>(
    function: &mut F,
    callee: Callee,
    newest: usize,
    arguments: A,
) -> F::Return {
    match callee {
        // SAFETY: the caller vouches for the function at the address, which is one of `F`'s kind: a function
        // pointer, since `callee` said so, with `F`'s own calling convention.
        Callee::Pointer(_) => unsafe { std::mem::transmute_copy::<usize, F>(&newest) }.call_it(arguments),
        Callee::Instance(_) => {
            // SAFETY: the caller vouches for the function at the address, whose signature is `call_it`'s.
            let body = unsafe { std::mem::transmute::<usize, fn(&mut F, A) -> F::Return>(newest) };
            body(function, arguments)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_function_pointer;
    use std::any::type_name;

    fn name_of<T>(_: &T) -> &'static str {
        type_name::<T>()
    }

    #[test]
    fn function_pointers_are_known() {
        type Plain = fn(u8) -> u8;
        type Bound = for<'a> fn(&'a str) -> &'a str;
        for name in [type_name::<Plain>(), type_name::<Bound>(), type_name::<fn()>()] {
            assert!(is_function_pointer(name), "{name}");
        }
    }

    #[test]
    fn what_is_as_long_is_no_function_pointer() {
        let number = 1_usize;
        let captured = || number;
        let boxed: Box<u8> = Box::new(1);
        let inner: fn() = || ();
        let holds_one = move || inner();
        for name in [name_of(&captured), name_of(&boxed), name_of(&&inner), name_of(&holds_one)] {
            assert!(!is_function_pointer(name), "{name}");
        }
    }
}
