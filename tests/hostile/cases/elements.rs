//! Data sets that are no data sets: cut short, with lengths that lie, nested without end, in another encoding.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::bytes::*;
use crate::case::Case;

/// Statuses by what they say (PS3.4 B.2.3; the class C0xx is the implementation's own).
const UNREADABLE: u16 = 0xC000;
const TRUNCATED: u16 = 0xC001;
const TOO_COMPLEX: u16 = 0xC003;

const TO_THE_END: u32 = u32::MAX;

pub fn all() -> Vec<Case> {
    [cut(), lengths(), nesting(), sequences(), counts(), encodings(), deflated(), encapsulated()]
        .into_iter()
        .flatten()
        .collect()
}

fn case(name: impl Into<String>, source: &'static str, status: u16, data_set: &[u8]) -> Case {
    Case::refused(name, source, status, AS_IMPLICIT, data_set)
}

fn cut() -> Vec<Case> {
    let whole = image("1.2.3.4");
    let pixels = whole.len() - 2_048;
    let mut cases: Vec<Case> =
        [0, 1, 3, 4, 7, 8, 20, 60, pixels - 9, pixels - 8, pixels - 4, pixels, pixels + 1, whole.len() - 1]
            .into_iter()
            .map(|end| case(format!("a data set cut at byte {end}"), "PS3.5 7.1", TRUNCATED, &whole[..end]))
            .collect();
    cases.push(case("an image without its header", "PS3.3 C.12.1", 0xC002, &whole[pixels - 8..]));
    cases
}

/// An image, in Explicit VR, with an element whose length lies before its pixels.
fn lying(vr: &[u8; 2], length: u32, value: &[u8]) -> Vec<u8> {
    let pixels = explicit(0x7FE0, 0x0010, b"OW", &[1; 64]);
    [explicit_head("1.2.3.4"), explicit_of(0x0029, 0x1010, vr, length, value), pixels].concat()
}

fn lengths() -> Vec<Case> {
    let clause = "allocation by a declared length";
    let mut cases = Vec::new();
    for vr in [b"OB", b"OW", b"OF", b"OD", b"OL", b"UN", b"UT", b"UC"] {
        let name = String::from_utf8_lossy(vr).into_owned();
        let refused = |what: &str, status: u16, length: u32| {
            Case::refused(format!("{name} of {what}"), clause, status, AS_EXPLICIT, &lying(vr, length, &[7; 16]))
        };
        cases.push(refused("4 GiB less 16 bytes", TOO_COMPLEX, 0xffff_fff0));
        cases.push(refused("100 MB of which 16 bytes are there", TRUNCATED, 100 << 20));
    }
    let mut native = image("1.2.3.4");
    let at = native.len() - 2_048 - 4;
    let mut with_length = |name: &str, status: u16, length: u32| {
        native[at..at + 4].copy_from_slice(&length.to_le_bytes());
        case(name, clause, status, &native)
    };
    cases.extend([
        with_length("pixels of 4 GiB less 16 bytes", TRUNCATED, 0xffff_fff0),
        with_length("pixels of 4 GiB less 2 bytes", TRUNCATED, 0xffff_fffe),
        with_length("pixels of 2 GiB", TRUNCATED, 1 << 31),
        with_length("pixels a byte longer than they are", TRUNCATED, 2_049),
        with_length("native pixels of undefined length", UNREADABLE, TO_THE_END),
        Case::refused(
            "a text of 65,535 bytes in 16 bits",
            clause,
            TRUNCATED,
            AS_EXPLICIT,
            &lying(b"LO", 0xffff, &[b'x'; 16]),
        ),
        case(
            "a text of undefined length",
            "PS3.5 7.1.1",
            UNREADABLE,
            &image_with("1.2.3.4", &element_of(0x0028, 0x0A02, TO_THE_END, b"")),
        ),
        Case::stored(
            "numbers that are cut, and what then is taken for 4 GiB",
            clause,
            AS_EXPLICIT,
            "1.2.3.5.5",
            &cut_numbers("1.2.3.5.5"),
        ),
        Case::refused(
            "numbers of undefined length",
            "PS3.5 7.1.1",
            UNREADABLE,
            AS_EXPLICIT,
            &lying(b"OW", TO_THE_END, &[7; 16]),
        ),
    ]);
    cases
}

