//! Decides on a request before its body comes: what it asks for, who sends it, what its body is (PS3.18 10.5).

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};

use super::answer::Refused;
use super::media::{Format, MediaType, credentials};
use super::multipart::Multipart;
use crate::dicom::{AeTitle, Uid};
use crate::dimse::{Acceptance, Origin, WebCaller, WebRefusal};

/// What instances are sent as.
const DICOM: &str = "application/dicom";

/// Where instances are sent to: `/studies`, `/studies/UID`, `/AE/studies`, `/AE/studies/UID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Our title; the first of ours where the path names none.
    pub called: AeTitle,
    pub study: Option<Uid>,
}

impl Target {
    /// Reads a path.
    ///
    /// # Errors
    /// 404, 405 and 400.
    pub fn of(method: &Method, path: &str, acceptance: &Acceptance) -> Result<Target, Refused> {
        let nothing = || {
            Refused::new(StatusCode::NOT_FOUND, "nothing is here; instances are sent to /studies or /AE-TITLE/studies")
        };
        let segments: Vec<&str> = path.strip_prefix('/').ok_or_else(nothing)?.split('/').collect();
        let (title, study) = match segments.as_slice() {
            ["studies"] | ["studies", ""] => (None, None),
            ["studies", study] if *study != "studies" => (None, Some(*study)),
            [title, "studies"] | [title, "studies", ""] => (Some(*title), None),
            [title, "studies", study] => (Some(*title), Some(*study)),
            _ => return Err(nothing()),
        };
        if method != Method::POST {
            return Err(Refused::method());
        }
        let ours = |title: &str| {
            let title: AeTitle = decoded(title)?.parse().ok()?;
            acceptance.called.iter().find(|ours| **ours == title)
        };
        let called = match title {
            Some(title) => ours(title),
            None => acceptance.called.first(),
        };
        let study = study
            .map(|study| study.parse::<Uid>().map_err(|error| Refused::bad(format!("study of the path: {error}"))));
        let not_ours = "the AE title of the path is not ours; see \"ae_titles\" in ae-config/gateway.json";
        let called = called.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, not_ours))?.clone();
        Ok(Target { called, study: study.transpose()? })
    }
}

/// A segment of a path without its escapes (RFC 3986 2.1); `None` for one that is no text.
fn decoded(segment: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(segment.len()), segment.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| (byte as char).to_digit(16);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Who sends it.
///
/// # Errors
/// 401 and 403. The reason for the log stands beside the answer, which says less.
pub(super) fn sender(
    headers: &HeaderMap,
    acceptance: &Acceptance,
    origin: Origin<'_>,
) -> Result<WebCaller, (Refused, String)> {
    let all = headers.get_all(AUTHORIZATION);
    let text =
        text_of(headers, AUTHORIZATION).map_err(|refused| (refused, "an Authorization that is no text".to_owned()));
    let found = if all.iter().count() > 1 { None } else { credentials(text?) };
    let Some(found) = found else {
        let reason = "expected Authorization with Bearer and a token, or Basic with an AE title and a token";
        return Err((Refused::unknown(reason), reason.to_owned()));
    };
    acceptance.identify_web(&found, origin).map_err(|error| {
        let refused = match error {
            WebRefusal::MayNotSend => Refused::new(StatusCode::FORBIDDEN, "this sender may not store here"),
            WebRefusal::Unknown => Refused::unknown("no sender of this address, certificate and token is known here"),
            WebRefusal::Ambiguous => {
                Refused::unknown("several senders are known at this address; name the AE title as the user of Basic")
            }
        };
        (refused, error.to_string())
    })
}

/// What is to be done with the body.
pub(super) struct Wanted {
    pub multipart: Multipart,
    pub format: Format,
}

/// Reads what the body is, and what is wanted back.
///
/// # Errors
/// 400, 406, 413 and 415.
pub(super) fn wanted(headers: &HeaderMap, request_bytes_max: u64) -> Result<Wanted, Refused> {
    let unsupported = |reason: &str| Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    let Some(text) = text_of(headers, CONTENT_TYPE)? else {
        return Err(unsupported("no Content-Type, expected multipart/related; type=\"application/dicom\""));
    };
    let media = MediaType::parse(text).ok_or_else(|| Refused::bad("a Content-Type that cannot be read"))?;
    if media.essence != "multipart/related" {
        return Err(unsupported("expected multipart/related; type=\"application/dicom\""));
    }
    // Metadata with bulk data (application/dicom+json, +xml) is another service of which nothing is here.
    if !media.parameter("type").unwrap_or(DICOM).eq_ignore_ascii_case(DICOM) {
        return Err(unsupported("only parts of type application/dicom are taken: whole DICOM files"));
    }
    if text_of(headers, CONTENT_ENCODING)?.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(unsupported("a body with a Content-Encoding, expected none"));
    }
    let boundary = media.parameter("boundary").ok_or_else(|| Refused::bad("no boundary in the Content-Type"))?;
    let multipart = Multipart::new(boundary).map_err(|error| Refused::bad(error.to_string()))?;
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let Some(format) = Format::wanted(Some(&accept.join(","))) else {
        let reason = "answers are application/dicom+json or application/dicom+xml; Accept takes neither";
        return Err(Refused::new(StatusCode::NOT_ACCEPTABLE, reason));
    };
    let length = text_of(headers, CONTENT_LENGTH)?.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > request_bytes_max) {
        return Err(too_large(request_bytes_max));
    }
    Ok(Wanted { multipart, format })
}

