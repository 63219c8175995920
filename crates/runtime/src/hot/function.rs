//! What can be called hot.

/// Functions, closures and function pointers of up to nine arguments.
///
/// `M` only tells numbers of arguments apart; it is always inferred.
pub trait HotFunction<A, M> {
    /// What it returns.
    type Return;

    /// Calls it. Each type's instance of this is a function of its own, which a patch can replace.
    fn call_it(&mut self, arguments: A) -> Self::Return;
}

/// Says how many arguments a function takes.
#[derive(Debug)]
pub struct Arguments<const COUNT: usize>;

macro_rules! hot_function {
    ($($count:literal: $($type:ident $argument:ident)*;)*) => {$(
        impl<F, R, $($type),*> HotFunction<($($type,)*), Arguments<$count>> for F
        where
            F: FnMut($($type),*) -> R,
        {
            type Return = R;

            fn call_it(&mut self, arguments: ($($type,)*)) -> R {
                let ($($argument,)*) = arguments;
                self($($argument),*)
            }
        }
    )*};
}

hot_function! {
    0:;
    1: A a;
    2: A a B b;
    3: A a B b C c;
    4: A a B b C c D d;
    5: A a B b C c D d E e;
    6: A a B b C c D d E e G g;
    7: A a B b C c D d E e G g H h;
    8: A a B b C c D d E e G g H h I i;
    9: A a B b C c D d E e G g H h I i J j;
}
