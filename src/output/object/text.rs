//! Our own texts and numbers as attribute values: ASCII, bounded, without what a value may not hold.

use std::fmt::Write;

/// Longest decimal string (PS3.5 6.2, VR DS).
const DECIMAL_LENGTH_MAX: usize = 16;

/// Text of our own for an attribute of at most `length_max` characters.
///
/// The character set of the object is that of the images, which may be any; ASCII is part of all of them. What is not
/// ASCII becomes `?`, a control character a space and a backslash a slash (it would separate values).
pub fn plain(text: &str, length_max: usize) -> String {
    let ascii = text.chars().map(|c| match c {
        '\\' => '/',
        ' '..='~' => c,
        c if c.is_control() => ' ',
        _ => '?',
    });
    let cut: String = ascii.take(length_max).collect();
    cut.trim().to_owned()
}

/// A decimal string (VR DS): fixed decimals without trailing zeros, no exponent, no negative zero; none when it would
/// not fit into 16 bytes (PS3.5 6.2) or is not a number.
pub fn decimal(value: f64, decimals: usize) -> Option<String> {
    let mut text = String::new();
    push_decimal(&mut text, value, decimals).then_some(text)
}

/// Adds the same to a text, which has many of them; whether there is one.
pub fn push_decimal(text: &mut String, value: f64, decimals: usize) -> bool {
    let start = text.len();
    if !value.is_finite() || write!(text, "{value:.decimals$}").is_err() {
        return false;
    }
    if decimals > 0 {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if &text[start..] == "-0" {
        text.replace_range(start.., "0");
    }
    text.len() - start <= DECIMAL_LENGTH_MAX
}

/// A decimal string of an image as it stands there, when it is short and plain enough to be repeated.
pub fn repeated_decimal(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_matches([' ', '\0']);
    let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    (plain && text.parse::<f64>().is_ok()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_fixed_short_and_never_negative_zero() {
        let check = |value: f64, decimals, expected| assert_eq!(decimal(value, decimals).as_deref(), expected);
        check(-1234.5678, 3, Some("-1234.568"));
        check(100.0, 3, Some("100"));
        check(-0.0004, 3, Some("0"));
        check(1e-9, 3, Some("0"));
        check(120.0, 0, Some("120"));
        check(123_456_789_012.0, 3, Some("123456789012"));
        check(1e17, 3, None);
        check(f64::NAN, 3, None);
    }

    #[test]
    fn repeats_plain_decimals_of_an_image_only() {
        assert_eq!(repeated_decimal(b" -104.5000000001 ").as_deref(), Some("-104.5000000001"));
        assert_eq!(repeated_decimal(b"-1.045e+02"), None);
        assert_eq!(repeated_decimal(b"-104.500000000000001"), None);
        assert_eq!(repeated_decimal(b""), None);
    }

    #[test]
    fn texts_are_ascii_and_bounded() {
        assert_eq!(plain("Lunge f\u{fc}r\\alle\n ", 64), "Lunge f?r/alle");
        assert_eq!(plain("abcdef", 4), "abcd");
    }
}
