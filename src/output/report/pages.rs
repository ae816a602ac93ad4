//! A report as a PDF of A4 pages, with the content of the HTML page: the result first, where it came from after it.

use super::legend::{Entry, Legend};
use super::{Fact, Figure, Report, StructureRow};
use crate::output::paper::{Paper, PaperError, SIZE, Weight};
use crate::structure::Color;

const INK: Color = Color([28, 36, 48]);
const SOFT: Color = Color([91, 102, 117]);
const RULE: Color = Color([217, 222, 229]);
const WARN: Color = Color([138, 75, 0]);
const WARN_GROUND: Color = Color([255, 244, 224]);
const GOOD: Color = Color([29, 107, 58]);
const DARK: Color = Color([11, 13, 16]);
const BAR: Color = Color([74, 123, 208]);

/// Left, top, right and bottom of what is written on a page, in points.
const LEFT: f32 = 40.0;
const TOP: f32 = 42.0;
const RIGHT: f32 = SIZE[0] - 40.0;
const BOTTOM: f32 = SIZE[1] - 46.0;
const WIDTH: f32 = RIGHT - LEFT;

const TEXT: f32 = 8.0;
const SMALL: f32 = 6.5;
/// From baseline to baseline, in sizes of the type.
const LEADING: f32 = 1.4;
/// The same in points, of a line of text.
const LINE_HEIGHT: f32 = TEXT * LEADING;

/// Columns of the table of structures: left end of the type, right ends of the numbers, left end of the note.
const TYPE: f32 = LEFT + 118.0;
const NUMBERS: [f32; 4] = [LEFT + 232.0, LEFT + 282.0, LEFT + 370.0, LEFT + 416.0];
const NOTE: f32 = LEFT + 430.0;

/// Pictures in a row.
const IN_A_ROW: usize = 3;
const GAP: f32 = 8.0;
/// Lines of names under a picture; the table has them all.
const LEGEND_LINES_MAX: usize = 2;

/// The pages. The same report gives the same bytes.
///
/// # Errors
/// [`PaperError`], which is none of the report.
pub fn pdf(report: &Report) -> Result<Vec<u8>, PaperError> {
    let mut flow = Flow { paper: Paper::new(&format!("{} - contourd", report.title)), y: TOP };
    flow.paper.begin_page();
    flow.head(report);
    flow.list("Warnings", &report.warnings, WARN);
    flow.structures(&report.structures);
    flow.figures(report);
    flow.checks(report);
    flow.facts("Patient", &report.patient);
    flow.facts("Series", &report.series);
    flow.facts("Pipeline", &report.pipeline);
    flow.facts("Provenance", &report.provenance);
    flow.stages(report);
    flow.list("Why the pipeline ran", &report.reasons, INK);
    flow.feet(report);
    flow.paper.finish()
}

/// Lines of text below each other.
struct Column<'a> {
    weight: Weight,
    x: f32,
    color: Color,
    lines: &'a [String],
}

impl<'a> Column<'a> {
    fn of(x: f32, color: Color, lines: &'a [String]) -> Column<'a> {
        Column { weight: Weight::Regular, x, color, lines }
    }
}

/// Pages that are filled from top to bottom.
struct Flow {
    paper: Paper,
    /// Where the next thing begins, from the top of the page.
    y: f32,
}

impl Flow {
    /// Begins another page where something of this height does not fit any more.
    fn need(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > TOP {
            self.paper.begin_page();
            self.y = TOP;
        }
    }

    fn text(&mut self, weight: Weight, size: f32, x: f32, color: Color, text: &str) {
        self.paper.text(weight, size, [x, self.y + size], color, text);
    }

    fn right(&mut self, size: f32, x: f32, color: Color, text: &str) {
        let width = self.paper.face(Weight::Regular).width(text, size);
        self.text(Weight::Regular, size, x - width, color, text);
    }

    /// The colour of a structure, in a frame: pale ones are not seen on paper without.
    fn patch(&mut self, [x, y]: [f32; 2], side: f32, color: Color) {
        self.paper.fill([x - 0.4, y - 0.4, side + 0.8, side + 0.8], SOFT);
        self.paper.fill([x, y, side, side], color);
    }

    fn head(&mut self, report: &Report) {
        let (job, room) = (format!("job {}", report.job), WIDTH * 0.6);
        let title = self.paper.face(Weight::Bold).cut(&report.title, 16.0, room);
        self.text(Weight::Bold, 16.0, LEFT, INK, &title);
        self.right(TEXT, RIGHT, SOFT, &job);
        self.y += LINE_HEIGHT;
        self.right(TEXT, RIGHT, SOFT, &report.created);
        self.y += 18.0;
        self.paper.fill([LEFT, self.y, WIDTH, 18.0], WARN_GROUND);
        self.y += 4.5;
        let said = "AI generated, not reviewed. Check and approve every contour before use.";
        self.text(Weight::Bold, 8.5, LEFT + 8.0, WARN, said);
        self.y += 20.0;
    }

