//! How a text goes as SMS: its encoding, and the number of segments that carriers count. By 3GPP TS 23.038 and 23.040: 140 bytes a segment, 6 of
//! them for a header where there are several.

use serde::Serialize;

/// The default alphabet of GSM 03.38, without its escape.
const ALPHABET: &str =
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Its extension table: each of these takes two septets, an escape and a letter.
const EXTENSION: &str = "\u{C}^{}\\[~]|€";

/// A text as SMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sms {
    pub encoding: Encoding,
    pub segments: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SmsEncoding)]
pub enum Encoding {
    /// 160 septets, or 153 in each of several segments.
    Gsm7,
    /// As soon as one character is in neither table: 70 code units of UTF-16, or 67 in each of several segments.
    Ucs2,
}

impl Sms {
    pub fn of(text: &str) -> Self {
        match text.chars().map(septets).collect::<Option<Vec<usize>>>() {
            Some(sizes) => Sms { encoding: Encoding::Gsm7, segments: segments(&sizes, 160, 153) },
            None => Sms { encoding: Encoding::Ucs2, segments: segments(&text.chars().map(char::len_utf16).collect::<Vec<_>>(), 70, 67) },
        }
    }
}

/// What a character takes in GSM 03.38; `None` where it has no place there.
fn septets(letter: char) -> Option<usize> {
    if ALPHABET.contains(letter) {
        Some(1)
    } else if EXTENSION.contains(letter) {
        Some(2)
    } else {
        None
    }
}

/// All in one if it fits. Else each segment is filled as far as whole characters go: the two halves of an escape or of a surrogate pair stay together.
fn segments(sizes: &[usize], alone: usize, one_of_several: usize) -> u64 {
    if sizes.iter().sum::<usize>() <= alone {
        return 1;
    }
    let (mut segments, mut room) = (0, 0);
    for size in sizes {
        if *size > room {
            (segments, room) = (segments + 1, one_of_several);
        }
        room -= size;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(text: &str) -> (Encoding, u64) {
        let Sms { encoding, segments } = Sms::of(text);
        (encoding, segments)
    }

    #[test]
    fn the_alphabet_is_that_of_the_standard() {
        // 128 places less the escape, and the ten of the first extension table.
        assert_eq!((ALPHABET.chars().count(), EXTENSION.chars().count()), (127, 10));
        let place = |letter: char| ALPHABET.chars().position(|other| other == letter);
        // Before the escape (0x1B) a place is the code; behind it, one less.
        for (letter, code) in [('@', 0x00), ('\n', 0x0A), ('\r', 0x0D), ('Δ', 0x10), ('_', 0x11), ('Ξ', 0x1A)] {
            assert_eq!(place(letter), Some(code), "{letter:?}");
        }
        for (letter, code) in [
            ('Æ', 0x1C),
            (' ', 0x20),
            ('¤', 0x24),
            ('0', 0x30),
            ('¡', 0x40),
            ('A', 0x41),
            ('§', 0x5F),
            ('¿', 0x60),
            ('a', 0x61),
            ('à', 0x7F),
        ] {
            assert_eq!(place(letter), Some(code - 1), "{letter:?}");
        }
    }

    /// The documented limits: 160, then 153 each; 70, then 67 each.
    #[test]
    fn segments_are_filled_to_the_documented_lengths() {
        for (length, segments) in
            [(1, 1), (160, 1), (161, 2), (306, 2), (307, 3), (459, 3), (460, 4), (612, 4), (613, 5), (1530, 10), (1531, 11), (1600, 11)]
        {
            assert_eq!(counted(&"a".repeat(length)), (Encoding::Gsm7, segments), "{length}");
        }
        for (length, segments) in [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4), (1600, 24)] {
            assert_eq!(counted(&"я".repeat(length)), (Encoding::Ucs2, segments), "{length}");
        }
    }

    /// The cases of Twilio's message-segment-calculator (tests/index.test.js and segments.test.js).
    #[test]
    fn published_examples_are_counted_alike() {
        let digits = |many: usize| "1234567890".chars().cycle().skip(1).take(many).collect::<String>();
        for (text, expected) in [
            (format!("{{{}", digits(158)), (Encoding::Gsm7, 1)),
            (format!("{{{}", digits(159)), (Encoding::Gsm7, 2)),
            (format!("😜{}", digits(68)), (Encoding::Ucs2, 1)),
            (format!("😜{}", digits(69)), (Encoding::Ucs2, 2)),
            (digits(307), (Encoding::Gsm7, 3)),
            (format!("😜{}", digits(133)), (Encoding::Ucs2, 3)),
        ] {
            assert_eq!(counted(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_character_goes_whole_into_one_segment() {
        // 152 letters leave one septet in the first segment, which no escape pair fits into.
        assert_eq!(counted(&format!("{}€{}", "a".repeat(152), "b".repeat(151))), (Encoding::Gsm7, 2));
        assert_eq!(counted(&format!("{}€{}", "a".repeat(152), "b".repeat(152))), (Encoding::Gsm7, 3));
        assert_eq!(counted(&"€".repeat(80)), (Encoding::Gsm7, 1));
        // 76 a segment, not 76.5: 306 septets take three segments.
        assert_eq!((counted(&"€".repeat(152)), counted(&"€".repeat(153))), ((Encoding::Gsm7, 2), (Encoding::Gsm7, 3)));
        // 33 a segment, not 33.5.
        assert_eq!((counted(&"😜".repeat(35)), counted(&"😜".repeat(36))), ((Encoding::Ucs2, 1), (Encoding::Ucs2, 2)));
        assert_eq!((counted(&"😜".repeat(66)), counted(&"😜".repeat(67))), ((Encoding::Ucs2, 2), (Encoding::Ucs2, 3)));
    }

    #[test]
    fn one_character_decides_the_encoding() {
        for gsm in ["Hello\r\n", "[a] {b} ~c^ d|e \\f €5", "ÄÖÑÜ§äöñüà ¿¡ ΔΦΓΛΩΠΨΣΘΞ", "¤£¥ ÅåÆæØøßÉéèùìòÇ"]
        {
            assert_eq!(counted(gsm), (Encoding::Gsm7, 1), "{gsm}");
        }
        // What people take for plain: a tab, a grave accent, typographic quotes and dashes, letters with other marks.
        for ucs in ["a\tb", "`", "“a”", "it’s", "–", "…", "ç", "ê", "á", "α", "e\u{301}", "\u{a0}", "я", "日", "😜"] {
            assert_eq!(counted(ucs), (Encoding::Ucs2, 1), "{ucs}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_count_lies_between_what_must_and_what_may_be(text in "[a€я😜]{1,400}") {
            let Sms { encoding, segments } = Sms::of(&text);
            let (size, one): (usize, usize) = match encoding {
                Encoding::Gsm7 => (text.chars().filter_map(septets).sum(), 153),
                Encoding::Ucs2 => (text.encode_utf16().count(), 67),
            };
            let (least, most) = (size.div_ceil(one) as u64, size.div_ceil(one - 1) as u64);
            proptest::prop_assert!(segments == 1 || (least..=most).contains(&segments), "{} {} {}", size, segments, one);
        }
    }
}
