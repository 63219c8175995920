//! Calls before and after tables are published. One test: there is one table in a process.

use super::{HotFn, HotFunction, call, detour};
use crate::jump_table::JumpTable;
use crate::published;

fn old(n: u32) -> u32 {
    n + 1
}

fn new(n: u32) -> u32 {
    n + 2
}

fn address<A, M, F: HotFunction<A, M>>(function: &F) -> usize {
    detour::callee(function).address()
}

#[test]
fn calls_arrive_at_what_is_published() {
    type Pointer = fn(u32) -> u32;
    let (pointer, replacement): (Pointer, Pointer) = (old, new);
    let mut seen = 0;
    let state = 7_u32;
    // As long as a pointer, and no function pointer.
    let closure_old = || state + 10;
    let closure_new = || state + 20;
    let mut item = HotFn::current(old);
    let unchanged = HotFn::current(|| 5);
    let before_all = unchanged.ptr_address();

    assert_eq!((item.call((1,)), HotFn::current(pointer).call((1,))), (2, 2));
    assert_eq!(call(closure_old), 17);

    let jumps = [
        (address(&pointer), address(&replacement)),
        (address::<(u32,), _, _>(&old), address::<(u32,), _, _>(&new)),
        (address(&closure_old), address(&closure_new)),
    ];
    let before = item.ptr_address();
    published::publish(Some(Box::leak(Box::new(JumpTable::new(&jumps)))));
    assert_eq!((item.call((1,)), HotFn::current(pointer).call((1,))), (3, 3));
    assert_eq!((call(closure_old), call(closure_new)), (27, 27));
    call(|| seen += 1);
    assert_eq!(seen, 1);
    assert_ne!(item.ptr_address(), before);
    assert_eq!(unchanged.ptr_address(), before_all);

    // SAFETY: both were said of this function.
    let both = unsafe { (item.call_with_ptr(before, (1,)), item.call_with_ptr(item.ptr_address(), (1,))) };
    assert_eq!(both, (2, 3));

    published::publish(None);
    assert_eq!((item.call((1,)), call(closure_old)), (2, 17));
    assert_eq!(item.ptr_address(), before);
}
