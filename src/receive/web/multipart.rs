//! Cuts a multipart body (RFC 2046 5.1) into its parts as it arrives, within limits; it looks into no part.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::{self, Finder};
use thiserror::Error;

use crate::limits::{
    MULTIPART_AROUND_BYTES_MAX, MULTIPART_BOUNDARY_LENGTH_MAX, MULTIPART_HEADER_BYTES_MAX, MULTIPART_PARTS_MAX,
};

/// A body that is being cut. Give it the bytes as they come, and ask for pieces until there is none.
pub struct Multipart {
    /// Line end, two hyphens and the boundary; the line end belongs to the delimiter, not to the part before it.
    delimiter: Finder<'static>,
    buffer: BytesMut,
    state: State,
    parts: usize,
    /// Bytes before the first delimiter, or behind the last one.
    around_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Preamble,
    /// Behind a delimiter, whose line is not whole yet.
    Line {
        ends_part: bool,
    },
    /// A delimiter has ended a part and begins another.
    Between,
    Headers,
    /// Behind the headers of a part.
    Start,
    Body,
    /// The last delimiter has ended a part.
    Ending,
    Closed,
}

/// What comes next of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A part begins.
    Part(PartHead),
    /// Bytes of the part.
    Data(Bytes),
    /// All of the part has come, and the delimiter behind it is whole.
    PartEnd,
    /// The last part has come.
    Close,
}

/// What of the headers of a part counts here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    pub content_type: Option<String>,
    /// Content-Encoding or Content-Transfer-Encoding, unless it leaves the bytes as they are.
    pub encoding: Option<String>,
}

/// Why a body is none of several parts. No byte of it is repeated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MultipartError {
    #[error(
        "found a boundary that is none, expected 1 to {MULTIPART_BOUNDARY_LENGTH_MAX} characters of RFC 2046 5.1.1"
    )]
    Boundary,
    #[error(
        "found more than {MULTIPART_AROUND_BYTES_MAX} bytes outside of the parts; the boundary is another than that of the header"
    )]
    Around,
    #[error("found a boundary whose line goes on, expected its end or two hyphens")]
    Line,
    #[error("found headers of a part with more than {MULTIPART_HEADER_BYTES_MAX} bytes")]
    HeadersTooLong,
    #[error("found a header of a part that is none, expected a name, a colon and a value")]
    Header,
    #[error("found more than {MULTIPART_PARTS_MAX} parts; send them in several requests")]
    Parts,
    #[error("found the end of the body before the last boundary")]
    Cut,
}

