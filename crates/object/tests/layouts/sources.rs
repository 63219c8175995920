//! Sources of a crate `app`.

pub(crate) const SHAPES: &str = r#"
use std::fmt::Display;
pub struct State { pub a: u64, pub b: u32, pub name: Option<String>, pub d: Box<dyn Display> }
pub struct Packed(u8, u32, u16);
#[repr(C)] pub struct Foreign { pub a: u8, pub b: u64, pub c: [u16; 5] }
pub enum Kind { Square(f32), Circle { r: f64, name: String }, Empty }
pub enum Signal { Stop = 1, Go = -5, Wait = 7 }
#[repr(u128)] pub enum Wide { A(u8) = 1, B = u128::MAX }
pub union Either { a: u32, b: [u8; 9] }
pub struct Of<T>(T, Vec<T>);
pub type Niche = Option<std::num::NonZeroU16>;
pub mod inner { #[repr(align(64))] pub struct Aligned(pub u8); }
pub fn use_all(s: State, p: Packed, f: Foreign, k: Kind, g: Signal, w: Wide, e: Either, o: Of<u16>, n: Niche,
    i: inner::Aligned, j: Of<State>) {}
"#;

pub(crate) const SHAPE_NAMES: [&str; 11] = [
    "app::State",
    "app::Packed",
    "app::Foreign",
    "app::Kind",
    "app::Signal",
    "app::Wide",
    "app::Either",
    "app::Of<u16>",
    "core::option::Option<core::num::nonzero::NonZero<u16>>",
    "app::inner::Aligned",
    "app::Of<app::State>",
];

pub(crate) const PLAIN: &str = "
pub struct Point { pub x: f32, pub y: f32, pub z: u64 }
pub struct State { pub count: u64, pub at: Point, pub list: Vec<Point> }
pub enum Kind { Square(f32), Round { r: f64, name: String }, Empty }
pub enum Signal { Stop, Go }
pub struct Of<T> { value: T, at: u32 }
pub fn f(s: State, k: Kind, g: Signal, o: Of<u8>, n: Option<Box<Kind>>, p: [Point; 3]) {}
";

pub(crate) const ASYNC: &str = "
pub fn act(by: u64, name: String) -> Box<dyn Fn(u64) -> u64> {
    let more = by + 1;
    Box::new(move |x| x + by)
}
pub async fn other(n: u64) -> u64 { n }
pub async fn work(n: u64) -> u64 {
    let kept = n + 1;
    let m = other(n).await;
    m + 1
}
pub async fn outer(n: u64) -> u64 { work(n).await + 1 }
pub fn start() -> Box<dyn Future<Output = u64>> { Box::new(outer(3)) }
";

pub(crate) const FUNCTIONS: &str = r#"
pub struct State { pub a: u64 }
pub struct Of<T>(T);
impl State {
    #[inline(never)] pub fn method(&self, _: u8) -> Option<u64> { Some(self.a) }
    pub fn nothing(&self) {}
}
impl<T: Clone> Of<T> { pub fn get(&self) -> T { self.0.clone() } }
pub fn unnamed(_: u64, (a, b): (u8, u16)) -> u32 { a as u32 }
pub fn instance() -> String { generic(3u8) + &Of(String::new()).get() }
fn generic<T: std::fmt::Debug>(x: T) -> String { let f = |y: &T| format!("{y:?}"); f(&x) }
pub fn drops(s: Vec<Of<String>>) {}
"#;
