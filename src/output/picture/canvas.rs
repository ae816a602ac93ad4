//! A picture in full colour, with boxes, text and other pictures in it; it knows no report.

use super::image::Picture;
use crate::output::lettering::Face;
use crate::structure::Color;

/// An image of 24-bit colour, row by row.
#[derive(Clone, PartialEq)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Red, green and blue of each pixel.
    pub rgb: Vec<u8>,
}

impl Canvas {
    /// All of one colour.
    pub fn new(width: usize, height: usize, ground: Color) -> Canvas {
        Canvas { width, height, rgb: ground.0.repeat(width * height) }
    }

    /// Fills a box: left, top, width, height. What lies outside of the canvas is left away.
    pub fn fill(&mut self, [x, y, width, height]: [usize; 4], color: Color) {
        for row in y..(y + height).min(self.height) {
            for column in x..(x + width).min(self.width) {
                self.set(column, row, color.0);
            }
        }
    }

    /// Writes a line of text; the place is the left end of its baseline.
    pub fn text(&mut self, face: &Face, size: f32, [x, y]: [f32; 2], color: Color, text: &str) {
        face.ink(text, size, x, y, |x, y, ink| {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
            if x < self.width && y < self.height {
                let at = 3 * (y * self.width + x);
                let mixed = |part: usize| f32::from(self.rgb[at + part]) * (1.0 - ink) + f32::from(color.0[part]) * ink;
                let mixed: [u8; 3] = std::array::from_fn(|part| mixed(part).round() as u8);
                self.set(x, y, mixed);
            }
        });
    }

    /// Puts a picture in, pixel by pixel; the place is its upper left corner.
    pub fn put(&mut self, picture: &Picture, [x, y]: [usize; 2]) {
        for row in 0..picture.height.min(self.height.saturating_sub(y)) {
            for column in 0..picture.width.min(self.width.saturating_sub(x)) {
                self.set(x + column, y + row, picture.rgb(column, row));
            }
        }
    }

    fn set(&mut self, x: usize, y: usize, rgb: [u8; 3]) {
        let at = 3 * (y * self.width + x);
        self.rgb[at..at + 3].copy_from_slice(&rgb);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_left_away() {
        let mut canvas = Canvas::new(4, 3, Color([0; 3]));
        canvas.fill([2, 1, 9, 9], Color([1, 2, 3]));
        let picture = Picture { width: 2, height: 5, palette: vec![[7; 3]], pixels: vec![0; 10] };
        canvas.put(&picture, [3, 2]);
        canvas.text(&Face::regular(), 40.0, [-5.0, 1.0], Color([9; 3]), "MW");
        let row = |row: usize| canvas.rgb[12 * row..12 * row + 12].to_vec();
        assert_eq!(row(2)[6..], [1, 2, 3, 7, 7, 7]);
        assert_eq!(canvas.rgb.len(), 36);
    }
}
