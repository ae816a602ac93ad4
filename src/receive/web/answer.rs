//! The answers of STOW-RS (PS3.18 10.5.3 and I.2): for each instance what became of it, as JSON or XML; the numbers are
//! those of associations.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::media::Format;
use crate::dicom::FileHead;
use crate::dimse::Outcome;
use crate::limits::HTTP_RETRY_AFTER_S;

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// What became of each instance of a request.
#[derive(Default)]
pub(super) struct Results {
    stored: Vec<FileHead>,
    failed: Vec<(FileHead, Outcome)>,
    /// Parts that say not even what they are.
    unnamed: Vec<Outcome>,
}

impl Results {
    /// Takes what became of one.
    pub fn add(&mut self, head: Option<FileHead>, outcome: Outcome) {
        match head {
            Some(head) if outcome.is_success() => self.stored.push(head),
            Some(head) => self.failed.push((head, outcome)),
            None => self.unnamed.push(outcome),
        }
    }

    /// 200 when all are stored, 202 when some are, 409 when none is (PS3.18 table 10.5.3-1); 503 when none is because of
    /// our own trouble, which passes.
    fn status(&self) -> StatusCode {
        let outcomes = self.failed.iter().map(|(_, outcome)| *outcome).chain(self.unnamed.iter().copied());
        match (self.stored.is_empty(), self.failed.is_empty() && self.unnamed.is_empty()) {
            (false, true) => StatusCode::OK,
            (false, false) => StatusCode::ACCEPTED,
            (true, _) if outcomes.clone().count() > 0 && outcomes.clone().all(|o| o == Outcome::OutOfResources) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (true, _) => StatusCode::CONFLICT,
        }
    }

    /// The answer. No instance can be fetched here, so that Retrieve URL (0008,1190), which has to be there, is empty.
    pub fn answer(&self, format: Format) -> Answer {
        let status = self.status();
        let text = match format {
            Format::Json => self.json().to_string(),
            Format::Xml => self.xml(),
        };
        let answer = Response::builder().status(status).header(CONTENT_TYPE, format.media_type());
        let answer = if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.header(RETRY_AFTER, HTTP_RETRY_AFTER_S)
        } else {
            answer
        };
        made(answer, text)
    }

    fn json(&self) -> Value {
        let named = |head: &FileHead| {
            let uid = |uid: &str| json!({"vr": "UI", "Value": [uid]});
            json!({"00081150": uid(head.sop_class_uid.as_str()), "00081155": uid(head.sop_instance_uid.as_str())})
        };
        let reason = |outcome: &Outcome| json!({"vr": "US", "Value": [outcome.status().0.0]});
        let mut all = json!({"00081190": {"vr": "UR"}});
        let mut put = |tag: &str, items: Vec<Value>| {
            if !items.is_empty() {
                all[tag] = json!({"vr": "SQ", "Value": items});
            }
        };
        let failed = |(head, outcome): &(FileHead, Outcome)| {
            let mut item = named(head);
            item["00081197"] = reason(outcome);
            item
        };
        let stored = |head: &FileHead| {
            let mut item = named(head);
            item["00081190"] = json!({"vr": "UR"});
            item
        };
        put("00081198", self.failed.iter().map(failed).collect());
        put("00081199", self.stored.iter().map(stored).collect());
        put("0008119A", self.unnamed.iter().map(|outcome| json!({"00081197": reason(outcome)})).collect());
        all
    }

    /// A native DICOM model (PS3.19 A.1). It holds UIDs and numbers alone, so that nothing has to be escaped.
    fn xml(&self) -> String {
        let named = |head: &FileHead| {
            attribute("00081150", "UI", "ReferencedSOPClassUID", &value(head.sop_class_uid.as_str()))
                + &attribute("00081155", "UI", "ReferencedSOPInstanceUID", &value(head.sop_instance_uid.as_str()))
        };
        let reason =
            |outcome: Outcome| attribute("00081197", "US", "FailureReason", &value(&outcome.status().0.0.to_string()));
        let no_url = || attribute("00081190", "UR", "RetrieveURL", "");
        let failed = self.failed.iter().map(|(head, outcome)| named(head) + &reason(*outcome)).collect();
        let stored = self.stored.iter().map(|head| named(head) + &no_url()).collect();
        let unnamed = self.unnamed.iter().map(|outcome| reason(*outcome)).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NativeDicomModel xmlns=\"http://dicom.nema.org/PS3.19/models/NativeDICOM\">{}{}{}{}</NativeDicomModel>\n",
            no_url(),
            sequence("00081198", "FailedSOPSequence", failed),
            sequence("00081199", "ReferencedSOPSequence", stored),
            sequence("0008119A", "OtherFailuresSequence", unnamed),
        )
    }
}

fn value(text: &str) -> String {
    format!("<Value number=\"1\">{text}</Value>")
}

fn attribute(tag: &str, vr: &str, keyword: &str, inside: &str) -> String {
    format!("<DicomAttribute tag=\"{tag}\" vr=\"{vr}\" keyword=\"{keyword}\">{inside}</DicomAttribute>")
}

fn sequence(tag: &str, keyword: &str, items: Vec<String>) -> String {
    let numbered =
        items.iter().enumerate().map(|(index, item)| format!("<Item number=\"{}\">{item}</Item>", index + 1));
    if items.is_empty() { String::new() } else { attribute(tag, "SQ", keyword, &numbered.collect::<String>()) }
}

