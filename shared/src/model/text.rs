//! Text that people write and others read: its normal form, what a name may contain, and how names are found and sorted.

use std::borrow::Cow;

use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// What is shown in place of a secret.
pub const MASK: &str = "********";

/// Whether an export shows the mask in place of an attribute, because of its name.
pub fn is_concealed(attribute: &str) -> bool {
    let lower = attribute.to_lowercase();
    ["secret", "sealed", "token", "password", "hash", "cipher"].iter().any(|word| lower.contains(word))
}

/// Unicode NFC: one encoding for what looks the same.
pub fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { ComposingNormalizerBorrowed::new_nfc().normalize(text) }
}

/// A name as it is stored: one line in NFC without surrounding white space. It has at least one visible character and no invisible ones.
/// Joiners that a language or an emoji needs are kept.
pub fn name(text: &str) -> Result<String, &'static str> {
    let text = nfc(text.trim());
    let letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return Err("must not be empty");
    }
    for (at, letter) in letters.iter().enumerate() {
        if letter.is_control() {
            return Err("must not contain control characters");
        }
        if is_invisible(*letter) && !has_a_reason(&letters, at) {
            return Err("must not contain invisible characters");
        }
    }
    if has_visible(&text) { Ok(text.into_owned()) } else { Err("must have a visible character") }
}

/// Whether anybody sees that there is a text.
pub fn has_visible(text: &str) -> bool {
    text.chars().any(shows)
}

/// Whether a text of several lines contains control characters other than line breaks and tabs.
pub fn has_controls(text: &str) -> bool {
    text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'))
}

/// A form that is equal for texts that differ only in case or in how a letter is composed. Searches compare it.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let parted = DecomposingNormalizerBorrowed::new_nfd().normalize(text);
    // By upper case first, so that ß becomes ss, and σ and ς become the same letter.
    let folded: String = parted.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    nfc(&folded).into_owned()
}

/// A key that sorts names as people look them up: first by letters without marks and case, so that é is next to e.
pub fn sort_key(text: &str) -> String {
    let folded = fold(text);
    if folded.is_ascii() {
        return folded;
    }
    let classes = CanonicalCombiningClassMapBorrowed::new();
    let mut key = String::with_capacity(2 * folded.len());
    for letter in DecomposingNormalizerBorrowed::new_nfd().normalize(&folded).chars() {
        match plain_latin(letter) {
            Some(plain) => key.push_str(plain),
            None if classes.get_u8(letter) == 0 => key.push(letter),
            None => {}
        }
    }
    if key != folded {
        // Names with the same letters are sorted by their marks. No name contains NUL, and NUL sorts before everything else.
        key.push('\0');
        key.push_str(&folded);
    }
    key
}

/// Latin letters that have no decomposition.
fn plain_latin(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        _ => return None,
    })
}

/// Characters that are invisible or change the direction of text. These are Unicode's `Default_Ignorable_Code_Point`, line and paragraph
/// separators, annotation and object characters, noncharacters, and fillers.
fn is_invisible(letter: char) -> bool {
    matches!(u32::from(letter),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
        | 0x2800 | 0x3164 | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFC | 0x1BCA0..=0x1BCA3 | 0x1D159
        | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
        || u32::from(letter) & 0xFFFE == 0xFFFE
}

/// Whether the character is visible by itself: not a blank, not a combining mark, and not from a private-use area.
fn shows(letter: char) -> bool {
    let private = matches!(u32::from(letter), 0xE000..=0xF8FF | 0xF_0000..);
    !letter.is_whitespace() && !is_invisible(letter) && !private && CanonicalCombiningClassMapBorrowed::new().get_u8(letter) == 0
}

/// Whether an invisible character is needed by a language or an emoji: a joiner between letters of a script that joins, or between emoji,
/// or a selector right after the character it selects.
fn has_a_reason(letters: &[char], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| letters[before]) else { return false };
    let after = letters.get(at + 1).copied();
    match letters[at] {
        '\u{200C}' => is_joined(before) && after.is_some_and(is_joined),
        '\u{200D}' => {
            is_joined(before) && after.is_some_and(is_joined) || is_emoji_or_selector(before) && after.is_some_and(is_emoji_or_selector)
        }
        '\u{FE00}'..='\u{FE0F}' => shows(before),
        '\u{180B}'..='\u{180D}' | '\u{180F}' => matches!(before, '\u{1820}'..='\u{18AA}'),
        // Between words in braille.
        '\u{2800}' => matches!(before, '\u{2801}'..='\u{28FF}'),
        // Variants of ideographs. Some family names cannot be written without them.
        '\u{E0100}'..='\u{E01EF}' => matches!(before, '\u{3400}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFD}'),
        _ => false,
    }
}

