//! Phone numbers as they are dialled from abroad (E.164). A number is taken as it is written or not at all: nothing guesses a country.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids::{PathId, Segment};

/// `+` and 8 to 15 digits, the first not 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct PhoneNumber(String);

/// The digits of a number, or those that it begins with: how numbers stand in keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digits(String);

impl PhoneNumber {
    pub const PATTERN: &'static str = "^\\+[1-9][0-9]{7,14}$";
    const MOST: usize = 15;

    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+').and_then(Digits::parse)?;
        let fits = (8..=PhoneNumber::MOST).contains(&digits.0.len()) && !digits.0.starts_with('0');
        fits.then(|| PhoneNumber(text.to_owned()))
    }

    pub fn digits(&self) -> Digits {
        Digits(self.0.trim_start_matches('+').to_owned())
    }

    /// The three digits after +1 that say where a number of the North American Numbering Plan is. `None`: it is of another plan, or has not the ten digits
    /// of that one.
    pub fn area_code(&self) -> Option<u16> {
        let national = self.0.strip_prefix("+1").filter(|digits| digits.len() == 10)?;
        national.get(..3)?.parse().ok()
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PhoneNumber {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        PhoneNumber::parse(&text).ok_or("not a phone number")
    }
}

impl From<PhoneNumber> for String {
    fn from(number: PhoneNumber) -> String {
        number.0
    }
}

/// In a path the plus may be written as it is, or as `%2B`.
impl PathId for PhoneNumber {
    fn from_path(text: &str) -> Option<Self> {
        PhoneNumber::parse(text)
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": PhoneNumber::PATTERN, "example": "+41791234567"})
    }
}

impl Digits {
    /// What somebody looks for: 1 to 15 digits, with or without the plus. `None`: it is no part of a number.
    pub fn asked(text: &str) -> Option<Self> {
        Digits::parse(text.strip_prefix('+').unwrap_or(text))
    }

    fn parse(digits: &str) -> Option<Self> {
        let fits = (1..=PhoneNumber::MOST).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Digits(digits.to_owned()))
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Segment for Digits {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_as_it_is_or_not_at_all() {
        for right in ["+41791234567", "+15551234567", "+12345678", "+123456789012345"] {
            let number = PhoneNumber::parse(right).unwrap();
            assert_eq!((number.to_string().as_str(), number.digits().to_string().as_str()), (right, &right[1..]));
        }
        for wrong in [
            "",
            "+",
            "41791234567",
            "0791234567",
            "+0791234567",
            "+1234567",
            "+1234567890123456",
            "12345",
            "+41 79 123 45 67",
            " +41791234567",
            "+41791234567\n",
            "+41-791234567",
            "++4179123456",
            "+４１７９１２３４５６７",
            "＋41791234567",
            "+٤١٧٩١٢٣٤٥٦٧",
            "0041791234567",
            "tel:+41791234567",
            "+4179123456a",
            "+4179123456#",
        ] {
            assert_eq!(PhoneNumber::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_ten_digits_after_one_begin_with_an_area_code() {
        let code = |text: &str| PhoneNumber::parse(text).unwrap().area_code();
        assert_eq!((code("+12125551234"), code("+18005551234")), (Some(212), Some(800)));
        for none in ["+41791234567", "+1212555123", "+121255512345", "+2125551234", "+11234567"] {
            assert_eq!(code(none), None, "{none}");
        }
    }

    #[test]
    fn a_part_of_a_number_is_looked_for_with_or_without_its_plus() {
        for (text, digits) in [("+4179", "4179"), ("4179", "4179"), ("7", "7"), ("007", "007")] {
            assert_eq!(Digits::asked(text).unwrap().to_string(), digits);
        }
        for name in ["", "+", "41 79", "7 Eleven", "+1 Club", "1234567890123456", "４１"] {
            assert_eq!(Digits::asked(name), None, "{name}");
        }
    }
}
