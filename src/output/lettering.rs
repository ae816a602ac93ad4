//! The typeface of pictures and pages: DejaVu Sans, which the program carries, so that text looks the same everywhere; it
//! knows no picture and no page.
//!
//! It has Latin, Greek, Cyrillic, Arabic and Hebrew letters. What it lacks (Chinese, Japanese, Korean) is shown as U+FFFD:
//! a box that is seen to stand for something, instead of another letter. Text runs from left to right without ligatures.

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

/// What stands for a character that the typeface lacks.
const UNKNOWN: char = '\u{fffd}';

/// A weight of the typeface.
pub struct Face {
    font: FontRef<'static>,
    bytes: &'static [u8],
}

impl Face {
    pub fn regular() -> Face {
        Face::of(dejavu::sans::regular())
    }

    pub fn bold() -> Face {
        Face::of(dejavu::sans::bold())
    }

    fn of(bytes: &'static [u8]) -> Face {
        Face { font: FontRef::try_from_slice(bytes).expect("the typeface is part of the program"), bytes }
    }

    /// The font file (TrueType).
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// The glyphs of a text, each with the character that it shows. Control characters are spaces.
    pub fn glyphs(&self, text: &str) -> Vec<(u16, char)> {
        let glyph = |letter: char| {
            let letter = if letter.is_control() { ' ' } else { letter };
            match self.font.glyph_id(letter) {
                GlyphId(0) => (self.font.glyph_id(UNKNOWN).0, UNKNOWN),
                GlyphId(id) => (id, letter),
            }
        };
        text.chars().map(glyph).collect()
    }

    /// How far a glyph advances, in thousandths of the size of the type.
    pub fn advance(&self, glyph: u16) -> f32 {
        self.font.h_advance_unscaled(GlyphId(glyph)) / self.em() * 1000.0
    }

    /// Length of a text at a size, in the unit of the size.
    pub fn width(&self, text: &str, size: f32) -> f32 {
        self.glyphs(text).iter().map(|(glyph, _)| self.advance(*glyph)).sum::<f32>() * size / 1000.0
    }

    /// The longest beginning of a text that fits, with an ellipsis where something is cut off.
    pub fn cut(&self, text: &str, size: f32, room: f32) -> String {
        if self.width(text, size) <= room {
            return text.to_owned();
        }
        let mut cut = text.to_owned();
        while cut.pop().is_some() {
            let shown = format!("{}\u{2026}", cut.trim_end());
            if self.width(&shown, size) <= room {
                return shown;
            }
        }
        String::new()
    }

    /// The lines of a text that fit into a width. It breaks at spaces, and inside of words that are longer than a line.
    pub fn wrap(&self, text: &str, size: f32, room: f32) -> Vec<String> {
        let mut lines = Vec::new();
        for paragraph in text.split('\n') {
            let mut line = String::new();
            for word in paragraph.split_whitespace() {
                let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
                if self.width(&longer, size) <= room {
                    line = longer;
                    continue;
                }
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                for letter in word.chars() {
                    if !line.is_empty() && self.width(&format!("{line}{letter}"), size) > room {
                        lines.push(std::mem::take(&mut line));
                    }
                    line.push(letter);
                }
            }
            lines.push(line);
        }
        lines
    }

    /// How high letters stand above and below their baseline, in thousandths of the size.
    pub fn reach(&self) -> [f32; 2] {
        [self.font.ascent_unscaled(), self.font.descent_unscaled()].map(|reach| reach / self.em() * 1000.0)
    }

    /// Tells the pixels of a text: column, row and how much of the pixel is ink, 0 to 1. `x` is the left end and `y` the
    /// baseline.
    pub fn ink(&self, text: &str, size_px: f32, x: f32, y: f32, mut ink: impl FnMut(i32, i32, f32)) {
        let scaled = self.font.as_scaled(PxScale::from(size_px * self.font.height_unscaled() / self.em()));
        let mut at = x;
        for (glyph, _) in self.glyphs(text) {
            let id = GlyphId(glyph);
            if let Some(outline) = self.font.outline_glyph(id.with_scale_and_position(scaled.scale(), point(at, y))) {
                let corner = outline.px_bounds().min;
                outline.draw(|right, down, covered| {
                    ink(corner.x as i32 + right as i32, corner.y as i32 + down as i32, covered.min(1.0));
                });
            }
            at += scaled.h_advance(id);
        }
    }

    fn em(&self) -> f32 {
        self.font.units_per_em().unwrap_or(2048.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_typeface_lacks_is_seen_to_be_missing() {
        let shown: String = Face::regular().glyphs("Ωж\u{5c71}é\n").iter().map(|(_, letter)| *letter).collect();
        assert_eq!(shown, "Ωж\u{fffd}é ");
    }

    #[test]
    fn lines_fit_and_lose_nothing() {
        let face = Face::bold();
        let text = "contours of Lung_L cross themselves on sha256:0123456789abcdef0123456789abcdef";
        let lines = face.wrap(text, 10.0, 90.0);
        assert!(lines.len() > 3 && lines.iter().all(|line| face.width(line, 10.0) <= 90.0), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        assert!(face.width(&face.cut(text, 10.0, 90.0), 10.0) <= 90.0);
        assert_eq!(face.cut("short", 10.0, 90.0), "short");
    }

    #[test]
    fn ink_lies_between_the_ends_of_the_text() {
        let (face, mut columns) = (Face::regular(), Vec::new());
        face.ink("HHH", 20.0, 5.0, 30.0, |x, y, covered| {
            if covered > 0.5 {
                columns.push(x);
                assert!((14..30).contains(&y), "row {y}");
            }
        });
        let (first, last) = (columns.iter().min().expect("ink"), columns.iter().max().expect("ink"));
        assert!(*first >= 5 && (*last as f32) < 5.0 + face.width("HHH", 20.0), "{first} {last}");
    }
}