/// A request that is turned down as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub status: StatusCode,
    /// For the sender and the log; it repeats nothing of the request.
    pub reason: String,
    header: Option<(HeaderName, String)>,
}

impl Refused {
    /// Refuses with a status.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Refused {
        Refused { status, reason: reason.into(), header: None }
    }

    /// 400.
    pub fn bad(reason: impl Into<String>) -> Refused {
        Refused::new(StatusCode::BAD_REQUEST, reason)
    }

    /// 401, with how to say who one is.
    pub fn unknown(reason: impl Into<String>) -> Refused {
        let how = (WWW_AUTHENTICATE, "Bearer realm=\"contourd\", Basic realm=\"contourd\"".to_owned());
        Refused { header: Some(how), ..Refused::new(StatusCode::UNAUTHORIZED, reason) }
    }

    /// A status with the time after which to come again.
    pub fn later(status: StatusCode, reason: impl Into<String>) -> Refused {
        Refused { header: Some((RETRY_AFTER, HTTP_RETRY_AFTER_S.to_string())), ..Refused::new(status, reason) }
    }

    /// 405.
    pub fn method() -> Refused {
        let reason = "only POST of instances (STOW-RS) is served here";
        Refused { header: Some((ALLOW, "POST".to_owned())), ..Refused::new(StatusCode::METHOD_NOT_ALLOWED, reason) }
    }

    /// The answer: a line of text.
    pub fn answer(&self) -> Answer {
        let answer = Response::builder().status(self.status).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        let answer = match &self.header {
            Some((name, value)) => answer.header(name, value),
            None => answer,
        };
        made(answer, format!("{}\n", self.reason))
    }
}

fn made(answer: hyper::http::response::Builder, text: String) -> Answer {
    answer.body(Full::new(Bytes::from(text))).unwrap_or_else(|_| {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(instance: &str) -> FileHead {
        let uid = |text: &str| text.parse().expect("a UID");
        FileHead {
            sop_class_uid: uid("1.2.840.10008.5.1.4.1.1.2"),
            sop_instance_uid: uid(instance),
            transfer_syntax_uid: uid("1.2.840.10008.1.2.1"),
        }
    }

    fn results(outcomes: &[Outcome]) -> Results {
        let mut results = Results::default();
        for (index, outcome) in outcomes.iter().enumerate() {
            results.add(Some(head(&format!("1.2.{index}"))), *outcome);
        }
        results
    }

    #[test]
    fn the_status_says_whether_all_some_or_none_are_stored() {
        use Outcome::{Different, Identical, OutOfResources, Stored, Unreadable};
        for (outcomes, expected) in [
            (&[Stored, Identical][..], 200),
            (&[Stored, Different], 202),
            (&[Stored, OutOfResources], 202),
            (&[Unreadable, Different], 409),
            (&[OutOfResources, Different], 409),
            (&[OutOfResources, OutOfResources], 503),
        ] {
            let answer = results(outcomes).answer(Format::Json);
            assert_eq!(answer.status(), expected, "{outcomes:?}");
            assert_eq!(answer.headers().contains_key(RETRY_AFTER), expected == 503, "{outcomes:?}");
        }
        let mut unnamed = Results::default();
        unnamed.add(None, Outcome::Unreadable);
        assert_eq!(unnamed.status(), 409);
        unnamed.add(Some(head("1.2.3")), Outcome::Stored);
        assert_eq!(unnamed.status(), 202);
    }

    #[test]
    fn says_of_each_instance_what_became_of_it() {
        let mut all = results(&[Outcome::Stored, Outcome::Different]);
        all.add(None, Outcome::Unreadable);
        let found = all.json();
        assert_eq!(found["00081199"]["Value"][0]["00081155"]["Value"][0], "1.2.0");
        assert_eq!(found["00081198"]["Value"][0]["00081155"]["Value"][0], "1.2.1");
        assert_eq!(found["00081198"]["Value"][0]["00081197"]["Value"][0], 0x0111);
        assert_eq!(found["0008119A"]["Value"][0]["00081197"]["Value"][0], 0xC000);
        let text = all.xml();
        for part in [
            "<DicomAttribute tag=\"00081199\" vr=\"SQ\" keyword=\"ReferencedSOPSequence\"><Item number=\"1\">",
            "keyword=\"ReferencedSOPInstanceUID\"><Value number=\"1\">1.2.1</Value>",
            "keyword=\"FailureReason\"><Value number=\"1\">273</Value>",
            "<DicomAttribute tag=\"0008119A\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn refusals_say_how_to_go_on() {
        let told = |refused: Refused, name: &str| {
            let answer = refused.answer();
            (answer.status().as_u16(), answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned()))
        };
        assert_eq!(told(Refused::method(), "allow"), (405, Some("POST".to_owned())));
        assert!(told(Refused::unknown("x"), "www-authenticate").1.is_some_and(|how| how.contains("Bearer")));
        let later = Refused::later(StatusCode::SERVICE_UNAVAILABLE, "full");
        assert_eq!(told(later, "retry-after"), (503, Some("60".to_owned())));
    }
}
