//! Tables for other programs: comma-separated values (RFC 4180).

/// One line with its end. A field that holds a comma, a quote or an end of line is quoted.
pub fn line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let fields: Vec<String> = fields.into_iter().map(quoted).collect();
    fields.join(",") + "\r\n"
}

/// A table, line by line.
pub fn table(rows: &[Vec<String>]) -> String {
    rows.iter().map(|row| line(row.iter().map(String::as_str))).collect()
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_must_be() {
        assert_eq!(line(["a", "b, c", "", "say \"d\"", "e\nf"]), "a,\"b, c\",,\"say \"\"d\"\"\",\"e\nf\"\r\n");
    }
}
