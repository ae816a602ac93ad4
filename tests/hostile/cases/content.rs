//! Data sets that are complete and say what cannot be: identifiers that are none, numbers beyond reason, hostile text.

use crate::bytes::*;
use crate::case::Case;

const UNIDENTIFIED: u16 = 0xC002;
const MISMATCH: u16 = 0xA900;

pub fn all() -> Vec<Case> {
    [missing(), identifiers(), mismatches(), numbers(), texts(), again()].into_iter().flatten().collect()
}

fn case(name: impl Into<String>, source: &'static str, status: u16, data_set: &[u8]) -> Case {
    Case::refused(name, source, status, AS_IMPLICIT, data_set)
}

fn missing() -> Vec<Case> {
    let clause = "PS3.3 C.7, C.12.1";
    let elements = [
        ("a class", element(8, 0x0016, &padded(CT))),
        ("an instance", element(8, 0x0018, &padded("1.2.3.4"))),
        ("a study", element(0x20, 0x000D, &padded("1.2.3"))),
        ("a series", element(0x20, 0x000E, &padded("1.2.3.4.1"))),
    ];
    let mut cases = Vec::new();
    for index in 0..elements.len() {
        let others = elements.iter().enumerate().filter(|(other, _)| *other != index);
        let without: Vec<u8> = others.flat_map(|(_, (_, bytes))| bytes.clone()).collect();
        let name = elements[index].0;
        cases.push(case(format!("an image without {name}"), clause, UNIDENTIFIED, &[without, pixels()].concat()));
        let twice: Vec<u8> = elements.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let twice = [twice, elements[index].1.clone(), pixels()].concat();
        cases.push(case(format!("an image with {name} twice"), "PS3.5 7.1", UNIDENTIFIED, &twice));
    }
    cases
}

fn identifiers() -> Vec<Case> {
    let clause = "path traversal by UIDs";
    let long = "1".repeat(65);
    let bad = [
        ("a path", "../../../../tmp/hostile"),
        ("an absolute path", "/tmp/hostile"),
        ("two dots", ".."),
        ("nothing", ""),
        ("NUL inside", "1.2\0/../3"),
        ("65 digits", &long),
        ("letters", "AUX"),
    ];
    let mut cases = Vec::new();
    for (name, uid) in bad {
        let of = |class, instance, study, series| [head(&Uids(class, instance, study, series)), pixels()].concat();
        let whole = [
            ("class", of(uid, "1.2.3.4", "1.2.3", "1.2.3.4.1")),
            ("instance", of(CT, uid, "1.2.3", "1.2.3.4.1")),
            ("study", of(CT, "1.2.3.4", uid, "1.2.3.4.1")),
            ("series", of(CT, "1.2.3.4", "1.2.3", uid)),
        ];
        for (what, bytes) in whole {
            cases.push(case(format!("a {what} that is {name}"), clause, UNIDENTIFIED, &bytes));
        }
    }
    let uid = format!("1.2.3.7.{}", "1".repeat(56));
    cases.push(Case::stored(
        "an instance of 64 characters",
        "PS3.5 9.1",
        AS_IMPLICIT,
        &uid,
        &image_of_series(&uid, "1.2.3.7.1"),
    ));
    cases.push(Case::stored(
        "components that begin with 0",
        "PS3.5 9.1",
        AS_IMPLICIT,
        "1.2.3.7.02",
        &image("1.2.3.7.02"),
    ));
    cases
}

fn image_of_series(instance: &str, series: &str) -> Vec<u8> {
    [head(&Uids(CT, instance, "1.2.3", series)), pixels()].concat()
}

fn mismatches() -> Vec<Case> {
    let clause = "PS3.4 B.2.3";
    let of = |class: &str, instance: &str| [head(&Uids(class, instance, "1.2.3", "1.2.3.4.1")), pixels()].concat();
    let plan = |instance: &str| {
        [head(&Uids(RT_PLAN, instance, "1.2.3", &series(instance))), element(0x300A, 0x0002, b"PLAN")].concat()
    };
    let send_plan = |name: &str, instance: &str, class: &str, bytes: Vec<u8>, status: u16| {
        Case::answered(name, clause, status, [said(PLAN, &store_command(class, instance)), data(PLAN, &bytes)].concat())
    };
    vec![
        case("another instance than the command says", clause, MISMATCH, &of(CT, "1.2.3.5")),
        case("another class than the command says", clause, MISMATCH, &of(MR, "1.2.3.4")),
        case("a class that nobody knows in the data set", clause, MISMATCH, &of("1.2.3", "1.2.3.4")),
        send_plan("an image as a plan", "1.2.3.4", RT_PLAN, of(CT, "1.2.3.4"), MISMATCH),
        send_plan("a plan as an image", "1.2.3.4", CT, plan("1.2.3.4"), MISMATCH),
        send_plan("a plan, which no pipeline wants", "1.2.3.8.1", RT_PLAN, plan("1.2.3.8.1"), 0).keeping("1.2.3.8.1"),
    ]
}

