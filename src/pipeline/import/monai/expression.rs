//! The Python that bundles write after `$`, as far as it is a literal: numbers, texts, lists, references, arithmetic. It
//! calls nothing and runs nothing.

use crate::document::Value;

/// What an expression may refer to.
pub(super) trait Names {
    /// The value of `@id`.
    fn value(&self, id: &str) -> Result<Value, String>;
    /// A list item, which takes the place of the expression.
    fn item(&self, value: Value) -> crate::document::Node;
}

/// Evaluates the text after `$`.
///
/// # Errors
/// What is not a literal, in words.
pub(super) fn evaluate(text: &str, names: &dyn Names) -> Result<Value, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, names, depth: 0 };
    let value = parser.choice()?;
    match parser.peek() {
        None => Ok(value),
        Some(rest) => Err(format!("{} is not part of a literal", rest.shown())),
    }
}

/// Deepest nesting of brackets in an expression; people write two.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64, String),
    Text(String),
    /// A word, or several with dots between.
    Word(String),
    /// What stands after `@`.
    Reference(String),
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Number(_, text) | Token::Text(text) | Token::Word(text) => format!("{text:?}"),
            Token::Reference(id) => format!("\"@{id}\""),
            Token::Sign(sign) => format!("{sign:?}"),
        }
    }
}

const SIGNS: [&str; 12] = ["//", "[", "]", "(", ")", ",", "+", "-", "*", "/", "{", "}"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |text: &str, also: &str| {
            text.find(|c: char| !c.is_alphanumeric() && c != '_' && !also.contains(c)).unwrap_or(text.len())
        };
        let length = if first.is_ascii_digit() || first == '.' {
            let length = number_length(rest);
            let number = rest[..length].parse().map_err(|_| format!("{:?} is no number", &rest[..length]))?;
            tokens.push(Token::Number(number, rest[..length].to_owned()));
            length
        } else if first == '\'' || first == '"' {
            let end = rest[1..].find(first).ok_or("a text without its end")?;
            tokens.push(Token::Text(rest[1..=end].to_owned()));
            end + 2
        } else if first == '@' {
            let length = 1 + word(&rest[1..], ":#");
            tokens.push(Token::Reference(rest[1..length].to_owned()));
            length
        } else if first.is_alphabetic() || first == '_' {
            let length = word(rest, ".");
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| format!("{first:?} is not part of a literal"))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        let signed = length > 0 && b"+-".contains(byte) && b"eE".contains(&bytes[length - 1]);
        if !byte.is_ascii_digit() && !b".eE".contains(byte) && !signed {
            break;
        }
        length += 1;
    }
    length
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    names: &'a dyn Names,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at += usize::from(found);
        found
    }

    /// `A if C else B`, or a sum.
    fn choice(&mut self) -> Result<Value, String> {
        let value = self.sum()?;
        if !self.word("if") {
            return Ok(value);
        }
        let condition = self.sum()?;
        if !self.word("else") {
            return Err("an \"if\" without its \"else\"".to_owned());
        }
        self.deeper()?;
        let other = self.choice()?;
        self.depth -= 1;
        Ok(if is_true(&condition) { value } else { other })
    }

    fn sum(&mut self) -> Result<Value, String> {
        let mut value = self.product()?;
        loop {
            if self.take("+") {
                let other = self.product()?;
                value = match (value, other) {
                    (Value::Array(a), Value::Array(b)) => Value::Array([a, b].concat()),
                    (Value::String(a), Value::String(b)) => Value::String(a + &b),
                    (a, b) => number(numeric(&a)? + numeric(&b)?),
                };
            } else if self.take("-") {
                value = number(numeric(&value)? - numeric(&self.product()?)?);
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Value, String> {
        let mut value = self.unary()?;
        loop {
            if self.take("*") {
                let other = self.unary()?;
                value = match (value, other) {
                    // `[0.5] * 3`
                    (Value::Array(items), times) => repeated(&items, numeric(&times)?)?,
                    (a, b) => number(numeric(&a)? * numeric(&b)?),
                };
            } else if self.take("//") {
                value = number((numeric(&value)? / numeric(&self.unary()?)?).floor());
            } else if self.take("/") {
                value = number(numeric(&value)? / numeric(&self.unary()?)?);
            } else {
                return Ok(value);
            }
        }
    }

    fn unary(&mut self) -> Result<Value, String> {
        let (minus, not) = (self.take("-"), self.word("not"));
        if !minus && !not {
            return self.literal();
        }
        self.deeper()?;
        let value = self.unary()?;
        self.depth -= 1;
        let value = if not { Value::Bool(!is_true(&value)) } else { value };
        if minus { Ok(number(-numeric(&value)?)) } else { Ok(value) }
    }

    /// The parser calls itself; an expression of a million brackets must not end the program.
    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err("deeper nesting".to_owned()) } else { Ok(()) }
    }

    fn literal(&mut self) -> Result<Value, String> {
        let token = self.peek().cloned().ok_or("an expression without its end")?;
        self.at += 1;
        match token {
            Token::Number(value, text) => Ok(Value::Number(value, text)),
            Token::Text(text) => Ok(Value::String(text)),
            Token::Reference(id) => self.names.value(&id),
            Token::Word(word) => named(&word),
            Token::Sign("[") => self.list("]"),
            Token::Sign("(") => self.list(")"),
            Token::Sign(sign) => Err(format!("{sign:?} begins no literal")),
        }
    }

    /// A list, a tuple, or one value in brackets.
    fn list(&mut self, end: &str) -> Result<Value, String> {
        self.deeper()?;
        let (mut items, mut commas) = (Vec::new(), 0);
        while !self.take(end) {
            let value = self.choice()?;
            items.push(self.names.item(value));
            if self.take(",") {
                commas += 1;
            } else if !self.take(end) {
                return Err(format!("a list without {end:?}"));
            } else {
                break;
            }
        }
        self.depth -= 1;
        match items.as_slice() {
            [only] if end == ")" && commas == 0 => Ok(only.value.clone()),
            _ => Ok(Value::Array(items)),
        }
    }
}

