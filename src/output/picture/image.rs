//! A picture of palette indices, and PNG; it knows no volume.

use thiserror::Error;

/// An image of palette indices, row by row.
#[derive(Clone, PartialEq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub palette: Vec<[u8; 3]>,
    pub pixels: Vec<u8>,
}

/// Why a picture could not be encoded.
#[derive(Debug, Error)]
#[error("a picture of {width} x {height} pixels could not be encoded as PNG ({reason})")]
pub struct PictureError {
    width: usize,
    height: usize,
    reason: String,
}

impl Picture {
    /// The colour of a pixel.
    pub fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        self.palette[usize::from(self.pixels[y * self.width + x])]
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// [`PictureError`] when the encoder refuses, which it does not for the sizes that `draw` makes.
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let failed = |error: png::EncodingError| {
            let (width, height) = (self.width, self.height);
            PictureError { width, height, reason: error.to_string() }
        };
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(self.palette.concat());
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&self.pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(bytes)
    }
}
