//! A program that lets a dev server of one's own patch it. It has state: what it has drawn so far.

mod view;

use std::time::Duration;

fn main() -> std::io::Result<()> {
    livepatch::connect_from_env()?;
    let mut drawn: Vec<String> = Vec::new();
    loop {
        // What this calls, and what that calls, is looked up anew each time.
        let line = livepatch::call(|| view::draw(&drawn));
        println!("{line}");
        drawn.push(line);
        std::thread::sleep(Duration::from_millis(20));
    }
}
