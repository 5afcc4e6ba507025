//! What a number asks the phones to do. The numbers end as those that North America keeps for fiction (555-0100 to 555-0199), so nobody has one.

use jiff::SignedDuration;

use super::phone::{Channel, Status};

/// What is wrong with a message that was taken and did not arrive.
const FAILED: &str = "carrier_error";

/// How a phone behaves, whatever its switches say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Tells that a message was delivered, half a second after it came.
    Usual,
    /// Takes a message and never tells anything of it.
    Silent,
    /// Tells that a message was delivered 10 seconds after it came.
    Late,
    /// Has no time for the first two posts of a message.
    Busy,
    /// Never has time.
    Closed,
    /// Takes a message, and the answer to the post gets lost.
    Lost,
    /// Tells everything twice and in the wrong order, without anybody who reads.
    Repeating,
    /// Takes a message and fails to deliver it.
    Failing,
    /// No such phone.
    Unreachable,
    /// Has no iMessage at first.
    NoImessage,
    /// Has neither iMessage nor RCS at first.
    SmsOnly,
    /// Is switched off at first.
    Off,
}

/// How numbers end that do something else, and what they do.
pub const ENDINGS: [(&str, Script, &str); 11] = [
    ("5550189", Script::Closed, "answers 429 to every post"),
    ("5550190", Script::Silent, "takes a message and never sends a receipt"),
    ("5550191", Script::Late, "sends its receipts after 10 seconds"),
    ("5550192", Script::Busy, "answers 503 to the first two posts of a message, then takes it"),
    ("5550193", Script::Lost, "takes a message, and the answer gets lost (500); the receipts come a little later"),
    ("5550194", Script::Repeating, "sends every receipt twice, read before delivered"),
    ("5550195", Script::Failing, "takes a message, and the receipt says that it failed"),
    ("5550196", Script::NoImessage, "has no iMessage"),
    ("5550197", Script::SmsOnly, "has neither iMessage nor RCS"),
    ("5550198", Script::Unreachable, "is no phone: 422 unreachable_number"),
    ("5550199", Script::Off, "is switched off"),
];

/// A receipt that a script plans: how long after the message came, what it says, and why.
pub type Planned = (SignedDuration, Status, Option<&'static str>);

impl Script {
    pub fn of(number: &str) -> Script {
        ENDINGS.iter().find(|(ending, ..)| number.ends_with(ending)).map_or(Script::Usual, |(_, script, _)| *script)
    }

    /// What it does, as the second half of a sentence that begins with the number. Nothing if it does what phones do.
    pub fn says(self) -> Option<&'static str> {
        ENDINGS.iter().find(|(_, script, _)| *script == self).map(|(.., says)| *says)
    }

    /// The receipts of a message on a channel, in the order in which they are sent.
    pub fn receipts(self, channel: Channel) -> Vec<Planned> {
        let planned: &[(i64, Status, Option<&'static str>)] = match self {
            Script::Silent => &[],
            Script::Late => &[(10_000, Status::Delivered, None)],
            // After whoever sent it has decided what a lost answer means.
            Script::Lost => &[(5_500, Status::Delivered, None)],
            Script::Repeating => {
                &[(500, Status::Read, None), (600, Status::Delivered, None), (700, Status::Read, None), (800, Status::Delivered, None)]
            }
            Script::Failing => &[(500, Status::Failed, Some(FAILED))],
            _ => &[(500, Status::Delivered, None)],
        };
        let told = planned.iter().filter(|(_, status, _)| *status != Status::Read || channel.tells_reading());
        told.map(|(after, status, reason)| (SignedDuration::from_millis(*after), *status, *reason)).collect()
    }

    /// How many posts of a message it has no time for, and with which status and `Retry-After` (seconds) it says so.
    pub fn refusals(self) -> Option<(usize, u16, u64)> {
        match self {
            Script::Busy => Some((2, 503, 1)),
            Script::Closed => Some((usize::MAX, 429, 30)),
            _ => None,
        }
    }

    /// Whether somebody may read a message, which is told where the channel can.
    pub fn is_read(self) -> bool {
        !matches!(self, Script::Silent | Script::Failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_by_its_end_what_it_does() {
        for (number, script) in [
            ("+12025550100", Script::Usual),
            ("+12025550190", Script::Silent),
            ("+442025550194", Script::Repeating),
            ("+15550198", Script::Unreachable),
            ("+12025550190000", Script::Usual),
        ] {
            assert_eq!(Script::of(number), script, "{number}");
        }
        for (ending, script, says) in ENDINGS {
            assert_eq!((Script::of(&format!("+1202{ending}")), script.says()), (script, Some(says)));
        }
        assert_eq!(Script::Usual.says(), None);
    }

    #[test]
    fn the_documents_know_every_number() {
        let document = include_str!("../../../../docs/troubleshooting.md");
        for (ending, ..) in ENDINGS {
            assert!(document.contains(&format!("`…{ending}`")), "docs/troubleshooting.md does not say what …{ending} does");
        }
    }

    #[test]
    fn receipts_are_planned_as_the_channel_can_tell_them() {
        use Status::{Delivered, Failed, Read};
        let told = |script: Script, channel| script.receipts(channel).into_iter().map(|(_, status, _)| status).collect::<Vec<_>>();
        for (script, by_imessage, by_sms) in [
            (Script::Usual, &[Delivered][..], &[Delivered][..]),
            (Script::Silent, &[], &[]),
            (Script::Repeating, &[Read, Delivered, Read, Delivered], &[Delivered, Delivered]),
            (Script::Failing, &[Failed], &[Failed]),
            (Script::Busy, &[Delivered], &[Delivered]),
        ] {
            assert_eq!(told(script, Channel::Imessage), by_imessage, "{script:?}");
            assert_eq!(told(script, Channel::Sms), by_sms, "{script:?}");
        }
        assert!(Script::Late.receipts(Channel::Sms)[0].0 > Script::Usual.receipts(Channel::Sms)[0].0);
    }
}
