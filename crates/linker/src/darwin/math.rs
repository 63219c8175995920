//! Functions that Darwin's `libm` has under names of its own.

use super::Symbols;
use std::ffi::c_int;

/// Two numbers, returned in `xmm0` and `xmm1`.
#[repr(C)]
struct Pair {
    sin: f64,
    cos: f64,
}

/// Two numbers, returned in `xmm0`.
#[repr(C)]
struct ShortPair {
    sin: f32,
    cos: f32,
}

extern "C" fn sincos(x: f64) -> Pair {
    let (sin, cos) = x.sin_cos();
    Pair { sin, cos }
}

extern "C" fn sincosf(x: f32) -> ShortPair {
    let (sin, cos) = x.sin_cos();
    ShortPair { sin, cos }
}

extern "C" fn exp10(x: f64) -> f64 {
    unsafe extern "C" {
        #[link_name = "exp10"]
        fn real(x: f64) -> f64;
    }
    // SAFETY: it takes any number.
    unsafe { real(x) }
}

extern "C" fn exp10f(x: f32) -> f32 {
    unsafe extern "C" {
        #[link_name = "exp10f"]
        fn real(x: f32) -> f32;
    }
    // SAFETY: it takes any number.
    unsafe { real(x) }
}

/// `FP_*` are numbered from 1 (`math.h`).
fn class(class: std::num::FpCategory) -> c_int {
    use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
    match class {
        Nan => 1,
        Infinite => 2,
        Zero => 3,
        Normal => 4,
        Subnormal => 5,
    }
}

extern "C" fn fpclassify(x: f64) -> c_int {
    class(x.classify())
}

extern "C" fn fpclassifyf(x: f32) -> c_int {
    class(x.classify())
}

extern "C" fn isnan(x: f64) -> c_int {
    x.is_nan().into()
}

extern "C" fn isnanf(x: f32) -> c_int {
    x.is_nan().into()
}

extern "C" fn isinf(x: f64) -> c_int {
    x.is_infinite().into()
}

extern "C" fn isinff(x: f32) -> c_int {
    x.is_infinite().into()
}

extern "C" fn isfinite(x: f64) -> c_int {
    x.is_finite().into()
}

extern "C" fn isfinitef(x: f32) -> c_int {
    x.is_finite().into()
}

extern "C" fn signbit(x: f64) -> c_int {
    x.is_sign_negative().into()
}

extern "C" fn signbitf(x: f32) -> c_int {
    x.is_sign_negative().into()
}

pub(super) fn symbols() -> Symbols {
    vec![
        ("__sincos_stret", sincos as *const ()),
        ("__sincosf_stret", sincosf as *const ()),
        ("__exp10", exp10 as *const ()),
        ("__exp10f", exp10f as *const ()),
        ("__fpclassifyd", fpclassify as *const ()),
        ("__fpclassifyf", fpclassifyf as *const ()),
        ("__isnand", isnan as *const ()),
        ("__isnanf", isnanf as *const ()),
        ("__isinfd", isinf as *const ()),
        ("__isinff", isinff as *const ()),
        ("__isfinited", isfinite as *const ()),
        ("__isfinitef", isfinitef as *const ()),
        ("__signbitd", signbit as *const ()),
        ("__signbitf", signbitf as *const ()),
    ]
}