/// Read from two bytes too early, the second element is OB of 0xfff00010 bytes.
fn cut_numbers(instance: &str) -> Vec<u8> {
    let number = explicit(0x0029, 0x1010, b"UL", &[0x29, 0]);
    let next = explicit(0x0029, 0x424f, b"LO", &[&[0xf0, 0xff][..], &[b' '; 14]].concat());
    [explicit_head(instance), number, next, explicit(0x7FE0, 0x0010, b"OW", &[1; 64])].concat()
}

/// So many sequences within each other, each in one item; the deepest is empty.
fn nested(depth: usize, defined: bool) -> Vec<u8> {
    let sequence = |length: u32| element_of(0x0040, 0xA730, length, &[]);
    let item = |length: u32| element_of(0xfffe, 0xe000, length, &[]);
    if !defined {
        let open = [sequence(TO_THE_END), item(TO_THE_END)].concat().repeat(depth);
        let close = [element(0xfffe, 0xe00d, b""), element(0xfffe, 0xe0dd, b"")].concat().repeat(depth);
        return [open, close].concat();
    }
    (1..=depth)
        .rev()
        .flat_map(|level| [sequence(16 * level as u32 - 8), item(16 * (level as u32 - 1))].concat())
        .collect()
}

fn nesting() -> Vec<Case> {
    let clause = "recursion without a bound";
    let mut cases = Vec::new();
    for (defined, what) in [(false, "undefined"), (true, "defined")] {
        for depth in [64, 500, 5_000, 10_000, 100_000] {
            let data = image_with("1.2.3.4", &nested(depth, defined));
            cases.push(case(
                format!("{depth} sequences of {what} length within each other"),
                clause,
                TOO_COMPLEX,
                &data,
            ));
        }
    }
    // Without ends, as a sender would that only wants to be followed down.
    let open = [element_of(0x0040, 0xA730, TO_THE_END, &[]), element_of(0xfffe, 0xe000, TO_THE_END, &[])].concat();
    let unknown =
        [explicit_of(0x0029, 0x1010, b"UN", TO_THE_END, &[]), element_of(0xfffe, 0xe000, TO_THE_END, &[])].concat();
    let private =
        [explicit_of(0x0029, 0x1010, b"SQ", TO_THE_END, &[]), element_of(0xfffe, 0xe000, TO_THE_END, &[])].concat();
    let head = head(&Uids(CT, "1.2.3.4", "1.2.3", "1.2.3.4.1"));
    cases.extend([
        case("10,000 sequences that never end", clause, TOO_COMPLEX, &[head, open.repeat(10_000)].concat()),
        Case::refused(
            "10,000 private sequences that never end",
            clause,
            TOO_COMPLEX,
            AS_EXPLICIT,
            &[explicit_head("1.2.3.4"), private.repeat(10_000)].concat(),
        ),
        Case::refused(
            "a sequence of unknown VR, and 10,000 in it",
            clause,
            TOO_COMPLEX,
            AS_EXPLICIT,
            &[explicit_head("1.2.3.4"), unknown, open.repeat(10_000)].concat(),
        ),
        Case::stored(
            "63 sequences of undefined length within each other",
            clause,
            AS_IMPLICIT,
            "1.2.3.5.1",
            &image_with("1.2.3.5.1", &nested(63, false)),
        ),
        Case::stored(
            "63 sequences of defined length within each other",
            clause,
            AS_IMPLICIT,
            "1.2.3.5.2",
            &image_with("1.2.3.5.2", &nested(63, true)),
        ),
    ]);
    cases
}

