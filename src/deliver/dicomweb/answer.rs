//! What the answer of a DICOMweb server means for one object (PS3.18 10.5.3, 10.6.3): taken, again, or never.

use serde_json::Value;

use super::connection::Answer;
use super::{Outcome, Shown};
use crate::deliver::Warning;
use crate::dicom::Uid;
use crate::dimse::Status;

/// Attributes of the Store Instances Response (PS3.18 I.2), as keys of the DICOM JSON model.
const FAILED_SOP_SEQUENCE: &str = "00081198";
const REFERENCED_SOP_SEQUENCE: &str = "00081199";
const REFERENCED_SOP_INSTANCE_UID: &str = "00081155";
const FAILURE_REASON: &str = "00081197";
const WARNING_REASON: &str = "00081196";
const SOP_INSTANCE_UID: &str = "00080018";

/// Duplicate SOP Instance (PS3.7 C.4.10), and 45070, by which the DICOM service of Azure says the same.
const DUPLICATE: u16 = 0x0111;
const DUPLICATE_OF_AZURE: u16 = 0xB00E;

/// What a server says of the object that was to be stored.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Stored { warning: Option<u16> },
    Failed { reason: Option<u16> },
}

/// How storing one object ended. Reasons of failures and warnings are those of C-STORE, and count as there.
pub(super) fn judge(answer: &Answer, uid: &Uid) -> Outcome {
    let said = answer.json.as_ref().map_or(Said::Nothing, |json| said_of(json, uid));
    let what = format!("{uid} (HTTP {})", answer.status);
    if answer.early && (200..=299).contains(&answer.status) {
        return again(format!("{what}: it answered before it had the whole object"), answer);
    }
    match (answer.status, said) {
        // Whatever the status line says, this object failed.
        (200..=299 | 409, Said::Failed { reason: Some(reason) }) if !Status(reason).is_success() => {
            failed(reason, &what, &answer.words)
        }
        (200..=299 | 409, Said::Failed { .. }) => refused(format!("{what}: it failed without a reason"), answer),
        (200..=299, Said::Stored { warning: Some(warning) }) => {
            let warned = Outcome::of_status(Status(warning), &what, &answer.words);
            // A reason that is none of the warnings of PS3.4 B.2.3 is one all the same: it was stored.
            match warned {
                Outcome::Delivered { .. } => warned,
                Outcome::Retry { reason, .. } | Outcome::Refused { reason, .. } => {
                    Outcome::Delivered { warnings: vec![Warning { status: warning, text: reason }] }
                }
            }
        }
        (200..=299, Said::Stored { warning: None }) => Outcome::Delivered { warnings: Vec::new() },
        // Some were stored, or stored with warnings, or none: it does not say which.
        (202, Said::Nothing) => refused(
            format!("{what}: it says that not all went well, and not what; look there whether it is stored"),
            answer,
        ),
        // A page to log in, a proxy, a server of something else: whatever answers so has not said that it is stored.
        (200..=299, Said::Nothing) => refused(
            format!(
                "{what}: it does not say that it stored the object (found {}, expected its UID in Referenced SOP Sequence); \
                 look there whether it is stored, and check \"url\"",
                if answer.json.is_some() { "JSON without it" } else { "no JSON" }
            ),
            answer,
        ),
        _ => judge_status(answer, &what),
    }
}

/// What the reason of an object among those that failed means. That the server has it already is a delivery, as in C-STORE;
/// what is a warning there is a failure here.
fn failed(reason: u16, what: &str, words: &str) -> Outcome {
    match Outcome::of_status(Status(reason), what, words) {
        Outcome::Delivered { warnings } if [DUPLICATE, DUPLICATE_OF_AZURE].contains(&reason) => {
            let there = |warning| Warning { status: DUPLICATE, ..warning };
            Outcome::Delivered { warnings: warnings.into_iter().map(there).collect() }
        }
        Outcome::Delivered { warnings } => {
            let reason_told = warnings.iter().map(Warning::to_string).collect::<Vec<_>>().join("; ");
            Outcome::Refused { reason: format!("{reason_told} among those that failed"), status: Some(reason) }
        }
        other => other,
    }
}

