//! Reads the headers of a request that say what its body is, what is wanted back, and who sends it; it judges none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::dimse::Credentials;
use crate::limits::HTTP_TOKEN_BYTES_MAX;

/// A media type with its parameters (RFC 9110 8.3.1); names and the type itself in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MediaType {
    pub essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    /// `None` for what is no media type, and for one that has a parameter twice: readers differ in which counts.
    pub fn parse(text: &str) -> Option<MediaType> {
        let end = text.find(';').unwrap_or(text.len());
        let essence = text[..end].trim().to_ascii_lowercase();
        let (kind, sub) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(sub) {
            return None;
        }
        let (mut rest, mut parameters) = (&text[end..], Vec::new());
        while let Some(after) = rest.trim_start().strip_prefix(';') {
            rest = after.trim_start();
            if rest.is_empty() || rest.starts_with(';') {
                continue;
            }
            let (name, after) = rest.split_once('=')?;
            let name = name.trim_end().to_ascii_lowercase();
            let (value, after) = value(after.trim_start())?;
            if !is_token(&name) || parameters.iter().any(|(known, _)| *known == name) {
                return None;
            }
            parameters.push((name, value));
            rest = after;
        }
        rest.trim().is_empty().then_some(MediaType { essence, parameters })
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn is_token(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(legal)
}

/// A token or a quoted string, and what stands behind it. A token ends at the next parameter: boundaries with characters
/// that would need quotes come without them from some senders.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        let value = text[..end].trim_end();
        return (!value.is_empty() && !value.contains('"')).then(|| (value.to_owned(), &text[end..]));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in quoted.char_indices() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some((value, &quoted[at + 1..])),
            _ => {
                escaped = false;
                value.push(character);
            }
        }
    }
    None
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// PS3.18 F, what is written when nothing is asked for.
    Json,
    /// PS3.19 A.1.
    Xml,
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/dicom+json",
            Format::Xml => "application/dicom+xml",
        }
    }

    /// The one that is wanted most (RFC 9110 12.5.1); `None` where neither is.
    pub fn wanted(accept: Option<&str>) -> Option<Format> {
        let Some(accept) = accept.filter(|text| !text.trim().is_empty()) else { return Some(Format::Json) };
        let mut best: Option<(f32, Format)> = None;
        for range in accept.split(',').filter_map(MediaType::parse) {
            let weight = range.parameter("q").map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0);
            let found = match range.essence.as_str() {
                "*/*" | "application/*" | "application/dicom+json" | "application/json" => Format::Json,
                "application/dicom+xml" | "application/xml" | "text/xml" => Format::Xml,
                // Old clients want the parts of PS3.18 to be XML this way.
                "multipart/related" if range.parameter("type") == Some("application/dicom+xml") => Format::Xml,
                _ => continue,
            };
            if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, found));
            }
        }
        best.map(|(_, format)| format)
    }
}

/// Who sends a request, by its Authorization; `None` for one that cannot be read.
pub(super) fn credentials(authorization: Option<&str>) -> Option<Credentials> {
    let Some(text) = authorization else { return Some(Credentials::default()) };
    let (scheme, rest) = text.trim().split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() || rest.len() > 2 * HTTP_TOKEN_BYTES_MAX {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        let token = Some(Credentials::hashed(rest.as_bytes()));
        return (rest.len() <= HTTP_TOKEN_BYTES_MAX).then_some(Credentials { calling: None, token });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(rest).ok()?;
    let at = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = (&decoded[..at], &decoded[at + 1..]);
    let calling = std::str::from_utf8(user).ok()?.parse().ok()?;
    let token = (!password.is_empty()).then(|| Credentials::hashed(password));
    Some(Credentials { calling: Some(calling), token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_media_types_as_clients_write_them() {
        for (text, boundary) in [
            ("multipart/related; type=\"application/dicom\"; boundary=abc", "abc"),
            ("Multipart/Related;boundary=\"a b\\\"c\" ; type=application/dicom;", "a b\"c"),
            ("multipart/related; BOUNDARY=a=b/c:d; type=\"application/dicom\"", "a=b/c:d"),
        ] {
            let found = MediaType::parse(text).expect(text);
            assert_eq!((found.essence.as_str(), found.parameter("boundary")), ("multipart/related", Some(boundary)));
            assert_eq!(found.parameter("type"), Some("application/dicom"), "{text}");
        }
        for bad in [
            "",
            "multipart",
            "a/b; c",
            "a/b; c=\"d",
            "a/b; c=d; C=e",
            "a/b; c=\"d\" e",
            "a/b c",
            "/",
            "a/b; c=",
            "a/b; =d",
        ] {
            assert_eq!(MediaType::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn writes_what_is_wanted_most() {
        for (accept, expected) in [
            (None, Some(Format::Json)),
            (Some(""), Some(Format::Json)),
            (Some("*/*"), Some(Format::Json)),
            (Some("application/dicom+xml"), Some(Format::Xml)),
            (Some("application/dicom+xml;q=0.5, application/dicom+json"), Some(Format::Json)),
            (Some("application/dicom+json;q=0.1, text/xml;q=0.2"), Some(Format::Xml)),
            (Some("multipart/related; type=\"application/dicom+xml\""), Some(Format::Xml)),
            (Some("application/dicom+json;q=0"), None),
            (Some("application/dicom+json;q=NaN"), None),
            (Some("text/html, image/png"), None),
        ] {
            assert_eq!(Format::wanted(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn reads_who_sends() {
        let hashed = |text: &str| Some(Credentials::hashed(text.as_bytes()));
        let some = |calling: Option<&str>, token| {
            Some(Credentials { calling: calling.map(|title| title.parse().expect("a title")), token })
        };
        assert_eq!(credentials(None), some(None, None));
        assert_eq!(credentials(Some("Bearer abc")), some(None, hashed("abc")));
        assert_eq!(credentials(Some("bearer  abc ")), some(None, hashed("abc")));
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(credentials(Some(&basic("CT1:a:b"))), some(Some("CT1"), hashed("a:b")));
        assert_eq!(credentials(Some(&basic("CT1:"))), some(Some("CT1"), None));
        for bad in ["", "Bearer", "Digest abc", "Basic !", &basic("no colon"), &basic(":x"), &basic("C\\T:x")] {
            assert_eq!(credentials(Some(bad)), None, "{bad:?}");
        }
        assert_eq!(credentials(Some(&format!("Bearer {}", "a".repeat(HTTP_TOKEN_BYTES_MAX + 1)))), None);
    }
}