/// 413.
pub(super) fn too_large(request_bytes_max: u64) -> Refused {
    let reason = format!("a body of more than {request_bytes_max} bytes; send the instances in several requests");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
}

/// Whether a part holds a DICOM file as it is.
pub(super) fn check_part(content_type: Option<&str>, encoding: Option<&str>) -> Result<(), &'static str> {
    if encoding.is_some() {
        return Err("a part with an encoding, expected the bytes of a DICOM file as they are");
    }
    // RFC 2387 wants it at each part; that of the whole body says it too.
    let essence = content_type.map_or(Some(DICOM.to_owned()), |text| Some(MediaType::parse(text)?.essence));
    match essence.as_deref() {
        Some(DICOM) => Ok(()),
        Some(nested) if nested.starts_with("multipart/") => Err("a part that holds parts, expected a DICOM file"),
        _ => Err("a part of another type than application/dicom"),
    }
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Refused> {
    let text = headers.get(&name).map(|value| value.to_str()).transpose();
    text.map_err(|_| Refused::bad(format!("a header {name} that is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: Method, path: &str) -> Result<(String, Option<String>), u16> {
        let titles = ["FIRST", "OTHER ONE", "studies"].map(|title| title.parse().expect("a title"));
        let acceptance = Acceptance { called: titles.to_vec(), ..Acceptance::default() };
        let found = Target::of(&method, path, &acceptance).map_err(|refused| refused.status.as_u16())?;
        Ok((found.called.to_string(), found.study.map(|study| study.to_string())))
    }

    #[test]
    fn paths_name_our_title_and_the_study() {
        let good = |called: &str, study: Option<&str>| Ok((called.to_owned(), study.map(str::to_owned)));
        for (path, expected) in [
            ("/studies", good("FIRST", None)),
            ("/studies/", good("FIRST", None)),
            ("/studies/1.2.3", good("FIRST", Some("1.2.3"))),
            ("/OTHER%20ONE/studies", good("OTHER ONE", None)),
            ("/OTHER%20ONE/studies/1.2", good("OTHER ONE", Some("1.2"))),
            ("/studies/studies", good("studies", None)),
            ("/NOBODY/studies", Err(404)),
            ("/other one/studies", Err(404)),
            ("/%zz/studies", Err(404)),
            ("/%ff/studies", Err(404)),
            ("/studies/../../etc/passwd", Err(404)),
            ("/studies/..%2f..%2fetc", Err(400)),
            ("/studies/1..2", Err(400)),
            ("/", Err(404)),
            ("", Err(404)),
            ("*", Err(404)),
            ("//studies", Err(404)),
        ] {
            assert_eq!(target(Method::POST, path), expected, "{path}");
        }
        assert_eq!(target(Method::GET, "/studies"), Err(405));
        assert_eq!(target(Method::GET, "/other"), Err(404));
    }

    fn status(headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, hyper::header::HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        wanted(&map, 1_000).map_or_else(|refused| refused.status.as_u16(), |_| 200)
    }

    #[test]
    fn says_of_a_body_what_is_wrong_before_it_comes() {
        let good = ("content-type", "multipart/related; type=\"application/dicom\"; boundary=b");
        for (headers, expected) in [
            (vec![good], 200),
            (vec![good, ("content-length", "1000"), ("accept", "text/html"), ("accept", "*/*")], 200),
            (vec![good, ("content-length", "1001")], 413),
            (vec![good, ("accept", "text/html")], 406),
            (vec![good, ("content-encoding", "gzip")], 415),
            (vec![], 415),
            (vec![("content-type", "application/dicom")], 415),
            (vec![("content-type", "multipart/form-data; boundary=b")], 415),
            (vec![("content-type", "multipart/related; type=\"application/dicom+json\"; boundary=b")], 415),
            (vec![("content-type", "multipart/related; type=\"application/dicom\"")], 400),
            (vec![("content-type", "multipart/related; boundary=\"\"")], 400),
            (vec![("content-type", "multipart/related; boundary=b; boundary=c")], 400),
            (vec![("content-type", "multipart/related; boundary=\u{e9}")], 400),
        ] {
            assert_eq!(status(&headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_part_is_a_file_as_it_is() {
        assert_eq!(check_part(None, None), Ok(()));
        assert_eq!(check_part(Some("Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1"), None), Ok(()));
        for (content_type, encoding) in [
            ("application/dicom+json", None),
            ("multipart/related; boundary=c", None),
            ("nonsense", None),
            ("application/dicom", Some("base64")),
        ] {
            assert!(check_part(Some(content_type), encoding).is_err(), "{content_type}");
        }
    }
}
