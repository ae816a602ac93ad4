//! Dose-volume histograms as a picture (SVG), one curve for each structure; it computes none.

use std::fmt::Write;

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008), on white.
const COLORS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// After all colours once, the lines are dashed, then dotted.
const DASHES: [&str; 3] = ["none", "8 4", "2 3"];

/// Corners of the drawing area, left, top, right, bottom.
const AREA: [f64; 4] = [60.0, 20.0, 660.0, 440.0];

/// Curves of volume in percent against dose, each with its name, as points `bin_gy` apart from 0 Gy.
pub fn svg(curves: &[(String, Vec<f64>)], bin_gy: f64) -> String {
    let [left, top, right, bottom] = AREA;
    let longest = curves.iter().map(|(_, curve)| curve.len()).max().unwrap_or(0);
    let step_gy = step(bin_gy * longest as f64);
    let width_gy = (bin_gy * longest as f64 / step_gy).ceil().max(1.0) * step_gy;
    let x = |gy: f64| left + gy / width_gy * (right - left);
    let y = |percent: f64| bottom - percent / 100.0 * (bottom - top);
    let height = (bottom + 60.0).max(top + 20.0 * curves.len() as f64 + 20.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"900\" height=\"{height}\" fill=\"white\"/>\n"
    );
    // Writing to a string does not fail.
    let mut put = |line: String| _ = writeln!(out, "{line}");
    let line = |x1: f64, y1: f64, x2: f64, y2: f64| {
        format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>")
    };
    for percent in (0..=100).step_by(20).map(f64::from) {
        put(line(left, y(percent), right, y(percent)));
        put(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent}</text>", left - 6.0, y(percent) + 4.0));
    }
    for gy in (0..=(width_gy / step_gy).round() as usize).map(|tick| tick as f64 * step_gy) {
        put(line(x(gy), top, x(gy), bottom));
        let label = (gy * 1000.0).round() / 1000.0;
        put(format!("<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", x(gy), bottom + 18.0));
    }
    let middle = (left + right) / 2.0;
    put(format!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">Dose (Gy)</text>", bottom + 42.0));
    let half = (top + bottom) / 2.0;
    put(format!(
        "<text x=\"16\" y=\"{half}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {half})\">Volume (%)</text>"
    ));
    for (index, (name, curve)) in curves.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let dash = DASHES[index / COLORS.len() % DASHES.len()];
        let style = format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"");
        let points: Vec<String> =
            curve.iter().enumerate().map(|(bin, &v)| format!("{:.2},{:.2}", x(bin as f64 * bin_gy), y(v))).collect();
        put(format!("<polyline {style} points=\"{}\"/>", points.join(" ")));
        let at = top + 8.0 + 20.0 * index as f64;
        put(format!("<line x1=\"676\" y1=\"{at}\" x2=\"706\" y2=\"{at}\" {style}/>"));
        put(format!("<text x=\"714\" y=\"{}\">{}</text>", at + 4.0, escaped(name)));
    }
    out + "</svg>\n"
}

/// A round step that divides a width into four to ten parts.
fn step(width: f64) -> f64 {
    let rough = (width / 10.0).max(1e-3);
    let power = 10.0_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough).unwrap_or(10.0 * power)
}

/// Text of a document: names come from other programs.
fn escaped(text: &str) -> String {
    let legal = text.chars().filter(|c| !c.is_control());
    legal.fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_structure_has_a_curve_and_its_name() {
        let text =
            svg(&[("PTV <1> & \u{7}more".to_owned(), vec![100.0, 50.0, 0.0]), ("Heart".to_owned(), vec![])], 1.0);
        assert!(text.contains("PTV &lt;1&gt; &amp; more</text>") && text.contains(">Heart</text>"), "{text}");
        // 3 Gy in steps of 0.5: 100 % at the upper left corner, 0 % at the bottom.
        assert!(text.contains("points=\"60.00,20.00 260.00,230.00 460.00,440.00\""), "{text}");
    }

    #[test]
    fn steps_are_round() {
        for (width, expected) in [(73.0, 10.0), (2.0, 0.2), (50.0, 5.0), (0.0, 0.001), (11.0, 2.0)] {
            assert!((step(width) - expected).abs() < 1e-12, "{width}: {}", step(width));
        }
    }
}
