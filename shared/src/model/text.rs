//! Text as people mean it: what looks the same is the same.

use std::borrow::Cow;

/// Unicode NFC, in which an é is one character however the keyboard made it.
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accent_is_one_character_however_it_was_typed() {
        assert_eq!(nfc("caf\u{65}\u{301}"), "caf\u{e9}");
        assert!(matches!(nfc("plain"), Cow::Borrowed("plain")));
    }
}
