//! A4 pages as a PDF file: text, boxes and pictures at places; it knows no report.
//!
//! Places are in points (1/72 inch) from the upper left corner. Letters are embedded as far as they are used, with what
//! they stand for, so that the text can be searched and copied. The same pages give the same bytes.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use subsetter::GlyphRemapper;
use thiserror::Error;

use super::lettering::Face;
use super::picture::Picture;
use crate::structure::Color;

/// A4, in points.
pub const SIZE: [f32; 2] = [595.28, 841.89];

/// The weight of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Regular,
    Bold,
}

impl Weight {
    const ALL: [Weight; 2] = [Weight::Regular, Weight::Bold];

    fn name(self) -> (Name<'static>, Name<'static>) {
        match self {
            Weight::Regular => (Name(b"F0"), Name(b"AAAAAA+DejaVuSans")),
            Weight::Bold => (Name(b"F1"), Name(b"AAAAAB+DejaVuSans-Bold")),
        }
    }
}

/// A face with the letters of it that were used.
struct Used {
    face: Face,
    mapper: GlyphRemapper,
    /// Character by glyph in the file.
    letters: BTreeMap<u16, char>,
}

/// Why there is no file.
#[derive(Debug, Error)]
pub enum PaperError {
    #[error("the typeface could not be reduced to the letters of the page ({0}); this is an error of the program")]
    Face(subsetter::Error),
    #[error("a stream could not be compressed ({0})")]
    Compression(#[from] std::io::Error),
}

/// Pages in the making.
pub struct Paper {
    title: String,
    used: [Used; 2],
    pages: Vec<Page>,
    pictures: Vec<Picture>,
}

struct Page {
    content: Content,
    /// Indices of the pictures on it.
    pictures: Vec<usize>,
}

impl Paper {
    /// No page yet.
    pub fn new(title: &str) -> Paper {
        let used = |face| Used { face, mapper: GlyphRemapper::new(), letters: BTreeMap::new() };
        let used = [used(Face::regular()), used(Face::bold())];
        Paper { title: title.to_owned(), used, pages: Vec::new(), pictures: Vec::new() }
    }

    pub fn face(&self, weight: Weight) -> &Face {
        &self.used[weight as usize].face
    }

    pub fn begin_page(&mut self) {
        self.pages.push(Page { content: Content::new(), pictures: Vec::new() });
    }

    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Goes back to a page, by its index, to write what is only known at the end.
    fn page(&mut self, index: usize) -> &mut Page {
        if self.pages.is_empty() {
            self.begin_page();
        }
        let last = self.pages.len() - 1;
        &mut self.pages[index.min(last)]
    }

    /// Writes a line of text on the last page; the place is the left end of its baseline.
    pub fn text(&mut self, weight: Weight, size: f32, place: [f32; 2], color: Color, text: &str) {
        self.text_on(usize::MAX, weight, size, place, color, text);
    }

    /// The same on a page of the choice of the caller, from 0.
    pub fn text_on(&mut self, page: usize, weight: Weight, size: f32, [x, y]: [f32; 2], color: Color, text: &str) {
        let used = &mut self.used[weight as usize];
        let mut codes = Vec::new();
        for (glyph, letter) in used.face.glyphs(text) {
            let code = used.mapper.remap(glyph);
            used.letters.entry(code).or_insert(letter);
            codes.extend(code.to_be_bytes());
        }
        let content = &mut self.page(page).content;
        fill(content, color);
        content.begin_text().set_font(weight.name().0, size);
        content.next_line(x, SIZE[1] - y).show(Str(&codes)).end_text();
    }

    /// Fills a box: left, top, width, height.
    pub fn fill(&mut self, [x, y, width, height]: [f32; 4], color: Color) {
        let content = &mut self.page(usize::MAX).content;
        fill(content, color);
        content.rect(x, SIZE[1] - y - height, width, height).fill_nonzero();
    }

    /// Puts a picture into a box: left, top, width, height.
    pub fn picture(&mut self, picture: &Picture, [x, y, width, height]: [f32; 4]) {
        let index = self.pictures.len();
        self.pictures.push(picture.clone());
        let page = self.page(usize::MAX);
        page.pictures.push(index);
        page.content.save_state().transform([width, 0.0, 0.0, height, x, SIZE[1] - y - height]);
        page.content.x_object(Name(picture_name(index).as_bytes())).restore_state();
    }