fn sequences() -> Vec<Case> {
    let clause = "PS3.5 7.5";
    let with = |bytes: Vec<u8>| image_with("1.2.3.4", &bytes);
    let sequence = |length: u32, content: &[u8]| element_of(0x0040, 0xA730, length, content);
    let item = |length: u32, content: &[u8]| element_of(0xfffe, 0xe000, length, content);
    let inner = element(0x0008, 0x1155, b"1.2.3.9\0");
    let end = |number: u16| element(0xfffe, number, b"");
    vec![
        case("an item longer than its sequence", clause, UNREADABLE, &with(sequence(24, &item(500, &inner)))),
        case(
            "an element longer than its item",
            clause,
            UNREADABLE,
            &with(sequence(24, &item(16, &element_of(8, 0x1155, 500, b"1.2.3.9\0")))),
        ),
        case("an item that ends within an element", clause, UNREADABLE, &with(sequence(24, &item(12, &inner)))),
        case("a sequence that ends within an item", clause, UNREADABLE, &with(sequence(12, &item(16, &inner)))),
        case(
            "a sequence longer than the data set",
            clause,
            TOO_COMPLEX,
            &with(sequence(0xffff_fff0, &item(16, &inner))),
        ),
        case(
            "a sequence without its end",
            clause,
            TRUNCATED,
            &[head(&Uids(CT, "1.2.3.4", "1.2.3", "1.2.3.4.1")), sequence(TO_THE_END, &item(16, &inner))].concat(),
        ),
        case("an element where an item is due", clause, UNREADABLE, &with(sequence(16, &inner))),
        case("an item where an element is due", clause, UNREADABLE, &with(item(16, &inner))),
        case("the end of an item outside of one", clause, UNREADABLE, &with(end(0xe00d))),
        case("the end of a sequence outside of one", clause, UNREADABLE, &with(end(0xe0dd))),
        case(
            "the end of an item of defined length",
            clause,
            UNREADABLE,
            &with(sequence(TO_THE_END, &[item(8, &end(0xe00d)), end(0xe0dd)].concat())),
        ),
        case(
            "a command in a data set",
            "PS3.5 7.1",
            UNREADABLE,
            &[element(0, 0x0100, &u16(1)), image("1.2.3.4")].concat(),
        ),
        case(
            "a file meta group in a data set",
            "PS3.10 7.1",
            UNREADABLE,
            &[element(2, 0x0010, &padded(IMPLICIT)), image("1.2.3.4")].concat(),
        ),
        case(
            "a file with its preamble",
            "PS3.10 7.1",
            UNREADABLE,
            &[vec![0; 128], b"DICM".to_vec(), image("1.2.3.4")].concat(),
        ),
        Case::stored(
            "an empty sequence and an empty item",
            clause,
            AS_IMPLICIT,
            "1.2.3.5.3",
            &image_with("1.2.3.5.3", &[sequence(0, &[]), element(0x0040, 0xA731, &item(0, &[]))].concat()),
        ),
    ]
}

fn counts() -> Vec<Case> {
    let clause = "a flood of small elements";
    let elements = element(0x0029, 0x1010, b"").repeat(600_000);
    let items = element_of(0xfffe, 0xe000, 0, &[]).repeat(600_000);
    let slow = std::time::Duration::from_secs(6);
    vec![
        case("600,000 empty elements", clause, TOO_COMPLEX, &image_with("1.2.3.4", &elements)).within(slow),
        case(
            "600,000 empty items",
            clause,
            TOO_COMPLEX,
            &image_with("1.2.3.4", &element_of(0x0040, 0xA730, items.len() as u32, &items)),
        )
        .within(slow),
    ]
}

