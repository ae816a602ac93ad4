//! A report as pictures for archives: one or more with the table of structures and what was checked, then one for each
//! figure with its legend. What finds no room is counted.
//!
//! They are square and dark, as viewers of images show them.

use super::legend::{Entry, Legend};
use super::{Figure, Report, StructureRow};
use crate::limits::{CAPTURE_CHECKS_SHEETS_MAX, CAPTURE_SIDE};
use crate::output::lettering::Face;
use crate::output::picture::{Canvas, Picture};
use crate::structure::Color;

const GROUND: Color = Color([11, 13, 16]);
const INK: Color = Color([232, 236, 241]);
const SOFT: Color = Color([150, 160, 172]);
const LINE: Color = Color([48, 55, 64]);
const WARN: Color = Color([255, 196, 110]);

const SIDE: f32 = CAPTURE_SIDE as f32;
const MARGIN: f32 = 32.0;
const RIGHT: f32 = SIDE - MARGIN;
/// Height of the head, and of the foot below the legend.
const HEAD: f32 = 92.0;
const FOOT: f32 = 44.0;
const TEXT: f32 = 20.0;
const ROW: f32 = 29.0;
const LEGEND_ROW: f32 = 27.0;
/// Lines of names below a picture; the table has them all.
const LEGEND_LINES_MAX: usize = 4;
/// From the patch of a colour to its name.
const PATCH: f32 = 22.0;
/// From the word of a check to what was found.
const CHECKED: f32 = 130.0;
/// Where the lines of checks end.
const CHECKS_END: f32 = SIDE - FOOT - 12.0;

/// The sheets, each with what it shows. `draw` draws a figure anew, its longer side so many pixels.
pub fn sheets(report: &Report, draw: impl Fn(&Figure, usize) -> Picture) -> Vec<(String, Canvas)> {
    let faces = [Face::regular(), Face::bold()];
    let rows_max = ((SIDE - HEAD - FOOT - 2.0 * ROW) / ROW) as usize;
    let chunks: Vec<&[StructureRow]> = match report.structures.as_slice() {
        [] => vec![&[]],
        rows => rows.chunks(rows_max).collect(),
    };
    let mut drawn: Vec<(String, Sheet<'_>)> = chunks
        .iter()
        .enumerate()
        .map(|(index, rows)| {
            let name = if chunks.len() == 1 {
                "Structures".to_owned()
            } else {
                format!("Structures, {} of {}", index + 1, chunks.len())
            };
            let mut sheet = Sheet::new(&faces, report, &name);
            sheet.table(rows);
            (name, sheet)
        })
        .collect();
    checks(&faces, report, &mut drawn);
    let mut sheets: Vec<(String, Canvas)> = drawn.into_iter().map(|(name, sheet)| (name, sheet.canvas)).collect();
    sheets.extend(report.figures.iter().map(|figure| {
        let mut sheet = Sheet::new(&faces, report, &figure.caption);
        sheet.figure(report, figure, &draw);
        (figure.caption.clone(), sheet.canvas)
    }));
    sheets
}

/// Puts what was checked below the table, and on sheets of its own where there is no room. What to look at comes first.
fn checks<'a>(faces: &'a [Face; 2], report: &Report, sheets: &mut Vec<(String, Sheet<'a>)>) {
    let warnings = report.warnings.iter().map(|warning| (false, warning.clone()));
    let lines = report.checks.iter().map(|check| (check.passed, format!("{}: {}", check.what, check.found)));
    let mut lines: Vec<(bool, String)> = warnings.chain(lines).collect();
    lines.sort_by_key(|(passed, _)| *passed);
    let sheets_max = sheets.len() + CAPTURE_CHECKS_SHEETS_MAX;
    for (told, (passed, line)) in lines.iter().enumerate() {
        for (number, part) in faces[0].wrap(line, TEXT, RIGHT - MARGIN - CHECKED).iter().enumerate() {
            let is_last = sheets.len() == sheets_max;
            let full = |sheet: &Sheet<'_>| sheet.y > if is_last { CHECKS_END - ROW } else { CHECKS_END };
            if sheets.last().is_none_or(|(_, sheet)| full(sheet)) {
                if is_last {
                    let said = format!("and {} more, which the page of the run tells", lines.len() - told);
                    sheets.iter_mut().next_back().into_iter().for_each(|(_, sheet)| sheet.check(None, &said));
                    return;
                }
                sheets.push(("Checks".to_owned(), Sheet::new(faces, report, "Checks")));
            }
            let word = (number == 0).then_some(*passed);
            sheets.iter_mut().next_back().into_iter().for_each(|(_, sheet)| sheet.check(word, part));
        }
    }
}

struct Sheet<'a> {
    canvas: Canvas,
    regular: &'a Face,
    bold: &'a Face,
    /// The next baseline.
    y: f32,
}