/// Python's truth of a value.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value, _) => *value != 0.0,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn named(word: &str) -> Result<Value, String> {
    match word {
        "True" => Ok(Value::Bool(true)),
        "False" => Ok(Value::Bool(false)),
        "None" => Ok(Value::Null),
        _ => {
            // Types are words: torch.float32 is "float32".
            let of = |module: &str| word.strip_prefix(module).map(|kind| Value::String(kind.to_owned()));
            let kind = of("torch.").or_else(|| of("np.")).or_else(|| of("numpy."));
            kind.ok_or_else(|| format!("{word:?} is Python that is not run here"))
        }
    }
}

fn numeric(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(value, _) => Ok(*value),
        _ => Err("arithmetic with what is no number".to_owned()),
    }
}

fn number(value: f64) -> Value {
    Value::Number(value, value.to_string())
}

fn repeated(items: &[crate::document::Node], times: f64) -> Result<Value, String> {
    if !(0.0..=64.0).contains(&times) {
        return Err(format!("a list {times} times"));
    }
    Ok(Value::Array(std::iter::repeat_n(items, times as usize).flatten().cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Node;

    struct One;

    impl Names for One {
        fn value(&self, id: &str) -> Result<Value, String> {
            if id == "a::b" { Ok(number(4.0)) } else { Err(format!("no {id}")) }
        }
        fn item(&self, value: Value) -> Node {
            Node { value, line: 1, path: String::new() }
        }
    }

    fn shown(value: &Value) -> String {
        match value {
            Value::Array(items) => {
                format!("[{}]", items.iter().map(|item| shown(&item.value)).collect::<Vec<_>>().join(" "))
            }
            Value::Number(value, _) => value.to_string(),
            Value::String(text) => format!("{text:?}"),
            Value::Bool(value) => value.to_string(),
            _ => "null".to_owned(),
        }
    }

    #[test]
    fn literals_have_their_value() {
        for (text, expected) in [
            ("[0,1]", "[0 1]"),
            ("(96, 96, 64)", "[96 96 64]"),
            ("(1 + 2) * 3 - 4 // 3", "8"),
            ("1.0 - float_", "error"),
            ("@a::b / 8", "0.5"),
            ("['a'] + [\"b\"]", "[\"a\" \"b\"]"),
            ("[1.5] * 3", "[1.5 1.5 1.5]"),
            ("not True", "false"),
            ("[1.5] if @a::b else [3.0]", "[1.5]"),
            ("1 if not @a::b else 2 if 0 else 3", "3"),
            ("1 if 2", "error"),
            ("-1e-3", "-0.001"),
            ("torch.float32", "\"float32\""),
            ("torch.device('cuda')", "error"),
            ("lambda x: x > 0", "error"),
            ("[1, 2", "error"),
            ("", "error"),
            ("@c", "error"),
        ] {
            let found = evaluate(text, &One).map_or_else(|_| "error".to_owned(), |value| shown(&value));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_ends_the_parser_and_not_the_program() {
        let deep = "[".repeat(100_000);
        assert!(evaluate(&deep, &One).is_err_and(|told| told.contains("deeper")));
        assert!(evaluate(&"-".repeat(100_000), &One).is_err());
    }
}
