//! Reads Rust source as far as the rules about it need: tokens with lines, without comments, texts and test code, and
//! the paths that code names. It is not a parser: it expands no macros and resolves no re-exports.
#![allow(dead_code)] // Each test program uses its part.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files under `folder` with one of `extensions`, in order, without what is ignored by git.
pub fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() {
                let skipped = ["target", "demo-out", "node_modules"].contains(&name.as_str())
                    || (name.starts_with('.') && name != ".ci");
                open.extend((!skipped).then_some(path));
            } else if extensions.iter().any(|extension| name.ends_with(extension)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// `path` as messages show it.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A word, or one character of punctuation; `::` is one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub text: String,
    /// 1-based.
    pub line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    }
}

/// A path as it is named in code, `use` groups expanded: `crate::a::{b, c}` gives two.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub segments: Vec<String>,
    pub line: usize,
    /// The path is called as a macro: `println!`.
    pub is_macro: bool,
}

/// The tokens of `source`, without comments and the insides of texts.
pub fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < text.len() {
        let end = match text[at] {
            '/' if text.get(at + 1) == Some(&'/') => find(&text, at, |rest| rest[0] == '\n'),
            '/' if text.get(at + 1) == Some(&'*') => end_of_block_comment(&text, at),
            '"' => end_of_text(&text, at + 1),
            '\'' => end_of_quote(&text, at),
            'r' | 'b' | 'c' if starts_text(&text, at) => end_of_prefixed_text(&text, at),
            c if c.is_alphanumeric() || c == '_' => {
                let end = find(&text, at, |rest| !(rest[0].is_alphanumeric() || rest[0] == '_'));
                tokens.push(Token { text: text[at..end].iter().collect(), line });
                end
            }
            ':' if text.get(at + 1) == Some(&':') => {
                tokens.push(Token { text: "::".to_owned(), line });
                at + 2
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line });
                }
                at + 1
            }
        };
        line += text[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn find(text: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len()).find(|at| stop(&text[*at..])).unwrap_or(text.len())
}

fn end_of_block_comment(text: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(text.len())
}

fn end_of_text(text: &[char], mut at: usize) -> usize {
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// A character in quotes, or a lifetime, of which only the quote is passed.
fn end_of_quote(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), _) => (find(text, at + 3, |rest| rest[0] == '\'') + 1).min(text.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// Whether a text with a prefix (`r"`, `br#"`, `b"`, `c"`) starts here rather than a word.
fn starts_text(text: &[char], at: usize) -> bool {
    if at > 0 && (text[at - 1].is_alphanumeric() || text[at - 1] == '_') {
        return false;
    }
    let after = find(text, at, |rest| !matches!(rest[0], 'r' | 'b' | 'c'));
    let quote = find(text, after, |rest| rest[0] != '#');
    after - at <= 2 && text.get(quote) == Some(&'"')
}

fn end_of_prefixed_text(text: &[char], at: usize) -> usize {
    let after = find(text, at, |rest| !matches!(rest[0], 'r' | 'b' | 'c'));
    let quote = find(text, after, |rest| rest[0] != '#');
    if !text[at..after].contains(&'r') {
        return end_of_text(text, quote + 1);
    }
    let hashes = quote - after;
    let closes =
        |rest: &[char]| rest[0] == '"' && rest[1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    (find(text, quote + 1, closes) + 1 + hashes).min(text.len())
}

/// `tokens` without the items under `#[cfg(test)]`, and the names of the files that such an item declares.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, BTreeSet<String>) {
    const GATE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut files, mut at) = (Vec::new(), BTreeSet::new(), 0);
    while at < tokens.len() {
        let gated = tokens[at..].iter().map(|token| token.text.as_str()).take(GATE.len()).eq(GATE);
        if !gated {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = end_of_item(tokens, at + GATE.len());
        let item: Vec<&str> = tokens[at + GATE.len()..end].iter().map(|token| token.text.as_str()).collect();
        if let ["mod", name, ";"] = item[..] {
            files.insert(name.to_owned());
        }
        at = end;
    }
    (kept, files)
}

fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (token.text == ";" || token.text == "}") {
            return at + 1;
        }
    }
    tokens.len()
}

/// Every path that `tokens` name, and every macro that they call.
pub fn paths(tokens: &[Token]) -> Vec<Named> {
    let (mut named, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at].text == "use" {
            at = expand_use(tokens, at + 1, &[], &mut named);
        } else if tokens[at].is_word() {
            at = collect_path(tokens, at, &mut named);
        } else {
            at += 1;
        }
    }
    named
}

/// Reads one `use` tree from `at` on; returns the index of what follows it.
fn expand_use(tokens: &[Token], mut at: usize, prefix: &[String], named: &mut Vec<Named>) -> usize {
    let mut segments = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = expand_use(tokens, at, &segments, named);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => at += 2,
            "::" => at += 1,
            word => {
                segments.push(word.to_owned());
                at += 1;
            }
        }
    }
    named.push(Named { segments, line, is_macro: false });
    at
}

fn collect_path(tokens: &[Token], mut at: usize, named: &mut Vec<Named>) -> usize {
    let line = tokens[at].line;
    let follows = at.checked_sub(1).map(|before| tokens[before].text.as_str());
    let mut segments = vec![tokens[at].text.clone()];
    at += 1;
    while tokens.get(at).is_some_and(|token| token.text == "::") && tokens.get(at + 1).is_some_and(Token::is_word) {
        segments.push(tokens[at + 1].text.clone());
        at += 2;
    }
    let is_macro = tokens.get(at).is_some_and(|token| token.text == "!")
        && tokens.get(at + 1).is_some_and(|token| ["(", "[", "{"].contains(&token.text.as_str()));
    if follows != Some(".") && (segments.len() > 1 || is_macro) {
        named.push(Named { segments, line, is_macro });
    }
    at
}

#[test]
fn expands_groups_and_skips_comments_texts_and_tests() {
    let source = r##"
        use crate::{a::b, c::{self, d as e}, *};
        // crate::comment /* no */
        /* crate::block /* nested */ still */
        const T: &str = "crate::text \" crate::text"; const R: &str = r#"crate::raw " "#;
        fn f<'a>(c: char) -> bool { c == '"' || c == '\'' || super::g::<u8>(b"x", 'y') }
        #[cfg(test)]
        mod tests { use crate::hidden; fn h() { let _ = [1; 2]; } }
        #[cfg(test)] mod far;
        fn last() { std::fs::read(".").go::crate_like(); println!("{}", 1) }
    "##;
    let (kept, files) = without_tests(&tokens(source));
    let found: Vec<(String, usize)> = paths(&kept).iter().map(|p| (p.segments.join("::"), p.line)).collect();
    let expected = [
        ("crate::a::b", 2),
        ("crate::c::self", 2),
        ("crate::c::d", 2),
        ("crate::*", 2),
        ("super::g", 6),
        ("std::fs::read", 10),
        ("println", 10),
    ];
    assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
    assert_eq!(files, BTreeSet::from(["far".to_owned()]));
}