    /// The file.
    ///
    /// # Errors
    /// [`PaperError`].
    pub fn finish(mut self) -> Result<Vec<u8>, PaperError> {
        self.page(0);
        let mut references = (1..).map(Ref::new);
        let mut next = || references.next().unwrap_or(Ref::new(i32::MAX));
        let (catalog, tree, info) = (next(), next(), next());
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
        pdf.document_info(info).title(TextStr(&self.title)).producer(TextStr("contourd"));
        let fonts: Vec<Ref> = Weight::ALL.iter().map(|_| next()).collect();
        let pictures: Vec<Ref> = self.pictures.iter().map(|_| next()).collect();
        let pages: Vec<(Ref, Ref)> = self.pages.iter().map(|_| (next(), next())).collect();
        pdf.pages(tree).kids(pages.iter().map(|(page, _)| *page)).count(pages.len() as i32);
        for (page, (id, content)) in self.pages.into_iter().zip(&pages) {
            let mut written = pdf.page(*id);
            written.media_box(Rect::new(0.0, 0.0, SIZE[0], SIZE[1])).parent(tree).contents(*content);
            let mut resources = written.resources();
            let mut names = resources.fonts();
            for (weight, font) in Weight::ALL.iter().zip(&fonts) {
                names.pair(weight.name().0, font);
            }
            names.finish();
            let mut names = resources.x_objects();
            for index in page.pictures {
                names.pair(Name(picture_name(index).as_bytes()), pictures[index]);
            }
            names.finish();
            resources.finish();
            written.finish();
            let bytes = deflate(page.content.finish().as_slice())?;
            pdf.stream(*content, &bytes).filter(Filter::FlateDecode);
        }
        for (picture, id) in self.pictures.iter().zip(&pictures) {
            put_picture(&mut pdf, *id, picture)?;
        }
        for ((weight, used), font) in Weight::ALL.into_iter().zip(&self.used).zip(&fonts) {
            put_face(&mut pdf, weight, used, [*font, next(), next(), next(), next()])?;
        }
        Ok(pdf.finish())
    }
}

fn picture_name(index: usize) -> String {
    format!("P{index}")
}

fn fill(content: &mut Content, color: Color) {
    let [red, green, blue] = color.0.map(|part| f32::from(part) / 255.0);
    content.set_fill_rgb(red, green, blue);
}

fn deflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn put_picture(pdf: &mut Pdf, id: Ref, picture: &Picture) -> Result<(), PaperError> {
    let pixels = deflate(&picture.pixels)?;
    let palette = picture.palette.concat();
    let mut image = pdf.image_xobject(id, &pixels);
    image.filter(Filter::FlateDecode);
    image.width(picture.width as i32).height(picture.height as i32);
    image.color_space().indexed(Name(b"DeviceRGB"), picture.palette.len() as i32 - 1, &palette);
    image.bits_per_component(8).interpolate(true);
    Ok(())
}

const IDENTITY: SystemInfo<'static> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// A face as a font whose codes are the glyphs of the reduced file.
fn put_face(pdf: &mut Pdf, weight: Weight, used: &Used, ids: [Ref; 5]) -> Result<(), PaperError> {
    let [font, cid_font, descriptor, file, letters] = ids;
    let (_, name) = weight.name();
    pdf.type0_font(font)
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(cid_font)
        .to_unicode(letters);
    let mut inner = pdf.cid_font(cid_font);
    inner.subtype(CidFontType::Type2).base_font(name).system_info(IDENTITY).font_descriptor(descriptor);
    inner.default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
    let widths = used.mapper.remapped_gids().map(|glyph| used.face.advance(glyph));
    inner.widths().consecutive(0, widths);
    inner.finish();
    let [above, below] = used.face.reach();
    pdf.font_descriptor(descriptor)
        .name(name)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(-1021.0, -463.0, 1794.0, 1233.0))
        .italic_angle(0.0)
        .ascent(above)
        .descent(below)
        .cap_height(729.0)
        .stem_v(80.0)
        .font_file2(file);
    let reduced = subsetter::subset(used.face.bytes(), 0, &used.mapper).map_err(PaperError::Face)?;
    pdf.stream(file, &deflate(&reduced)?).filter(Filter::FlateDecode);
    let mut map = UnicodeCmap::new(Name(b"Letters"), IDENTITY);
    used.letters.iter().for_each(|(glyph, letter)| map.pair(*glyph, *letter));
    let map = map.finish();
    pdf.stream(letters, &deflate(map.as_slice())?).filter(Filter::FlateDecode);
    Ok(())
}
