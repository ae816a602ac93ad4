//! A report as one HTML page with its pictures inside; every text is escaped here and nowhere else.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Fact, Figure, Report, StructureRow};

const STYLE: &str = "\
:root{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--ground:#f4f6f8;--warn:#8a4b00;--warnground:#fff4e0}\
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);\
font:15px/1.5 system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
main{max-width:1120px;margin:0 auto;padding:28px 24px 56px}\
header{display:flex;justify-content:space-between;align-items:flex-end;gap:24px;flex-wrap:wrap;margin-bottom:14px}\
h1{font-size:26px;line-height:1.2;margin:0}h2{font-size:17px;margin:0 0 12px}\
.by{color:var(--soft)}.review{background:var(--warnground);color:var(--warn);border:1px solid #f0c98a;border-radius:8px;\
padding:10px 16px;font-weight:600;margin:0 0 18px}\
section{background:#fff;border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin-top:16px}\
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:16px;margin-top:16px;align-items:start}.two section{margin:0}\
table{border-collapse:collapse;width:100%}th{font-weight:600;text-align:left;color:var(--soft);font-size:13px}\
th,td{padding:6px 10px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}\
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.n+:not(.n){padding-left:18px}td.k{color:var(--soft);width:38%}\
td.v{overflow-wrap:anywhere}.chip{display:inline-block;width:14px;height:14px;border-radius:3px;margin-right:9px;\
vertical-align:-2px;border:1px solid rgba(0,0,0,.25)}.note{color:var(--warn)}.empty td{color:var(--warn)}\
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:14px}\
figure{margin:0;background:#0b0d10;border-radius:8px;overflow:hidden;display:flex;flex-direction:column}\
figure img{width:100%;flex:1;object-fit:contain;display:block;min-height:0}\
figcaption{color:#c5cdd8;font-size:13px;padding:7px 11px;background:#171b21}\
.legend{display:flex;flex-wrap:wrap;gap:2px 12px;margin-top:3px;font-size:12px}\
.dot{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:5px}\
td.ok{color:#1d6b3a;font-weight:600;white-space:nowrap}td.look{color:var(--warn);font-weight:600;white-space:nowrap}\
ul{margin:0;padding-left:20px}li{margin:3px 0;overflow-wrap:anywhere}.bar{height:8px;border-radius:4px;background:#4a7bd0;min-width:1px}\
td.w{width:45%}footer{color:var(--soft);font-size:13px;margin-top:20px}\
@media print{body{background:#fff}main{max-width:none;padding:0}section,figure,tr{break-inside:avoid}\
.pictures{grid-template-columns:repeat(3,1fr)}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let title = escape(&report.title);
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    // Nothing may be loaded from anywhere, whatever a text holds.
    page.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';img-src data:;style-src 'unsafe-inline'\">");
    put(&mut page, format_args!("<title>{title} - contourd</title><style>{STYLE}</style></head><body><main>\n"));
    let (job, created) = (escape(&report.job), escape(&report.created));
    put(&mut page, format_args!("<header><h1>{title}</h1><div class=\"by\">job {job}<br>{created}</div></header>\n"));
    page.push_str("<p class=\"review\">AI generated, not reviewed. Check and approve every contour before use.</p>\n");
    warnings(&mut page, &report.warnings);
    structures(&mut page, &report.structures);
    checks(&mut page, report);
    figures(&mut page, report);
    page.push_str("<div class=\"two\">\n");
    facts(&mut page, "Patient", &report.patient);
    facts(&mut page, "Series", &report.series);
    facts(&mut page, "Pipeline", &report.pipeline);
    facts(&mut page, "Provenance", &report.provenance);
    stages(&mut page, report);
    page.push_str("</div>\n");
    reasons(&mut page, report);
    if report.patient.is_empty() && !report.series.iter().any(|(name, _)| name == "File") {
        page.push_str("<footer>This page names no patient; the job and the UIDs lead to the images.</footer>\n");
    }
    page.push_str("</main></body></html>\n");
    page
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a String takes any text");
}

/// A text as it may stand between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() && control != '\n' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

fn list(page: &mut String, lines: &[String]) {
    page.push_str("<ul>");
    for line in lines {
        put(page, format_args!("<li>{}</li>", escape(line)));
    }
    page.push_str("</ul>");
}

fn warnings(page: &mut String, warnings: &[String]) {
    if warnings.is_empty() {
        return;
    }
    page.push_str("<section><h2 class=\"note\">Warnings</h2>");
    list(page, warnings);
    page.push_str("</section>\n");
}

fn structures(page: &mut String, rows: &[StructureRow]) {
    page.push_str(
        "<section><h2>Structures</h2><table><tr><th>Name</th><th>Type</th><th class=\"n\">Volume, cm\u{b3}</th>",
    );
    page.push_str("<th class=\"n\">Slices</th><th class=\"n\">Along the stack, mm</th><th class=\"n\">Contours</th><th>Note</th></tr>\n");
    for row in rows {
        structure(page, row);
    }
    page.push_str("</table></section>\n");
}

fn structure(page: &mut String, row: &StructureRow) {
    let class = if row.slices.is_none() { " class=\"empty\"" } else { "" };
    let (color, name, roi_type) = (row.color, escape(&row.name), escape(&row.roi_type));
    put(page, format_args!("<tr{class}><td><span class=\"chip\" style=\"background:{color}\"></span>{name}</td>"));
    let volume = row.volume();
    put(page, format_args!("<td>{roi_type}</td><td class=\"n\">{volume}</td>"));
    let slices = row.slices.map_or(String::new(), |(first, last)| format!("{first} to {last}"));
    let reach = row.reach_mm.map_or(String::new(), |(low, high)| format!("{low:.1} to {high:.1}"));
    put(
        page,
        format_args!("<td class=\"n\">{slices}</td><td class=\"n\">{reach}</td><td class=\"n\">{}</td>", row.contours),
    );
    put(page, format_args!("<td class=\"note\">{}</td></tr>\n", escape(&row.note)));
}

fn figures(page: &mut String, report: &Report) {
    if report.figures.is_empty() {
        return;
    }
    page.push_str("<section><h2>Pictures</h2><div class=\"pictures\">\n");
    for figure in &report.figures {
        let (caption, data) = (escape(&figure.caption), STANDARD.encode(&figure.png));
        put(page, format_args!("<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\">"));
        put(page, format_args!("<figcaption>{caption}"));
        legend(page, report, figure);
        page.push_str("</figcaption></figure>\n");
    }
    page.push_str("</div></section>\n");
}

fn legend(page: &mut String, report: &Report, figure: &Figure) {
    page.push_str("<div class=\"legend\">");
    for row in report.shown_in(figure) {
        let (color, name) = (row.color, escape(&row.name));
        put(page, format_args!("<span><span class=\"dot\" style=\"background:{color}\"></span>{name}</span>"));
    }
    page.push_str("</div>");
}

fn checks(page: &mut String, report: &Report) {
    if report.checks.is_empty() {
        return;
    }
    page.push_str("<section><h2>Checks</h2><table>");
    for check in &report.checks {
        let (class, word) = if check.passed { ("ok", "passed") } else { ("look", "look at it") };
        let (what, found) = (escape(&check.what), escape(&check.found));
        put(
            page,
            format_args!("<tr><td class=\"{class}\">{word}</td><td>{what}</td><td class=\"v\">{found}</td></tr>"),
        );
    }
    page.push_str("</table></section>\n");
}

fn rows(page: &mut String, facts: &[Fact]) {
    page.push_str("<table>");
    for (name, value) in facts {
        put(page, format_args!("<tr><td class=\"k\">{}</td><td class=\"v\">{}</td></tr>", escape(name), escape(value)));
    }
    page.push_str("</table>");
}

fn facts(page: &mut String, title: &str, facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    put(page, format_args!("<section><h2>{}</h2>", escape(title)));
    rows(page, facts);
    page.push_str("</section>\n");
}

fn reasons(page: &mut String, report: &Report) {
    if report.reasons.is_empty() {
        return;
    }
    page.push_str("<section><h2>Why the pipeline ran</h2>");
    list(page, &report.reasons);
    page.push_str("</section>\n");
}

fn stages(page: &mut String, report: &Report) {
    if report.stages.is_empty() {
        return;
    }
    let total: f64 = report.stages.iter().map(|stage| stage.seconds).sum();
    let longest = report.stages.iter().map(|stage| stage.seconds).fold(1e-9, f64::max);
    put(page, format_args!("<section><h2>Time, {total:.1} s in all</h2><table>"));
    for stage in &report.stages {
        let width = (stage.seconds / longest * 100.0).clamp(0.0, 100.0);
        put(page, format_args!("<tr><td>{}</td><td class=\"n\">{:.2} s</td>", escape(&stage.name), stage.seconds));
        put(page, format_args!("<td class=\"w\"><div class=\"bar\" style=\"width:{width:.0}%\"></div></td></tr>"));
    }
    page.push_str("</table></section>\n");
}

#[cfg(test)]
mod tests {
    use super::super::Check;
    use super::*;
    use crate::output::picture::{Picture, View};
    use crate::structure::Color;

    fn row(name: &str, slices: Option<(usize, usize)>) -> StructureRow {
        StructureRow {
            name: name.to_owned(),
            roi_type: "ORGAN".to_owned(),
            color: Color([0, 128, 255]),
            volume_cm3: 12.345,
            contours: 3,
            slices,
            reach_mm: slices.map(|_| (-10.0, 20.0)),
            made: true,
            note: String::new(),
        }
    }

    fn figure(caption: &str, png: &[u8]) -> Figure {
        let picture = Picture { width: 1, height: 1, palette: vec![[0; 3]], pixels: vec![0] };
        Figure { caption: caption.to_owned(), view: View::Slice(0), picture, png: png.to_vec(), shows: vec![0] }
    }

    #[test]
    fn escapes_whatever_a_header_or_a_pipeline_says() {
        let evil = "<script>alert('x\"&')</script>".to_owned();
        let report = Report {
            title: evil.clone(),
            job: evil.clone(),
            created: evil.clone(),
            patient: vec![(evil.clone(), evil.clone())],
            series: vec![(evil.clone(), evil.clone())],
            pipeline: vec![(evil.clone(), evil.clone())],
            reasons: vec![evil.clone()],
            structures: vec![StructureRow { roi_type: evil.clone(), note: evil.clone(), ..row(&evil, None) }],
            figures: vec![figure(&evil, &[1])],
            checks: vec![Check { what: evil.clone(), found: evil.clone(), passed: true }],
            warnings: vec![evil.clone()],
            provenance: vec![(evil.clone(), evil.clone())],
            stages: vec![crate::output::run::Stage { name: evil, seconds: 1.0 }],
        };
        let page = html(&report);
        assert!(!page.contains("<script") && !page.contains("x\"&"));
        // Twenty texts; the title stands in the head too, the caption in its picture too, the name in the legend too.
        assert_eq!(page.matches("&lt;script&gt;").count(), 23);
    }

    #[test]
    fn says_that_a_structure_is_empty_and_that_nobody_reviewed() {
        let page =
            html(&Report { structures: vec![row("Heart", None), row("Lung_L", Some((3, 9)))], ..Report::default() });
        let left_out = StructureRow { made: false, ..row("Liver", None) };
        assert!(html(&Report { structures: vec![left_out], ..Report::default() }).contains(">not made<"));
        assert!(page.contains("class=\"empty\"") && page.contains(">empty<"));
        assert!(page.contains(">12.3<") && page.contains(">3 to 9<") && page.contains("#0080ff"));
        assert!(page.contains("AI generated, not reviewed"));
        assert!(page.contains("names no patient"));
    }

    #[test]
    fn a_page_refers_to_nothing_outside_itself() {
        let report = Report { figures: vec![figure("axial", &[1, 2, 3])], ..Report::default() };
        let page = html(&report);
        assert!(page.contains("data:image/png;base64,AQID"));
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("href"));
    }
}
