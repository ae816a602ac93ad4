//! What is written into a picture: directions, place, window, a bar of known length; it knows no volume.

use super::GREYS;
use super::image::Picture;
use crate::output::lettering::Face;

/// Index of full white in the palette, above the colours of structures.
const WHITE: u8 = 255;

/// Which part of a text stands at the place that is given for it.
#[derive(Clone, Copy)]
pub enum At {
    Left,
    Middle,
    Right,
}

/// Lengths of bars, mm.
const BARS_MM: [f64; 7] = [200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 1.0];

impl Picture {
    /// Size of letters that can be read in a picture of this size, in pixels.
    pub fn letters_px(&self) -> f32 {
        (self.width.max(self.height) as f32 / 38.0).max(9.0)
    }

    /// Writes white text with a dark rim, which is seen on air and on bone. `y` is the baseline.
    pub fn write(&mut self, face: &Face, text: &str, at: At, x: f32, y: f32) {
        let size = self.letters_px();
        let left = match at {
            At::Left => x,
            At::Middle => x - face.width(text, size) / 2.0,
            At::Right => x - face.width(text, size),
        };
        for down in -1..=1 {
            for right in -1..=1 {
                face.ink(text, size, left + right as f32, y + down as f32, |x, y, ink| {
                    self.blend(x, y, 0.0, ink * 0.7);
                });
            }
        }
        face.ink(text, size, left, y, |x, y, ink| self.blend(x, y, 1.0, ink));
    }

    /// Draws a bar of a round length, at most a third of the width, with what it measures: its right end at `x`, on the
    /// baseline `y`.
    pub fn bar(&mut self, face: &Face, pixel_mm: f64, x: f32, y: f32) {
        let room_mm = self.width as f64 * pixel_mm / 3.0;
        let Some(length_mm) = BARS_MM.into_iter().find(|length| *length <= room_mm) else { return };
        let (length, thickness) = ((length_mm / pixel_mm).round() as i32, (self.letters_px() / 6.0).round() as i32);
        let (right, bottom) = (x as i32, y as i32);
        for (rim, level) in [(1, 0.0), (0, 1.0)] {
            for down in -rim..thickness + rim {
                for left in -rim..length + rim {
                    self.blend(right - 1 - left, bottom - 1 - down, level, 1.0);
                }
            }
        }
        let above = y - thickness as f32 - self.letters_px() * 0.4;
        self.write(face, &format!("{length_mm} mm"), At::Right, x, above);
    }

    /// Mixes a grey into a pixel. Lines of structures keep their colour unless they are covered for the most part.
    fn blend(&mut self, x: i32, y: i32, level: f32, share: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let pixel = &mut self.pixels[y * self.width + x];
        let top = (GREYS - 1) as f32;
        let grey = if usize::from(*pixel) < GREYS {
            f32::from(*pixel)
        } else if share > 0.5 {
            top / 2.0
        } else {
            return;
        };
        let mixed = grey * (1.0 - share) + level * top * share;
        *pixel = if level > 0.5 && share > 0.95 { WHITE } else { mixed.round() as u8 };
    }
}