    /// The heading of a section, kept with at least so much of what follows.
    fn heading(&mut self, title: &str, kept: f32) {
        self.y += 6.0;
        self.need(18.0 + kept);
        self.text(Weight::Bold, 10.5, LEFT, INK, title);
        self.y += 16.0;
    }

    fn rule(&mut self) {
        self.paper.fill([LEFT, self.y, WIDTH, 0.5], RULE);
        self.y += 2.5;
    }

    /// Begins another page where a block of so many lines does not fit any more. One that no page holds begins here.
    fn keep(&mut self, lines: usize) {
        let height = lines.max(1) as f32 * LINE_HEIGHT + 3.0;
        self.need(if height > BOTTOM - TOP { LINE_HEIGHT } else { height });
    }

    /// Lines of text in columns side by side, from the place where the flow is. What does not fit any more goes on on the
    /// next page, below its head.
    fn columns(&mut self, columns: &[Column<'_>], head: Option<fn(&mut Flow)>) {
        let longest = columns.iter().map(|column| column.lines.len()).max().unwrap_or(0);
        for number in 0..longest {
            // A block that `keep` has let in fits; its sum is rounded another way.
            if self.y + LINE_HEIGHT > BOTTOM + 0.5 {
                self.paper.begin_page();
                self.y = TOP;
                if let Some(head) = head {
                    head(self);
                }
            }
            for column in columns {
                if let Some(line) = column.lines.get(number) {
                    self.text(column.weight, TEXT, column.x, column.color, line);
                }
            }
            self.y += LINE_HEIGHT;
        }
    }

    fn wrap(&self, text: &str, room: f32) -> Vec<String> {
        self.paper.face(Weight::Regular).wrap(text, TEXT, room)
    }

    fn list(&mut self, title: &str, lines: &[String], color: Color) {
        if lines.is_empty() {
            return;
        }
        self.heading(title, 12.0);
        let mark = ["\u{2022}".to_owned()];
        for line in lines {
            let wrapped = self.wrap(line, WIDTH - 10.0);
            self.keep(wrapped.len());
            self.columns(&[Column::of(LEFT, color, &mark), Column::of(LEFT + 10.0, color, &wrapped)], None);
            self.y += 1.0;
        }
    }

    fn facts(&mut self, title: &str, facts: &[Fact]) {
        if facts.is_empty() {
            return;
        }
        self.heading(title, 12.0);
        let middle = LEFT + WIDTH * 0.28;
        for (name, value) in facts {
            let (names, values) = (self.wrap(name, middle - LEFT - 8.0), self.wrap(value, RIGHT - middle));
            self.keep(names.len().max(values.len()));
            self.columns(&[Column::of(LEFT, SOFT, &names), Column::of(middle, INK, &values)], None);
            self.rule();
        }
    }

    fn checks(&mut self, report: &Report) {
        if report.checks.is_empty() {
            return;
        }
        self.heading("Checks", 12.0);
        let (what, found) = (LEFT + 58.0, LEFT + WIDTH * 0.34);
        for check in &report.checks {
            let (names, lines) = (self.wrap(&check.what, found - what - 8.0), self.wrap(&check.found, RIGHT - found));
            self.keep(names.len().max(lines.len()));
            let (word, color) = if check.passed { ("passed", GOOD) } else { ("look at it", WARN) };
            let word = [word.to_owned()];
            let word = Column { weight: Weight::Bold, ..Column::of(LEFT, color, &word) };
            self.columns(&[word, Column::of(what, INK, &names), Column::of(found, INK, &lines)], None);
            self.rule();
        }
    }

    fn structures(&mut self, rows: &[StructureRow]) {
        self.heading("Structures", 30.0);
        self.structures_head();
        for row in rows {
            let note = self.wrap(&row.note, RIGHT - NOTE);
            let before = self.paper.pages();
            self.keep(note.len());
            if self.paper.pages() > before {
                self.structures_head();
            }
            self.structure(row, &note);
        }
    }

    fn structures_head(&mut self) {
        let heads = ["Volume, cm\u{b3}", "Slices", "Along the stack, mm", "Contours"];
        self.text(Weight::Bold, SMALL, LEFT + 13.0, SOFT, "Name");
        self.text(Weight::Bold, SMALL, TYPE, SOFT, "Type");
        for (head, x) in heads.iter().zip(NUMBERS) {
            let width = self.paper.face(Weight::Bold).width(head, SMALL);
            self.text(Weight::Bold, SMALL, x - width, SOFT, head);
        }
        self.text(Weight::Bold, SMALL, NOTE, SOFT, "Note");
        self.y += SMALL * LEADING + 1.0;
        self.rule();
    }

    fn structure(&mut self, row: &StructureRow, note: &[String]) {
        let empty = row.slices.is_none();
        let color = if empty { WARN } else { INK };
        self.patch([LEFT, self.y + 1.0], 8.0, row.color);
        let name = self.paper.face(Weight::Regular).cut(&row.name, TEXT, TYPE - LEFT - 17.0);
        self.text(Weight::Regular, TEXT, LEFT + 13.0, color, &name);
        self.text(Weight::Regular, TEXT, TYPE, color, &row.roi_type);
        let volume = row.volume();
        let slices = row.slices.map_or(String::new(), |(first, last)| format!("{first} to {last}"));
        let reach = row.reach_mm.map_or(String::new(), |(low, high)| format!("{low:.1} to {high:.1}"));
        for (text, x) in [volume, slices, reach, row.contours.to_string()].iter().zip(NUMBERS) {
            self.right(TEXT, x, color, text);
        }
        self.columns(&[Column::of(NOTE, WARN, note)], Some(Flow::structures_head));
        self.rule();
    }

    fn figures(&mut self, report: &Report) {
        let width = (WIDTH - GAP * (IN_A_ROW - 1) as f32) / IN_A_ROW as f32;
        let height_of = |figure: &Figure| width * figure.picture.height as f32 / figure.picture.width.max(1) as f32;
        for (index, row) in report.figures.chunks(IN_A_ROW).enumerate() {
            let tall = row.iter().map(height_of).fold(0.0, f32::max).min(width);
            let height = tall + SMALL * LEADING * (1 + LEGEND_LINES_MAX) as f32 + 6.0;
            if index == 0 {
                self.heading("Pictures", height);
            }
            self.need(height);
            for (at, figure) in row.iter().enumerate() {
                self.figure(report, figure, [LEFT + at as f32 * (width + GAP), width, tall]);
            }
            self.y += height;
        }
    }

    /// A picture in its box, with its caption and the names of what it shows.
    fn figure(&mut self, report: &Report, figure: &Figure, [x, width, tall]: [f32; 3]) {
        self.paper.fill([x, self.y, width, tall], DARK);
        let (across, down) = (figure.picture.width.max(1) as f32, figure.picture.height.max(1) as f32);
        let scale = (width / across).min(tall / down);
        let (shown_width, shown_height) = (across * scale, down * scale);
        let place = [x + (width - shown_width) / 2.0, self.y + (tall - shown_height) / 2.0, shown_width, shown_height];
        self.paper.picture(&figure.picture, place);
        let begin = self.y;
        self.y += tall + 2.0;
        let caption = self.paper.face(Weight::Regular).cut(&figure.caption, SMALL, width);
        self.text(Weight::Regular, SMALL, x, SOFT, &caption);
        self.y += SMALL * LEADING;
        let face = self.paper.face(Weight::Regular);
        let lines_max = LEGEND_LINES_MAX;
        let legend = Legend { face, size: SMALL, room: width, patch: 8.0, gap: 7.0, lines_max };
        for line in legend.lines(report.shown_in(figure)) {
            for Entry { x: at, color, text } in line {
                if let Some(color) = color {
                    self.patch([x + at, self.y + 1.0], 5.5, color);
                    self.text(Weight::Regular, SMALL, x + at + 8.0, INK, &text);
                } else {
                    self.text(Weight::Regular, SMALL, x + at, SOFT, &text);
                }
            }
            self.y += SMALL * LEADING;
        }
        self.y = begin;
    }

    fn stages(&mut self, report: &Report) {
        if report.stages.is_empty() {
            return;
        }
        let total: f64 = report.stages.iter().map(|stage| stage.seconds).sum();
        let longest = report.stages.iter().map(|stage| stage.seconds).fold(1e-9, f64::max);
        self.heading(&format!("Time, {total:.1} s in all"), 12.0);
        let middle = LEFT + WIDTH * 0.45;
        for stage in &report.stages {
            self.need(LINE_HEIGHT + 3.0);
            let name = self.paper.face(Weight::Regular).cut(&stage.name, TEXT, middle - LEFT - 50.0);
            self.text(Weight::Regular, TEXT, LEFT, INK, &name);
            self.right(TEXT, middle, INK, &format!("{:.2} s", stage.seconds));
            let width = (stage.seconds / longest) as f32 * (RIGHT - middle - 12.0);
            self.paper.fill([middle + 12.0, self.y + 2.0, width.max(0.5), 6.0], BAR);
            self.y += LINE_HEIGHT;
            self.rule();
        }
    }

    /// The foot of every page, when their number is known.
    fn feet(&mut self, report: &Report) {
        let pages = self.paper.pages();
        let said = format!("job {}", report.job);
        for page in 0..pages {
            let number = format!("page {} of {pages}", page + 1);
            let width = self.paper.face(Weight::Regular).width(&number, SMALL);
            let y = SIZE[1] - 26.0;
            self.paper.text_on(page, Weight::Regular, SMALL, [LEFT, y], SOFT, &said);
            let middle = "AI generated, not reviewed";
            let half = self.paper.face(Weight::Bold).width(middle, SMALL) / 2.0;
            self.paper.text_on(page, Weight::Bold, SMALL, [SIZE[0] / 2.0 - half, y], WARN, middle);
            self.paper.text_on(page, Weight::Regular, SMALL, [RIGHT - width, y], SOFT, &number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::picture::{Picture, View};
    use crate::output::report::Check;

    fn report(structures: usize) -> Report {
        let row = |number: usize| StructureRow {
            name: format!("Structure_{number:03}"),
            roi_type: "ORGAN".to_owned(),
            color: Color([0, 128, 255]),
            volume_cm3: 1.0,
            contours: 3,
            slices: Some((1, 3)),
            reach_mm: Some((0.0, 6.0)),
            made: true,
            note: if number.is_multiple_of(7) {
                "a note that is longer than its column and has to be broken".to_owned()
            } else {
                String::new()
            },
        };
        let picture = Picture { width: 2, height: 1, palette: vec![[0; 3], [255; 3]], pixels: vec![0, 1] };
        let figure = Figure {
            caption: "axial".to_owned(),
            view: View::Slice(0),
            picture,
            png: Vec::new(),
            shows: (0..structures).collect(),
        };
        let structures = (0..structures).map(row).collect();
        let warnings = vec!["\u{5c71} is no letter of ours; \u{3b1} is".to_owned()];
        Report { title: "thorax on CT".to_owned(), structures, figures: vec![figure; 7], warnings, ..Report::default() }
    }

    /// How many pages a file says that it has.
    fn pages(pdf: &[u8]) -> usize {
        let text = String::from_utf8_lossy(pdf);
        let count = text.split("/Count ").nth(1).expect("a page tree");
        count.split(|c: char| !c.is_ascii_digit()).next().expect("a number").parse().expect("a number")
    }

    #[test]
    fn many_structures_take_more_pages_and_the_same_report_the_same_bytes() {
        let few = pdf(&report(4)).expect("pages");
        assert!(few.starts_with(b"%PDF-1.") && few.ends_with(b"%%EOF"));
        assert_eq!(few, pdf(&report(4)).expect("pages"));
        assert!(pages(&few) <= 2 && pages(&pdf(&report(150)).expect("pages")) >= 4);
        // The reduced typeface is small beside the whole of 750 kB.
        assert!(few.len() < 60_000, "{} bytes", few.len());
        assert_eq!(pages(&pdf(&Report::default()).expect("pages")), 1);
    }
    /// The baselines of all lines of text, from the lower edge of their page.
    fn baselines(pdf: &[u8]) -> Vec<f32> {
        let mut found = Vec::new();
        for stream in pdf.split_inclusive(|byte| *byte == b'\n').enumerate().filter(|(_, line)| *line == b"stream\n") {
            let begin: usize = pdf.split_inclusive(|byte| *byte == b'\n').take(stream.0 + 1).map(<[u8]>::len).sum();
            let mut text = Vec::new();
            let mut inflated = flate2::read::ZlibDecoder::new(&pdf[begin..]);
            std::io::Read::read_to_end(&mut inflated, &mut text).expect("a stream of ours");
            let text = String::from_utf8_lossy(&text).into_owned();
            let places = text.lines().filter_map(|line| line.strip_suffix(" Td"));
            found
                .extend(places.map(|place| -> f32 { place.rsplit(' ').next().expect("y").parse().expect("a number") }));
        }
        found
    }

    #[test]
    fn what_is_longer_than_a_page_goes_on_on_the_next() {
        let long = "word ".repeat(4_000);
        let short = baselines(&pdf(&report(4)).expect("pages")).len();
        let mut report = report(4);
        report.warnings = vec![long.clone()];
        report.provenance = vec![("Model".to_owned(), long.clone())];
        report.checks = vec![Check { what: "Images".to_owned(), found: long.clone(), passed: false }];
        report.structures[2].note = long;
        let file = pdf(&report).expect("pages");
        let found = baselines(&file);
        assert!(pages(&file) > 20 && found.len() > short + 1_500, "{} pages, {} lines", pages(&file), found.len());
        // The foot is the lowest line of a page.
        let lowest = found.iter().copied().fold(f32::MAX, f32::min);
        assert!(lowest >= 25.0 && found.iter().all(|y| *y < SIZE[1] - 40.0), "a line at {lowest}");
        let between = found.iter().filter(|y| (26.5..SIZE[1] - BOTTOM).contains(*y)).count();
        assert_eq!(between, 0, "lines between the text and the foot");
    }
}
