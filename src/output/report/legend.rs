//! The names below a picture, in lines that fit; it draws nothing.

use super::StructureRow;
use crate::output::lettering::Face;
use crate::structure::Color;

/// How names are laid out, in the unit of the size of the type.
pub struct Legend<'a> {
    pub face: &'a Face,
    pub size: f32,
    /// Length of a line.
    pub room: f32,
    /// From the patch of colour to its name.
    pub patch: f32,
    /// From the end of a name to the next patch.
    pub gap: f32,
    pub lines_max: usize,
}

/// What stands in a line.
#[derive(Debug, PartialEq)]
pub struct Entry {
    /// Where it begins, from the left end of the line.
    pub x: f32,
    /// That of the patch before the name; none for what says how many names there was no room for.
    pub color: Option<Color>,
    pub text: String,
}

impl Legend<'_> {
    /// The lines. Where there is no room for all names, the last entry says how many are left out.
    pub fn lines<'s>(&self, rows: impl Iterator<Item = &'s StructureRow>) -> Vec<Vec<Entry>> {
        let mut lines: Vec<Vec<Entry>> = vec![Vec::new()];
        let mut left_out = 0;
        let mut x = 0.0;
        for row in rows {
            let text = self.face.cut(&row.name, self.size, self.room - self.patch);
            let width = self.patch + self.face.width(&text, self.size);
            if x > 0.0 && x + width > self.room && left_out == 0 && lines.len() < self.lines_max {
                lines.push(Vec::new());
                x = 0.0;
            }
            if left_out > 0 || (x > 0.0 && x + width > self.room) {
                left_out += 1;
                continue;
            }
            if let Some(line) = lines.last_mut() {
                line.push(Entry { x, color: Some(row.color), text });
            }
            x += width + self.gap;
        }
        if let Some(line) = lines.last_mut().filter(|_| left_out > 0) {
            self.say_more(line, left_out);
        }
        lines
    }

    /// Ends a line by how many names are left out, at the cost of its last ones where there is no room.
    fn say_more(&self, line: &mut Vec<Entry>, mut left_out: usize) {
        loop {
            let text = format!("and {left_out} more");
            let end = |entry: &Entry| entry.x + self.patch + self.face.width(&entry.text, self.size) + self.gap;
            let x = line.last().map_or(0.0, end);
            if line.is_empty() || x + self.face.width(&text, self.size) <= self.room {
                line.push(Entry { x, color: None, text });
                return;
            }
            line.pop();
            left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: String) -> StructureRow {
        let color = Color([name.len() as u8, 1, 2]);
        let (roi_type, note) = (String::new(), String::new());
        let (slices, reach_mm) = (Some((1, 3)), Some((0.0, 6.0)));
        StructureRow { name, roi_type, color, volume_cm3: 1.0, contours: 3, slices, reach_mm, made: true, note }
    }

    /// The lines of so many structures, and how many names the last entry says to be left out.
    fn lines(count: usize, lines_max: usize) -> (Vec<Vec<Entry>>, usize) {
        let rows: Vec<StructureRow> =
            (0..count).map(|number| row(format!("Structure_{}", "x".repeat(number % 9)))).collect();
        let face = Face::regular();
        let legend = Legend { face: &face, size: 20.0, room: 600.0, patch: 22.0, gap: 24.0, lines_max };
        let lines = legend.lines(rows.iter());
        assert!(lines.len() <= lines_max);
        for entry in lines.iter().flatten() {
            let patch = if entry.color.is_some() { 22.0 } else { 0.0 };
            assert!(entry.x + patch + face.width(&entry.text, 20.0) <= 600.0, "{entry:?}");
        }
        let last = lines.iter().flatten().next_back().filter(|entry| entry.color.is_none());
        let said = last.map_or(0, |entry| entry.text.split(' ').nth(1).expect("a number").parse().expect("a number"));
        (lines, said)
    }

    #[test]
    fn each_name_is_told_or_counted() {
        for count in 0..60 {
            for lines_max in [1, 2, 4] {
                let (lines, said) = lines(count, lines_max);
                let told: Vec<&Entry> = lines.iter().flatten().filter(|entry| entry.color.is_some()).collect();
                assert_eq!(told.len() + said, count, "{lines_max} lines");
                let first = (0..told.len()).all(|at| told[at].text == format!("Structure_{}", "x".repeat(at % 9)));
                assert!(first, "in the order of the table");
            }
        }
        assert_eq!(lines(9, 4).1, 0);
        assert!(lines(59, 4).1 > 40);
    }

    #[test]
    fn a_name_longer_than_a_line_is_cut() {
        let face = Face::bold();
        let legend = Legend { face: &face, size: 10.0, room: 140.0, patch: 8.0, gap: 7.0, lines_max: 2 };
        let rows = [row("W".repeat(64)), row("Heart".to_owned()), row("W".repeat(63))];
        let lines = legend.lines(rows.iter());
        assert!(lines[0][0].text.ends_with('\u{2026}') && lines[0].len() == 1, "{lines:?}");
        assert_eq!(lines[1].iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["Heart", "and 1 more"]);
    }
}
