//! A weather station: state in all the places where a program keeps it.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static READINGS: AtomicU32 = AtomicU32::new(0);
static HISTORY: Mutex<Vec<i32>> = Mutex::new(Vec::new());

thread_local! {
    static SEED: Cell<u32> = const { Cell::new(1) };
}

/// A sensor, reached through a trait object that is made once, at the start.
trait Sensor {
    fn read(&self) -> i32;
}

struct Thermometer {
    offset: i32,
}

impl Sensor for Thermometer {
    fn read(&self) -> i32 {
        self.offset + noise() % 5
    }
}

fn noise() -> i32 {
    SEED.set(SEED.get().wrapping_mul(1_103_515_245).wrapping_add(12_345));
    (SEED.get() >> 16) as i32 & 0x7fff
}

fn report(value: i32) -> String {
    let number = READINGS.fetch_add(1, Ordering::Relaxed) + 1;
    let mut history = HISTORY.lock().unwrap();
    history.push(value);
    format!("reading {number}: {value} °C")
}

fn main() {
    let sensor: Box<dyn Sensor> = Box::new(Thermometer { offset: 18 });
    loop {
        println!("{}", report(sensor.read()));
        std::thread::sleep(Duration::from_millis(200));
    }
}