/// Stored as they are: what cannot be a volume is refused when its series is looked at, and says so there.
fn numbers() -> Vec<Case> {
    let clause = "PS3.3 C.7.6.3, overflow of products";
    let sides =
        |rows: u16, columns: u16| [element(0x28, 0x0012, &u16(rows)), element(0x28, 0x0014, &u16(columns))].concat();
    let described = |rows: u16, columns: u16, bits: u16, frames: &[u8]| {
        [
            element(8, 0x0060, b"CT"),
            element(0x18, 0x0050, b"NaN "),
            element(0x20, 0x0032, b"1e400\\-inf\\9999999999999999"),
            element(0x20, 0x0037, b"1\\0\\0\\1\\0\\0 "),
            element(0x28, 0x0002, &u16(1)),
            element(0x28, 0x0008, frames),
            element(0x28, 0x0030, b"0\\-1"),
            element(0x28, 0x0100, &u16(bits)),
            element(0x28, 0x0101, &u16(bits)),
            element(0x28, 0x0102, &u16(bits.wrapping_sub(1))),
            element(0x28, 0x0103, &u16(2)),
            element(0x28, 0x1052, b"1,5 "),
            element(0x28, 0x1053, b"0 "),
            sides(rows, columns),
        ]
        .concat()
    };
    let kinds: [(&str, u16, u16, u16, &[u8]); 7] = [
        ("no rows", 0, 32, 16, b"1 "),
        ("65,535 rows and columns", u16::MAX, u16::MAX, 16, b"1 "),
        ("46,341 rows and columns", 46_341, 46_341, 16, b"1 "),
        ("2^31 frames", 32, 32, 16, b"2147483648"),
        ("-1 frames", 32, 32, 16, b"-1"),
        ("2,048 bits", 32, 32, 2_048, b"1 "),
        ("no bits", 32, 32, 0, b"1 "),
    ];
    let mut cases: Vec<Case> = kinds
        .iter()
        .zip(1..)
        .map(|((name, rows, columns, bits, frames), number): (_, u8)| {
            let instance = format!("1.2.3.9.{number}");
            let head: Vec<u8> = head(&Uids(CT, &instance, "1.2.3", &series(&instance)));
            // Rows and Columns are the last two elements of the head.
            let head = &head[..head.len() - 20];
            let own = [element(0x28, 0x0010, &u16(*rows)), element(0x28, 0x0011, &u16(*columns))].concat();
            let data = [head, &own, &described(*rows, *columns, *bits, frames), &pixels()].concat();
            Case::stored(format!("an image of {name}"), clause, AS_IMPLICIT, &instance, &data)
        })
        .collect();
    let rows_of = |value: &[u8]| {
        let head = head(&Uids(CT, "1.2.3.9.8", "1.2.3", "1.2.3.9.8.1"));
        [&head[..head.len() - 20], &element(0x28, 0x0010, value), &pixels()].concat()
    };
    cases.push(Case::stored("rows of 3 bytes and no columns", clause, AS_IMPLICIT, "1.2.3.9.8", &rows_of(&[32, 0, 9])));
    cases
}

fn texts() -> Vec<Case> {
    let clause = "injection into logs, pages and tables";
    let name = |value: &[u8]| element(0x10, 0x4000, value);
    let set = |value: &[u8]| element(0x08, 0x0005, value);
    let stored = |name: &str, number: u8, extra: Vec<u8>| {
        let instance = format!("1.2.3.10.{number}");
        Case::stored(name, clause, AS_IMPLICIT, &instance, &image_with(&instance, &extra))
    };
    let creators: Vec<u8> = (0x10..0xff_u16).flat_map(|block| element(0x0029, block, b"CREATOR ")).collect();
    vec![
        stored("a script in a text", 1, name(b"<script>alert(1)</script>\"'> ")),
        stored("control characters in a text", 2, name(b"\x1b[2J\x1b]0;owned\x07\r\nINFO ok\0\x08")),
        stored("a formula in a text", 3, name(b"=cmd|' /C calc'!A0 ")),
        stored("a character set that nobody knows", 4, [set(b"ISO_IR 666"), name(b"\xe4\xf6\xfc ")].concat()),
        stored(
            "escapes of a character set that do not end",
            5,
            [set(b"\\ISO 2022 IR 87 "), name(b"\x1b$B\x1b\x1b$")].concat(),
        ),
        stored("bytes that are not UTF-8", 6, [set(b"ISO_IR 192"), name(b"\xff\xfe\xc0\x80\xed\xa0\x80 ")].concat()),
        stored("a hundred character sets", 7, set(&b"ISO 2022 IR 13\\".repeat(100))),
        stored("a text of 1 MB", 8, name(&vec![b'x'; 1 << 20])),
        stored("65,534 values in one element", 9, element(0x28, 0x1052, &b"1\\".repeat(65_534))),
        stored("239 private creators", 10, creators),
        stored(
            "elements in falling order",
            11,
            [element(0x0040, 0x0253, b"1 "), element(0x0008, 0x0050, b"2 ")].concat(),
        ),
        stored("a private element twice", 12, element(0x0029, 0x1010, b"12").repeat(2)),
    ]
}

/// The same instance again.
fn again() -> Vec<Case> {
    let clause = "PS3.7 C.5.7";
    let instance = "1.2.3.11.1";
    let first = image(instance);
    let mut other = first.clone();
    *other.last_mut().expect("pixels") = 99;
    vec![
        Case::stored("an image to be sent again", clause, AS_IMPLICIT, instance, &first),
        Case::answered("the same image again", clause, 0, store(AS_IMPLICIT, instance, &first)),
        Case::answered("other pixels under its name", clause, 0x0111, store(AS_IMPLICIT, instance, &other)),
        Case::answered(
            "its name in another series",
            clause,
            0,
            store(AS_IMPLICIT, instance, &image_of_series(instance, "1.2.3.11.2")),
        )
        .keeping(instance),
    ]
}