impl Multipart {
    /// A body whose parts are separated by this boundary.
    ///
    /// # Errors
    /// [`MultipartError::Boundary`].
    pub fn new(boundary: &str) -> Result<Multipart, MultipartError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        if boundary.is_empty()
            || boundary.len() > MULTIPART_BOUNDARY_LENGTH_MAX
            || boundary.ends_with(' ')
            || !boundary.bytes().all(legal)
        {
            return Err(MultipartError::Boundary);
        }
        let delimiter = Finder::new(&format!("\r\n--{boundary}")).into_owned();
        // The first delimiter may stand at the very beginning.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Ok(Multipart { delimiter, buffer, state: State::Preamble, parts: 0, around_bytes: 0 })
    }

    /// Appends bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `None` until more bytes are there.
    ///
    /// # Errors
    /// [`MultipartError`]; what comes behind it has no meaning.
    pub fn piece(&mut self) -> Result<Option<Piece>, MultipartError> {
        loop {
            let before = (self.state, self.buffer.len());
            let piece = match self.state {
                State::Preamble => self.preamble()?,
                State::Line { ends_part } => self.line(ends_part)?,
                State::Between => {
                    self.state = State::Headers;
                    Some(Piece::PartEnd)
                }
                State::Headers => self.headers()?,
                State::Start => self.start(),
                State::Body => self.body(),
                State::Ending => {
                    self.state = State::Closed;
                    Some(Piece::Close)
                }
                State::Closed => {
                    self.around(self.buffer.len())?;
                    None
                }
            };
            if piece.is_some() || before == (self.state, self.buffer.len()) {
                return Ok(piece);
            }
        }
    }

    /// Whether the body may end here.
    ///
    /// # Errors
    /// [`MultipartError::Cut`].
    pub fn finish(&self) -> Result<(), MultipartError> {
        if self.state == State::Closed { Ok(()) } else { Err(MultipartError::Cut) }
    }

    /// Passes over bytes outside of the parts.
    fn around(&mut self, count: usize) -> Result<(), MultipartError> {
        self.buffer.advance(count);
        self.around_bytes += count;
        if self.around_bytes > MULTIPART_AROUND_BYTES_MAX { Err(MultipartError::Around) } else { Ok(()) }
    }

    /// All but what could be the beginning of a delimiter.
    fn safe_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.delimiter.needle().len() - 1)
    }

    fn preamble(&mut self) -> Result<Option<Piece>, MultipartError> {
        match self.delimiter.find(&self.buffer) {
            Some(at) => {
                self.around(at)?;
                self.buffer.advance(self.delimiter.needle().len());
                self.state = State::Line { ends_part: false };
            }
            None => self.around(self.safe_bytes())?,
        }
        Ok(None)
    }

    /// The rest of the line of a delimiter: two hyphens, or blanks that transports have added (RFC 2046 5.1.1).
    fn line(&mut self, ends_part: bool) -> Result<Option<Piece>, MultipartError> {
        if self.buffer.starts_with(b"--") {
            self.buffer.advance(2);
            self.state = State::Ending;
            return Ok(ends_part.then_some(Piece::PartEnd));
        }
        let blanks = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if blanks > MULTIPART_HEADER_BYTES_MAX {
            return Err(MultipartError::Line);
        }
        match &self.buffer[blanks..] {
            [b'\r', b'\n', ..] => {
                self.parts += 1;
                if self.parts > MULTIPART_PARTS_MAX {
                    return Err(MultipartError::Parts);
                }
                // The line end stays: with another one behind it, there are no headers.
                self.buffer.advance(blanks);
                self.state = if ends_part { State::Between } else { State::Headers };
                Ok(None)
            }
            [] | [b'\r'] => Ok(None),
            [b'-'] if blanks == 0 => Ok(None),
            _ => Err(MultipartError::Line),
        }
    }

    /// The headers, from the line end before them to the empty line behind them.
    fn headers(&mut self) -> Result<Option<Piece>, MultipartError> {
        let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") else {
            let too_long = self.buffer.len() > MULTIPART_HEADER_BYTES_MAX;
            return if too_long { Err(MultipartError::HeadersTooLong) } else { Ok(None) };
        };
        if end > MULTIPART_HEADER_BYTES_MAX {
            return Err(MultipartError::HeadersTooLong);
        }
        let head = part_head(self.buffer.get(2..end).unwrap_or_default())?;
        // The line end of the empty line stays, because it may be that of the next delimiter (RFC 2046 5.1.1: a body part
        // is headers and, where it has one, a line end and its body).
        self.buffer.advance(end + 2);
        self.state = State::Start;
        Ok(Some(Piece::Part(head)))
    }

    /// What stands behind the headers: the next delimiter, or the line end before the body.
    fn start(&mut self) -> Option<Piece> {
        let needle = self.delimiter.needle();
        let shared = self.buffer.iter().zip(needle).take_while(|(found, expected)| found == expected).count();
        if shared == needle.len() || shared < self.buffer.len() {
            self.buffer.advance(if shared == needle.len() { shared } else { 2 });
            self.state = if shared == needle.len() { State::Line { ends_part: true } } else { State::Body };
        }
        None
    }

    fn body(&mut self) -> Option<Piece> {
        let (count, found) = match self.delimiter.find(&self.buffer) {
            Some(at) => (at, true),
            None => (self.safe_bytes(), false),
        };
        let data = self.buffer.split_to(count).freeze();
        if found {
            self.buffer.advance(self.delimiter.needle().len());
            self.state = State::Line { ends_part: true };
        }
        (!data.is_empty()).then_some(Piece::Data(data))
    }
}

