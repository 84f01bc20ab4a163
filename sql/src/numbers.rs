//! Numbers that JSON does not have.

/// How values that are not finite are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// As `null`, because JSON has nothing else (RFC 8259, section 6).
    Null,
    /// As the texts `NaN`, `Infinity` and `-Infinity`, for formats of text.
    Text,
}

/// The engine writes these where a value is not finite, outside of strings.
const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Makes JSON of a row as the engine writes it, and returns how many values were not finite.
pub fn to_json(row: &str, form: NotFinite) -> (String, u64) {
    let mut json = String::with_capacity(row.len());
    let mut count = 0;
    let mut rest = row;
    let (mut is_string, mut is_escaped) = (false, false);
    while let Some(letter) = rest.chars().next() {
        let word = WORDS
            .iter()
            .find(|word| !is_string && rest.starts_with(**word));
        if let Some(word) = word {
            count += 1;
            match form {
                NotFinite::Null => json.push_str("null"),
                NotFinite::Text => {
                    json.push('"');
                    json.push_str(word);
                    json.push('"');
                }
            }
            rest = &rest[word.len()..];
            continue;
        }
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_string = !is_string,
            _ => {}
        }
        json.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    (json, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_outside_of_strings_change() {
        let row = r#"{"a":Infinity,"b":[-Infinity,NaN],"NaN":"\"NaN\\","c":"-Infinity","d":-1}"#;
        let null = r#"{"a":null,"b":[null,null],"NaN":"\"NaN\\","c":"-Infinity","d":-1}"#;
        assert_eq!(to_json(row, NotFinite::Null), (null.to_owned(), 3));
        let text =
            r#"{"a":"Infinity","b":["-Infinity","NaN"],"NaN":"\"NaN\\","c":"-Infinity","d":-1}"#;
        assert_eq!(to_json(row, NotFinite::Text), (text.to_owned(), 3));
    }
}
