//! Charts as SVG, both axes logarithmic: a line of slope 1 is a cost in proportion.

use std::fmt::Write as _;

/// A chart of a few lines.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) lines: Vec<Line>,
}

/// Points that belong together.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 340.0;
/// Where the axes cross, and where they end.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 440.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 290.0;
/// Told apart by those who see few colours, on a light ground and a dark one.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// One picture of several charts side by side.
pub(super) fn svg(charts: &[Chart]) -> String {
    let width = WIDTH * charts.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, chart) in charts.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({},0)\">", WIDTH * at as f64);
        chart.draw(&mut out);
        out += "</g>\n";
    }
    out + "</svg>\n"
}

/// A logarithmic axis.
struct Axis {
    /// Powers of ten at its ends.
    low: i32,
    high: i32,
    /// Where these are in the picture.
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let logs: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil();
        let (low, high) = if low.is_finite() { (low as i32, high as i32) } else { (0, 1) };
        Self { low, high: high.max(low + 1), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.low..=self.high).map(|power| 10_f64.powi(power))
    }
}

impl Chart {
    fn draw(&self, out: &mut String) {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let x = Axis::new(points().map(|point| point.0), LEFT, RIGHT);
        let y = Axis::new(points().map(|point| point.1), BOTTOM, TOP);
        let mut text = |at: (f64, f64), anchor: &str, what: &str| {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{what}</text>",
                at.0, at.1
            );
        };
        text((WIDTH / 2.0, 20.0), "middle", &self.title);
        text((WIDTH / 2.0, HEIGHT - 10.0), "middle", self.x);
        text((8.0, 34.0), "start", self.y);
        x.ticks().for_each(|tick| text((x.place(tick), BOTTOM + 18.0), "middle", &label(tick)));
        y.ticks().for_each(|tick| text((LEFT - 6.0, y.place(tick) + 4.0), "end", &label(tick)));
        for (at, line) in self.lines.iter().enumerate() {
            let height = TOP + 16.0 + 16.0 * at as f64;
            let sample = format!("<tspan fill=\"{}\">●</tspan> {}", COLOURS[at % COLOURS.len()], line.name);
            text((LEFT + 12.0, height), "start", &sample);
        }
        let mut rule = |from: (f64, f64), to: (f64, f64)| {
            let _ = writeln!(
                out,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>",
                from.0, from.1, to.0, to.1
            );
        };
        x.ticks().for_each(|tick| rule((x.place(tick), TOP), (x.place(tick), BOTTOM)));
        y.ticks().for_each(|tick| rule((LEFT, y.place(tick)), (RIGHT, y.place(tick))));
        for (at, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let places: Vec<(f64, f64)> = line.points.iter().map(|p| (x.place(p.0), y.place(p.1))).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (x, y) in places {
                let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
        }
    }
}

/// A power of ten as people write it.
fn label(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decade_is_as_wide_as_the_next() {
        let axis = Axis::new([20.0, 500.0].into_iter(), 0.0, 200.0);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [10.0, 100.0, 1000.0]);
        assert_eq!(axis.place(100.0), 100.0);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.01, 1.0, 1e4, 1e6].map(label), ["0.01", "1", "10k", "1M"]);
    }
}
