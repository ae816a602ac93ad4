//! A report as pictures for archives: one or more with the table of structures, then one for each figure with its legend.
//!
//! They are square and dark, as viewers of images show them.

use super::{Figure, Report, StructureRow};
use crate::limits::CAPTURE_SIDE;
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

/// The sheets, each with what it shows. `draw` draws a figure anew, its longer side so many pixels.
pub fn sheets(report: &Report, draw: impl Fn(&Figure, usize) -> Picture) -> Vec<(String, Canvas)> {
    let faces = [Face::regular(), Face::bold()];
    let rows_max = ((SIDE - HEAD - FOOT - 2.0 * ROW) / ROW) as usize;
    let chunks: Vec<&[StructureRow]> = match report.structures.as_slice() {
        [] => vec![&[]],
        rows => rows.chunks(rows_max).collect(),
    };
    let mut sheets: Vec<(String, Canvas)> = chunks
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
            if chunks.len() == 1 {
                sheet.checks(report);
            }
            (name, sheet.canvas)
        })
        .collect();
    sheets.extend(report.figures.iter().map(|figure| {
        let mut sheet = Sheet::new(&faces, report, &figure.caption);
        sheet.figure(report, figure, &draw);
        (figure.caption.clone(), sheet.canvas)
    }));
    sheets
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

    /// As many as there is room for; the page has all.
    fn checks(&mut self, report: &Report) {
        let lines = report.checks.iter().map(|check| (check.passed, format!("{}: {}", check.what, check.found)));
        let warnings = report.warnings.iter().map(|warning| (false, warning.clone()));
        for (passed, line) in lines.chain(warnings) {
            let (word, color) = if passed { ("passed", SOFT) } else { ("look at it", WARN) };
            let wrapped = self.regular.wrap(&line, TEXT, RIGHT - MARGIN - 130.0);
            if self.y + ROW * (wrapped.len() - 1) as f32 > SIDE - FOOT - 12.0 {
                return;
            }
            self.canvas.text(self.bold, TEXT, [MARGIN, self.y], color, word);
            for line in wrapped {
                self.canvas.text(self.regular, TEXT, [MARGIN + 130.0, self.y], INK, &line);
                self.y += ROW;
            }
        }
    }

    fn figure(&mut self, report: &Report, figure: &Figure, draw: &impl Fn(&Figure, usize) -> Picture) {
        let lines = self.legend_lines(report, figure);
        let room = SIDE - HEAD - FOOT - lines.len() as f32 * LEGEND_ROW - 20.0;
        let (width, height) = (figure.picture.width.max(1) as f32, figure.picture.height.max(1) as f32);
        let scale = ((RIGHT - MARGIN) / width).min(room / height);
        let picture = draw(figure, (width.max(height) * scale) as usize);
        let left = (CAPTURE_SIDE.saturating_sub(picture.width)) / 2;
        let top = HEAD + ((room - picture.height as f32) / 2.0).max(2.0);
        self.canvas.put(&picture, [left, top as usize]);
        self.y = SIDE - FOOT - 10.0 - (lines.len() as f32 - 1.0) * LEGEND_ROW;
        for line in lines {
            let mut x = MARGIN;
            for (color, name, width) in line {
                self.canvas.fill([x as usize, self.y as usize - 13, 15, 15], color);
                self.canvas.text(self.regular, TEXT, [x + 22.0, self.y], INK, &name);
                x += width;
            }
            self.y += LEGEND_ROW;
        }
    }

    /// The names of what a figure shows, in lines that fit, each with its colour and the room that it takes.
    fn legend_lines(&self, report: &Report, figure: &Figure) -> Vec<Vec<(Color, String, f32)>> {
        let mut lines: Vec<Vec<(Color, String, f32)>> = vec![Vec::new()];
        let mut at = MARGIN;
        for row in report.shown_in(figure) {
            let width = self.regular.width(&row.name, TEXT) + 46.0;
            if at + width > RIGHT + 24.0 && at > MARGIN {
                if lines.len() == LEGEND_LINES_MAX {
                    break;
                }
                lines.push(Vec::new());
                at = MARGIN;
            }
            at += width;
            if let Some(line) = lines.last_mut() {
                line.push((row.color, row.name.clone(), width));
            }
        }
        lines
    }
}