fn encodings() -> Vec<Case> {
    let clause = "PS3.5 10";
    let vr = |vr: &[u8; 2]| {
        [explicit_head("1.2.3.4"), explicit(0x0029, 0x1010, vr, b"1234"), explicit(0x7FE0, 0x0010, b"OW", &[1; 64])]
            .concat()
    };
    let refused =
        |name: &str, status: u16, context: u8, data: &[u8]| Case::refused(name, clause, status, context, data);
    let big: Vec<u8> = [(0x0008_u16, 0x0016_u16, CT), (0x0008, 0x0018, "1.2.3.4")]
        .iter()
        .flat_map(|(group, number, text)| {
            let value = padded(text);
            [&group.to_be_bytes()[..], &number.to_be_bytes(), b"UI", &(value.len() as u16).to_be_bytes(), &value]
                .concat()
        })
        .collect();
    vec![
        refused("Implicit VR where it is explicit", UNREADABLE, AS_EXPLICIT, &image("1.2.3.4")),
        refused("Explicit VR where it is implicit", TRUNCATED, AS_IMPLICIT, &vr(b"LO")),
        refused("big endian where it is little", TOO_COMPLEX, AS_IMPLICIT, &big),
        refused("a VR of NUL", UNREADABLE, AS_EXPLICIT, &vr(b"\0\0")),
        refused("a VR of question marks", UNREADABLE, AS_EXPLICIT, &vr(b"??")),
        refused("a VR in small letters", UNREADABLE, AS_EXPLICIT, &vr(b"lo")),
        refused("noise", TOO_COMPLEX, AS_IMPLICIT, &[0x99; 5_000]),
        refused("zeros", UNREADABLE, AS_IMPLICIT, &[0; 5_000]),
        refused("an HTML page", TOO_COMPLEX, AS_IMPLICIT, b"<!DOCTYPE html><html><body>not found</body></html>"),
    ]
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn deflated() -> Vec<Case> {
    let clause = "PS3.5 A.5, bombs";
    let whole = [explicit_head("1.2.3.4"), explicit(0x7FE0, 0x0010, b"OW", &[1; 2_048])].concat();
    let good = [explicit_head("1.2.3.5.4"), explicit(0x7FE0, 0x0010, b"OW", &[1; 2_048])].concat();
    let packed = deflate(&whole);
    let header = |length: u32| {
        deflate(&[explicit_head("1.2.3.4"), explicit_of(0x0029, 0x1010, b"OB", length, &vec![0; 8 << 20])].concat())
    };
    let pixels = deflate(
        &[explicit_head("1.2.3.4"), explicit_of(0x7FE0, 0x0010, b"OW", 0xffff_fff0, &vec![0; 8 << 20])].concat(),
    );
    let elements = deflate(&[explicit_head("1.2.3.4"), explicit(0x0029, 0x1010, b"LO", b"").repeat(600_000)].concat());
    let refused = |name: &str, status: u16, data: &[u8]| Case::refused(name, clause, status, AS_DEFLATED, data);
    vec![
        refused("a stream that is not deflated", UNREADABLE, &whole),
        refused("a deflated stream cut in the middle", TRUNCATED, &packed[..packed.len() / 2]),
        refused("a deflated stream of nothing", TRUNCATED, &deflate(b"")),
        refused("a header that says to inflate to 4 GiB", TOO_COMPLEX, &header(0xffff_fff0)),
        refused("a header that inflates to 8 MB of 100", TRUNCATED, &header(100 << 20)),
        refused("pixels that say to inflate to 4 GiB", TOO_COMPLEX, &pixels),
        refused("600,000 elements in 10 kB", TOO_COMPLEX, &elements).within(std::time::Duration::from_secs(6)),
        Case::stored("a deflated image", clause, AS_DEFLATED, "1.2.3.5.4", &deflate(&good)),
    ]
}

fn encapsulated() -> Vec<Case> {
    let clause = "PS3.5 A.4";
    let open = explicit_of(0x7FE0, 0x0010, b"OB", TO_THE_END, &[]);
    let fragment = |length: u32, bytes: &[u8]| element_of(0xfffe, 0xe000, length, bytes);
    let end = element(0xfffe, 0xe0dd, b"");
    let of = |instance: &str, parts: &[Vec<u8>]| [explicit_head(instance), open.clone(), parts.concat()].concat();
    let refused =
        |name: &str, status: u16, parts: &[Vec<u8>]| Case::refused(name, clause, status, AS_RLE, &of("1.2.3.4", parts));
    let stored = |name: &str, number: u8, parts: &[Vec<u8>]| {
        let instance = format!("1.2.3.6.{number}");
        Case::stored(name, clause, AS_RLE, &instance, &of(&instance, parts))
    };
    let table = || fragment(0, &[]);
    let good = || fragment(64, &[7; 64]);
    vec![
        refused("fragments without an end", TRUNCATED, &[table(), good()]),
        refused("a fragment of 4 GiB less 16 bytes", TRUNCATED, &[table(), fragment(0xffff_fff0, &[7; 64])]),
        refused("a fragment of undefined length", UNREADABLE, &[table(), fragment(TO_THE_END, &[7; 64]), end.clone()]),
        refused("an offset table of 4 GiB", TRUNCATED, &[fragment(0xffff_fff0, &[0; 4])]),
        refused(
            "an element among fragments",
            UNREADABLE,
            &[table(), explicit(0x0028, 0x0010, b"US", &u16(1)), end.clone()],
        ),
        refused(
            "the end of an item among fragments",
            UNREADABLE,
            &[table(), element(0xfffe, 0xe00d, b""), end.clone()],
        ),
        refused("140,000 fragments of nothing", TOO_COMPLEX, &[fragment(0, &[]).repeat(140_000), end.clone()]),
        refused(
            "an element behind the pixels that lies",
            TRUNCATED,
            &[table(), good(), end.clone(), explicit_of(0xFFFC, 0xFFFC, b"OB", 5_000, &[])],
        ),
        refused("pixels twice", UNREADABLE, &[table(), good(), end.clone(), open.clone(), table(), end.clone()]),
        stored("pixels without fragments", 1, &[table(), end.clone()]),
        stored("pixels without even an offset table", 2, std::slice::from_ref(&end)),
        stored("an offset table that points beyond the pixels", 3, &[fragment(8, &[0xff; 8]), good(), end.clone()]),
        stored("an offset table of 3 bytes", 4, &[fragment(3, &[1; 3]), good(), end.clone()]),
        stored("a fragment of odd length", 5, &[table(), fragment(63, &[7; 63]), end.clone()]),
    ]
}
