//! Text of unknown origin, made safe to show on a terminal.

use std::borrow::Cow;

/// Returns `text` with every character that a terminal would obey or hide written as `\u{…}`, line feeds included.
///
/// Use it for one value, such as a name that a client sent. Escape sequences (ECMA-48) can move the cursor, set the
/// clipboard or answer in the user's name; characters that reorder text (Unicode Standard Annex 9) can make it read as
/// something else.
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe)
}

/// Returns `text` as [`visible`] does, but keeps line feeds and tabs: use it for a whole message.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escape(text, |letter| {
        is_unsafe(letter) && !matches!(letter, '\n' | '\t')
    })
}

fn escape(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_unsafe(letter) {
            escaped.extend(letter.escape_unicode());
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters (category Cc), and the format and separator characters that change how the rest is shown.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_or_hides_is_escaped() {
        for (text, expected) in [
            ("\u{1b}]52;c;eA==\u{7}", r"\u{1b}]52;c;eA==\u{7}"),
            ("a\rb\u{7f}", r"a\u{d}b\u{7f}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("gpj.\u{202e}exe", r"gpj.\u{202e}exe"),
            (
                "a\u{2066}b\u{200b}c\u{feff}",
                r"a\u{2066}b\u{200b}c\u{feff}",
            ),
            ("a\nb\tc", r"a\u{a}b\u{9}c"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert_eq!(visible_lines("a\n\tb\r"), "a\n\tb\\u{d}");
    }

    #[test]
    fn text_stays_as_it_is() {
        for text in ["", "Zürich – 東京 🙂", "192.0.2.1"] {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text));
        }
    }
}