fn part_head(bytes: &[u8]) -> Result<PartHead, MultipartError> {
    let mut head = PartHead::default();
    let text = std::str::from_utf8(bytes).map_err(|_| MultipartError::Header)?;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        // A line that goes on is obsolete, and what it means differs between readers.
        let (name, value) = line.split_once(':').ok_or(MultipartError::Header)?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || value.contains(['\r', '\n', '\0']) {
            return Err(MultipartError::Header);
        }
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-type") && head.content_type.replace(value.to_owned()).is_some() {
            return Err(MultipartError::Header);
        }
        let encodes =
            name.eq_ignore_ascii_case("content-encoding") || name.eq_ignore_ascii_case("content-transfer-encoding");
        let leaves = ["binary", "8bit", "7bit", "identity"].iter().any(|word| value.eq_ignore_ascii_case(word));
        if encodes && !leaves {
            head.encoding = Some(value.to_owned());
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a body is, in pieces of so many bytes: `type[data]` for each part.
    fn check(body: &[u8], piece: usize) -> Result<String, MultipartError> {
        let (mut multipart, mut told) = (Multipart::new("b 1")?, String::new());
        for bytes in body.chunks(piece.max(1)) {
            multipart.push(bytes);
            while let Some(piece) = multipart.piece()? {
                match piece {
                    Piece::Part(head) => told += &format!("{}[", head.content_type.unwrap_or_default()),
                    Piece::Data(data) => told += &String::from_utf8_lossy(&data),
                    Piece::PartEnd => told += "]",
                    Piece::Close => told += ".",
                }
            }
            assert!(
                multipart.buffer.len() <= MULTIPART_HEADER_BYTES_MAX + piece + 80,
                "it holds no more than it needs"
            );
        }
        multipart.finish().map(|()| told)
    }

    #[track_caller]
    fn same(body: &str, expected: Result<&str, MultipartError>) {
        for piece in 1..=body.len().max(1) {
            assert_eq!(check(body.as_bytes(), piece).as_deref(), expected.as_ref().copied(), "pieces of {piece}");
        }
    }

    #[test]
    fn cuts_parts_however_the_bytes_come() {
        same("--b 1\r\nContent-Type: a/b\r\n\r\none\r\n--b 1\r\n\r\ntwo\r\n--b 1--", Ok("a/b[one][two]."));
        same("text before\r\n--b 1 \t\r\nX: y\r\n\r\n1\r\n--b 1--\r\ntext behind", Ok("[1]."));
        same("--b 1\r\n\r\n\r\n--b\r\n--b 2\r\n--b 1--", Ok("[\r\n--b\r\n--b 2]."));
        same("--b 1\r\n\r\n\r\n\r\n--b 1--", Ok("[\r\n]."));
    }

    #[test]
    fn parts_may_be_empty_and_there_may_be_none() {
        same("--b 1\r\n\r\n\r\n--b 1\r\nA: b\r\n\r\n\r\n--b 1--", Ok("[][]."));
        same("--b 1\r\n\r\n--b 1--", Ok("[]."));
        same("--b 1--", Ok("."));
    }

    #[test]
    fn says_what_is_wrong() {
        same("", Err(MultipartError::Cut));
        same("--b 1\r\n\r\nhalf", Err(MultipartError::Cut));
        same("--b 1\r\n\r\nwhole\r\n--b 1", Err(MultipartError::Cut));
        same("--b 1\r\n\r\nwhole\r\n--b 1-", Err(MultipartError::Cut));
        same("--b 1 and more\r\n\r\n--b 1--", Err(MultipartError::Line));
        same("--b 1\r\nno colon\r\n\r\n--b 1--", Err(MultipartError::Header));
        same("--b 1\r\nA: b\r\n folded\r\n\r\n--b 1--", Err(MultipartError::Header));
        same("--b 1\r\nContent-Type: a/b\r\nContent-type: c/d\r\n\r\n--b 1--", Err(MultipartError::Header));
        for bad in ["", " ", "a ", "a\"b", "a\r\nb", "ü", &"a".repeat(MULTIPART_BOUNDARY_LENGTH_MAX + 1)] {
            assert!(Multipart::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_ends_only_with_the_whole_line_of_its_delimiter() {
        let mut multipart = Multipart::new("b").expect("legal");
        multipart.push(b"--b\r\n\r\nall\r\n--b");
        let mut pieces = Vec::new();
        while let Some(piece) = multipart.piece().expect("good") {
            pieces.push(piece);
        }
        assert_eq!(pieces, [Piece::Part(PartHead::default()), Piece::Data(Bytes::from_static(b"all"))]);
        multipart.push(b"x");
        assert_eq!(multipart.piece(), Err(MultipartError::Line));
    }

    #[test]
    fn everything_is_bounded() {
        let headers = format!("--b 1\r\nA: {}", "b".repeat(2 * MULTIPART_HEADER_BYTES_MAX));
        assert_eq!(check(headers.as_bytes(), 1_000), Err(MultipartError::HeadersTooLong));
        let before = vec![b'x'; MULTIPART_AROUND_BYTES_MAX + 100];
        assert_eq!(check(&before, 1_000), Err(MultipartError::Around));
        assert_eq!(check(&[b"--b 1--", &before[..]].concat(), 1_000), Err(MultipartError::Around));
        let many = "--b 1\r\n\r\n\r\n".repeat(MULTIPART_PARTS_MAX + 1);
        assert_eq!(check(many.as_bytes(), 1_000), Err(MultipartError::Parts));
    }

    #[test]
    fn encodings_that_change_bytes_are_told() {
        for (text, expected) in
            [("Content-Transfer-Encoding: BINARY", None), ("content-transfer-encoding: base64", Some("base64"))]
        {
            assert_eq!(part_head(text.as_bytes()).expect("good").encoding.as_deref(), expected);
        }
    }
}