/// Scripts in which a joiner changes how a word is written: Arabic and related scripts, those of India and its neighbours, Mongolian.
fn is_joined(letter: char) -> bool {
    matches!(letter, '\u{600}'..='\u{DFF}' | '\u{F00}'..='\u{109F}' | '\u{1780}'..='\u{18AF}' | '\u{1B00}'..='\u{1BFF}'
        | '\u{A800}'..='\u{A9FF}' | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' | '\u{11000}'..='\u{11FFF}')
        && !is_invisible(letter)
}

fn is_emoji_or_selector(letter: char) -> bool {
    matches!(letter, '\u{FE0F}' | '\u{2190}'..='\u{27BF}' | '\u{2900}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_something_and_hide_nothing() {
        for (given, kept) in [
            ("  Ünïted  ", "Ünïted"),
            ("e\u{301}t\u{e9}", "été"),
            ("می\u{200C}خواهم", "می\u{200C}خواهم"),
            ("क्\u{200D}ष", "क्\u{200D}ष"),
            ("👩\u{200D}🚀", "👩\u{200D}🚀"),
            ("👩🏽\u{200D}❤\u{FE0F}\u{200D}👨🏽", "👩🏽\u{200D}❤\u{FE0F}\u{200D}👨🏽"),
            ("❤\u{FE0F}", "❤\u{FE0F}"),
            ("葛\u{E0100}城", "葛\u{E0100}城"),
            ("a\u{a0}b", "a\u{a0}b"),
            ("日本", "日本"),
            (".", "."),
        ] {
            assert_eq!(name(given).as_deref(), Ok(kept), "{given:?}");
        }
        let hidden = "\u{200B}\u{200C}\u{200D}\u{200E}\u{200F}\u{2028}\u{2029}\u{202A}\u{202D}\u{202E}\u{2060}\u{2063}\u{2066}\u{2069}\u{FEFF}\u{AD}\
            \u{115F}\u{1160}\u{3164}\u{FFA0}\u{34F}\u{61C}\u{180E}\u{2800}\u{E0041}\u{E007F}\u{E0100}\u{FE0F}\u{FFF9}\u{FFFC}\u{FFFE}\u{1FFFF}\
            \u{0}\u{7}\u{1B}\u{7F}\u{85}";
        for hidden in hidden.chars() {
            assert!(name(&format!("{hidden}")).is_err(), "{hidden:?}");
            assert!(name(&format!("{hidden}a")).is_err() || hidden == '\u{85}' || hidden.is_whitespace(), "{hidden:?}");
            assert!(name(&format!("a{hidden}b")).is_err() || hidden == '\u{FE0F}', "{hidden:?}");
        }
        for nothing in ["", "  ", "\u{a0}", "\u{3000}", "\u{301}", "\u{E000}", "\u{F8FF}\u{308}", "a\u{200D}b", "a\nb", "a\tb"] {
            assert!(name(nothing).is_err(), "{nothing:?}");
        }
    }

    #[test]
    fn searches_see_no_difference_in_case_or_composition() {
        for (one, other) in [
            ("STRASSE", "straße"),
            ("Ángel", "a\u{301}NGEL"),
            ("ΟΔΟΣ", "οδος"),
            ("ΟΔΟΣ", "οδοσ"),
            ("ﬁn", "FIN"),
            ("Ǆ", "ǅ"),
            ("ᾳ", "ΑΙ"),
            ("İ", "i\u{307}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("é"), fold("e"));
    }

    #[test]
    fn marked_letters_stand_beside_plain_ones() {
        let mut names = ["zoo", "Eclair", "éclair", "eclairs", "Øre", "ore", "orf", "e", "É", "f", "Łódź", "lodz", "日本"];
        names.sort_by_key(|name| sort_key(name));
        assert_eq!(names, ["e", "É", "Eclair", "éclair", "eclairs", "f", "lodz", "Łódź", "ore", "Øre", "orf", "zoo", "日本"]);
    }

    proptest::proptest! {
        #[test]
        fn a_kept_name_is_kept_as_it_is_and_folding_is_final(text in ".{0,12}") {
            if let Ok(kept) = name(&text) {
                proptest::prop_assert_eq!(name(&kept), Ok(kept.clone()));
            }
            proptest::prop_assert_eq!(fold(&fold(&text)), fold(&text));
        }
    }
}