impl<'a> Sheet<'a> {
    /// A sheet with its head and foot.
    fn new([regular, bold]: &'a [Face; 2], report: &Report, name: &str) -> Sheet<'a> {
        let canvas = Canvas::new(CAPTURE_SIDE, CAPTURE_SIDE, GROUND);
        let mut sheet = Sheet { canvas, regular, bold, y: 46.0 };
        let said = "AI generated, not reviewed";
        let room = RIGHT - MARGIN - bold.width(said, TEXT) - 24.0;
        sheet.canvas.text(bold, 27.0, [MARGIN, sheet.y], INK, &bold.cut(&report.title, 27.0, room));
        sheet.right(bold, RIGHT, WARN, said);
        sheet.y = 78.0;
        let room = RIGHT - MARGIN - regular.width(&report.created, TEXT) - 24.0;
        sheet.canvas.text(regular, TEXT, [MARGIN, sheet.y], SOFT, &regular.cut(name, TEXT, room));
        sheet.right(regular, RIGHT, SOFT, &report.created);
        let (top, bottom) = (HEAD as usize, (SIDE - FOOT) as usize);
        sheet.canvas.fill([MARGIN as usize, top, (RIGHT - MARGIN) as usize, 1], LINE);
        sheet.canvas.fill([MARGIN as usize, bottom, (RIGHT - MARGIN) as usize, 1], LINE);
        sheet.y = SIDE - FOOT + 28.0;
        let job = regular.cut(&format!("contourd, job {}", report.job), 17.0, RIGHT - MARGIN);
        sheet.canvas.text(regular, 17.0, [MARGIN, sheet.y], SOFT, &job);
        sheet.y = HEAD + ROW;
        sheet
    }

    fn right(&mut self, face: &Face, x: f32, color: Color, text: &str) {
        self.canvas.text(face, TEXT, [x - face.width(text, TEXT), self.y], color, text);
    }

    fn table(&mut self, rows: &[StructureRow]) {
        let columns = [MARGIN + 590.0, MARGIN + 760.0, RIGHT];
        self.canvas.text(self.regular, TEXT, [MARGIN + 30.0, self.y], SOFT, "Name");
        self.canvas.text(self.regular, TEXT, [MARGIN + 300.0, self.y], SOFT, "Type");
        for (head, x) in ["Volume, cm\u{b3}", "Slices", "Contours"].iter().zip(columns) {
            self.right(self.regular, x, SOFT, head);
        }
        for row in rows {
            self.y += ROW;
            let empty = row.slices.is_none();
            let color = if empty { WARN } else { INK };
            self.canvas.fill([MARGIN as usize, self.y as usize - 15, 17, 17], row.color);
            let name = self.regular.cut(&row.name, TEXT, 262.0);
            self.canvas.text(self.regular, TEXT, [MARGIN + 30.0, self.y], color, &name);
            self.canvas.text(self.regular, TEXT, [MARGIN + 300.0, self.y], color, &row.roi_type);
            let volume = row.volume();
            let slices = row.slices.map_or(String::new(), |(first, last)| format!("{first} to {last}"));
            for (text, x) in [volume, slices, row.contours.to_string()].iter().zip(columns) {
                self.right(self.regular, x, color, text);
            }
        }
        self.y += ROW * 1.6;
    }

    /// A line of what was checked, behind its word where it is the first line of it.
    fn check(&mut self, passed: Option<bool>, line: &str) {
        if let Some(passed) = passed {
            let (word, color) = if passed { ("passed", SOFT) } else { ("look at it", WARN) };
            self.canvas.text(self.bold, TEXT, [MARGIN, self.y], color, word);
        }
        self.canvas.text(self.regular, TEXT, [MARGIN + CHECKED, self.y], INK, line);
        self.y += ROW;
    }

    fn figure(&mut self, report: &Report, figure: &Figure, draw: &impl Fn(&Figure, usize) -> Picture) {
        let room = RIGHT - MARGIN;
        let (face, size, lines_max) = (self.regular, TEXT, LEGEND_LINES_MAX);
        let legend = Legend { face, size, room, patch: PATCH, gap: 24.0, lines_max };
        let lines = legend.lines(report.shown_in(figure));
        let room = SIDE - HEAD - FOOT - lines.len() as f32 * LEGEND_ROW - 20.0;
        let (width, height) = (figure.picture.width.max(1) as f32, figure.picture.height.max(1) as f32);
        let scale = ((RIGHT - MARGIN) / width).min(room / height);
        let picture = draw(figure, (width.max(height) * scale) as usize);
        let left = (CAPTURE_SIDE.saturating_sub(picture.width)) / 2;
        let top = HEAD + ((room - picture.height as f32) / 2.0).max(2.0);
        self.canvas.put(&picture, [left, top as usize]);
        self.y = SIDE - FOOT - 10.0 - (lines.len() as f32 - 1.0) * LEGEND_ROW;
        for line in lines {
            for Entry { x, color, text } in line {
                let x = MARGIN + x;
                if let Some(color) = color {
                    self.canvas.fill([x as usize, self.y as usize - 13, 15, 15], color);
                    self.canvas.text(self.regular, TEXT, [x + PATCH, self.y], INK, &text);
                } else {
                    self.canvas.text(self.regular, TEXT, [x, self.y], SOFT, &text);
                }
            }
            self.y += LEGEND_ROW;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::picture::View;
    use crate::output::report::Check;

    fn report(structures: usize, warnings: usize, words: usize) -> Report {
        let row = |number: usize| StructureRow {
            name: format!("Structure_{number:03}"),
            roi_type: "ORGAN".to_owned(),
            color: Color([0, 128, 255]),
            volume_cm3: 1.0,
            contours: 3,
            slices: Some((1, 3)),
            reach_mm: Some((0.0, 6.0)),
            made: true,
            note: String::new(),
        };
        let picture = Picture { width: 2, height: 1, palette: vec![[0; 3], [255; 3]], pixels: vec![0, 1] };
        let shows = (0..structures).collect();
        let figure = Figure { caption: "axial".to_owned(), view: View::Slice(0), picture, png: Vec::new(), shows };
        let check = Check { what: "Weights".to_owned(), found: "as named".to_owned(), passed: true };
        Report {
            structures: (0..structures).map(row).collect(),
            figures: vec![figure],
            checks: vec![check],
            warnings: vec!["look ".repeat(words); warnings],
            ..Report::default()
        }
    }

    fn drawn(report: &Report) -> Vec<(String, Canvas)> {
        sheets(report, |figure, _| figure.picture.clone())
    }

    /// Pixels of a colour in the lines of a sheet.
    fn count(canvas: &Canvas, color: Color, lines: std::ops::Range<usize>) -> usize {
        let pixels = &canvas.rgb[3 * CAPTURE_SIDE * lines.start..3 * CAPTURE_SIDE * lines.end];
        pixels.chunks_exact(3).filter(|pixel| **pixel == color.0).count()
    }

    #[test]
    fn checks_that_find_no_room_below_the_table_have_sheets_of_their_own() {
        let names = |report: &Report| -> Vec<String> { drawn(report).into_iter().map(|(name, _)| name).collect() };
        assert_eq!(names(&report(3, 2, 5)), ["Structures", "axial"]);
        // A table of two sheets has lost its checks once.
        assert_eq!(names(&report(40, 2, 5)), ["Structures, 1 of 2", "Structures, 2 of 2", "axial"]);
        assert_eq!(names(&report(28, 0, 5)), ["Structures", "Checks", "axial"]);
        assert_eq!(names(&report(3, 1, 900)), ["Structures", "Checks", "axial"]);
        // One text that is longer than all sheets is counted as left out.
        let many = names(&report(3, 1_000, 20));
        assert_eq!(many.iter().filter(|name| *name == "Checks").count(), CAPTURE_CHECKS_SHEETS_MAX);
    }

    #[test]
    fn nothing_is_written_below_the_foot() {
        for sheet in drawn(&report(200, 1_000, 90)) {
            let (foot, name) = ((SIDE - FOOT) as usize, sheet.0);
            assert_eq!(count(&sheet.1, INK, foot..CAPTURE_SIDE), 0, "{name}");
            assert!(count(&sheet.1, LINE, foot..foot + 1) > 900, "{name}");
        }
    }
}