/// What a status means that is not about single objects.
fn judge_status(answer: &Answer, what: &str) -> Outcome {
    let told = |reason: &str| format!("{what}: {reason}");
    match answer.status {
        408 | 425 | 429 => again(told("it asks to come again"), answer),
        413 if answer.retry_after => again(told("it has no room now"), answer),
        413 => refused(told("it is larger than the server takes"), answer),
        501 | 505 => refused(told("the server does not offer this"), answer),
        500..=599 => again(told("the server is in trouble"), answer),
        401 => refused(told("it does not know us; check the password or token and its file"), answer),
        403 => refused(told("it knows us and does not let us"), answer),
        404 => refused(told("there is no such service; check \"url\""), answer),
        415 | 406 => {
            refused(told("it does not take application/dicom, or does not answer in application/dicom+json"), answer)
        }
        300..=399 => {
            let place = answer.location.as_deref().unwrap_or("nowhere");
            refused(
                told(&format!("it points to {place}, where nothing is sent; write that address as \"url\"")),
                answer,
            )
        }
        _ => refused(told("it was refused"), answer),
    }
}

fn with_words(reason: String, answer: &Answer) -> String {
    if answer.words.is_empty() { reason } else { format!("{reason} ({})", answer.words) }
}

fn refused(reason: String, answer: &Answer) -> Outcome {
    Outcome::Refused { reason: with_words(reason, answer), status: None }
}

fn again(reason: String, answer: &Answer) -> Outcome {
    Outcome::Retry { reason: with_words(reason, answer), status: None }
}

/// What the answer to a search for one instance says.
pub(super) fn shows(answer: &Answer, uid: &Uid) -> Shown {
    let missing = || Shown::Missing { reason: format!("it does not show {uid} (HTTP {})", answer.status) };
    match (answer.status, &answer.json) {
        (200, Some(Value::Array(found))) => {
            let is_it = |item: &Value| text(item, SOP_INSTANCE_UID).is_some_and(|found| found == uid.as_str());
            if found.iter().any(is_it) { Shown::All } else { missing() }
        }
        // Some say that there is no such study, instead of an empty list.
        (204 | 404, _) => missing(),
        (200, _) => {
            let reason = format!("{uid} (HTTP 200): found an answer that is no list in application/dicom+json");
            Shown::Unknown(Outcome::Retry { reason, status: None })
        }
        _ => Shown::Unknown(judge_status(answer, &format!("the search for {uid} (HTTP {})", answer.status))),
    }
}

/// What a Store Instances Response says of one object. Some servers put it into a list.
fn said_of(json: &Value, uid: &Uid) -> Said {
    let response = match json {
        Value::Array(list) => list.first().unwrap_or(&Value::Null),
        other => other,
    };
    let item = |sequence: &str| {
        let items = response.get(sequence)?.get("Value")?.as_array()?;
        items.iter().find(|item| text(item, REFERENCED_SOP_INSTANCE_UID).is_some_and(|found| found == uid.as_str()))
    };
    if let Some(failed) = item(FAILED_SOP_SEQUENCE) {
        return Said::Failed { reason: number(failed, FAILURE_REASON) };
    }
    match item(REFERENCED_SOP_SEQUENCE) {
        Some(stored) => Said::Stored { warning: number(stored, WARNING_REASON) },
        None => Said::Nothing,
    }
}

fn first<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    item.get(key)?.get("Value")?.as_array()?.first()
}

/// A UID as some write it, padded to an even length.
fn text<'a>(item: &'a Value, key: &str) -> Option<&'a str> {
    Some(first(item, key)?.as_str()?.trim_end_matches(['\0', ' ']))
}

/// A number, which some write as text.
fn number(item: &Value, key: &str) -> Option<u16> {
    let value = first(item, key)?;
    let written = || value.as_str().and_then(|text| text.trim().parse().ok());
    value.as_u64().and_then(|number| u16::try_from(number).ok()).or_else(written)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn uid() -> Uid {
        "1.2.3".parse().expect("a UID")
    }

    fn answer(status: u16, json: Option<Value>) -> Answer {
        Answer { status, json, words: "so".to_owned(), ..Answer::default() }
    }

    fn response(sequence: &str, uid: &str, reason: Option<(&str, Value)>) -> Value {
        let mut item = json!({REFERENCED_SOP_INSTANCE_UID: {"vr": "UI", "Value": [uid]}});
        if let Some((key, reason)) = reason {
            item[key] = json!({"vr": "US", "Value": [reason]});
        }
        json!({sequence: {"vr": "SQ", "Value": [item]}})
    }

    fn check(status: u16, json: Option<Value>, expected: &str) {
        let found = judge(&answer(status, json.clone()), &uid());
        let word = match &found {
            Outcome::Delivered { warnings } if warnings.is_empty() => "delivered".to_owned(),
            Outcome::Delivered { warnings } => {
                format!("warned{}", if warnings[0].tells_of_change() { " of change" } else { "" })
            }
            Outcome::Retry { .. } => "again".to_owned(),
            Outcome::Refused { .. } => "refused".to_owned(),
        };
        assert_eq!(word, expected, "{status} {json:?}: {found}");
    }

    #[test]
    fn each_status_says_who_can_act() {
        for (status, expected) in [
            (200, "refused"),
            (201, "refused"),
            (202, "refused"),
            (204, "refused"),
            (301, "refused"),
            (400, "refused"),
            (401, "refused"),
            (403, "refused"),
            (404, "refused"),
            (408, "again"),
            (409, "refused"),
            (413, "refused"),
            (415, "refused"),
            (429, "again"),
            (500, "again"),
            (501, "refused"),
            (502, "again"),
            (503, "again"),
            (507, "again"),
            (100, "refused"),
        ] {
            check(status, None, expected);
        }
        let room = Answer { retry_after: true, ..answer(413, None) };
        assert!(matches!(judge(&room, &uid()), Outcome::Retry { .. }));
        let told = judge(&answer(401, None), &uid()).to_string();
        assert_eq!(
            told,
            "refused: 1.2.3 (HTTP 401): it does not know us; check the password or token and its file (so)"
        );
    }

    #[test]
    fn each_object_is_judged_by_its_own_reason_as_in_c_store() {
        let failed = |reason: Value| Some(response(FAILED_SOP_SEQUENCE, "1.2.3", Some((FAILURE_REASON, reason))));
        let stored = |reason: Option<Value>| {
            Some(response(REFERENCED_SOP_SEQUENCE, "1.2.3", reason.map(|reason| (WARNING_REASON, reason))))
        };
        for status in [200, 202, 409] {
            check(status, failed(json!(0xA700)), "again");
            check(status, failed(json!("43264")), "refused");
            check(status, failed(json!(0x0122)), "refused");
            check(status, failed(json!(0x0111)), "warned");
            check(status, failed(json!(0xB00E)), "warned");
            for reason in [0x0001, 0x0107, 0x0116, 0xB000, 0xB006, 0xB007, 0xB00F] {
                check(status, failed(json!(reason)), "refused");
            }
            check(status, failed(json!(0)), "refused");
            check(status, Some(response(FAILED_SOP_SEQUENCE, "1.2.3", None)), "refused");
        }
        check(200, stored(None), "delivered");
        check(202, stored(None), "delivered");
        check(202, stored(Some(json!(0xB000))), "warned of change");
        check(200, stored(Some(json!(0xB007))), "warned of change");
        check(202, stored(Some(json!(1))), "warned");
        // Of another object, in a list, padded, or nonsense.
        let other = response(FAILED_SOP_SEQUENCE, "1.2.4", Some((FAILURE_REASON, json!(1))));
        check(202, Some(other.clone()), "refused");
        check(200, Some(other), "refused");
        let early = |status| Answer { early: true, ..answer(status, stored(None)) };
        assert!(matches!(judge(&early(200), &uid()), Outcome::Retry { .. }), "it has not read everything");
        assert!(matches!(judge(&early(401), &uid()), Outcome::Refused { .. }), "it need not read what it refuses");
        check(202, Some(json!([response(REFERENCED_SOP_SEQUENCE, "1.2.3\0", None)])), "delivered");
        for nonsense in
            [json!(null), json!([]), json!({FAILED_SOP_SEQUENCE: 3}), json!({REFERENCED_SOP_SEQUENCE: {"Value": [7]}})]
        {
            check(202, Some(nonsense.clone()), "refused");
            check(200, Some(nonsense), "refused");
        }
    }

    #[test]
    fn a_search_shows_the_one_instance_or_not() {
        let found = |uid: &str| Some(json!([{SOP_INSTANCE_UID: {"vr": "UI", "Value": [uid]}}]));
        assert_eq!(shows(&answer(200, found("1.2.3")), &uid()), Shown::All);
        for (status, json) in [(200, found("1.2.4")), (200, Some(json!([]))), (204, None), (404, None)] {
            assert!(matches!(shows(&answer(status, json), &uid()), Shown::Missing { .. }), "{status}");
        }
        assert!(matches!(shows(&answer(200, None), &uid()), Shown::Unknown(Outcome::Retry { .. })));
        assert!(matches!(shows(&answer(503, None), &uid()), Shown::Unknown(Outcome::Retry { .. })));
        assert!(matches!(shows(&answer(401, None), &uid()), Shown::Unknown(Outcome::Refused { .. })));
    }
}
