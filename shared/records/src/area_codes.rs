//! Where the numbers of the North American Numbering Plan are, by their area codes. It knows of clocks and of regions, and of nothing that follows from
//! them.
//!
//! As of November 2026. Codes and what they serve: the North American Numbering Plan Administrator (nanpa.com) and the Canadian Numbering Administrator
//! (cnac.ca); zones: the IANA time zone database 2026f, compared with the prefixes of libphonenumber 9.0.43 (2026-11-06). Codes that are assigned and may not be
//! in service yet are there too (357, 457, 465, 471, 483, 565): they harm nobody.

use shared::model::phone_number::PhoneNumber;

/// A region, or the part of one that has the same clocks.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// As ISO 3166 spells it: `US-TX`, `CA-ON`, `JM`.
    pub region: &'static str,
    /// IANA zones: one, or the two between whose clocks all others there lie. Where an edge of a region has clocks of its own, its whole area code has two.
    pub zones: &'static [&'static str],
    codes: &'static [u16],
}

/// Where a number was given out; whoever has it may have moved. `None`: it is not of this plan, its code is not known, or it is that of no place (toll-free,
/// personal, premium, of a network).
pub fn place(number: &PhoneNumber) -> Option<&'static Place> {
    let number = BY_CODE.get(usize::from(number.area_code()?.checked_sub(FIRST)?))?;
    PLACES.get(usize::from(number.checked_sub(1)?))
}

/// All of them, with their codes.
pub fn all() -> impl Iterator<Item = (u16, &'static Place)> {
    PLACES.iter().flat_map(|place| place.codes.iter().map(move |code| (*code, place)))
}

const FIRST: u16 = 200;

/// For each code from 200 on: which of the places, counted from 1, or 0.
static BY_CODE: [u8; 800] = by_code();

const fn by_code() -> [u8; 800] {
    assert!(PLACES.len() < 256, "a place no longer fits into a byte");
    let (mut index, mut at) = ([0_u8; 800], 0);
    while at < PLACES.len() {
        let (codes, mut code) = (PLACES[at].codes, 0);
        while code < codes.len() {
            let slot = &mut index[(codes[code] - FIRST) as usize];
            assert!(*slot == 0, "an area code is in two places");
            *slot = at as u8 + 1;
            code += 1;
        }
        at += 1;
    }
    index
}

const fn at(region: &'static str, zones: &'static [&'static str], codes: &'static [u16]) -> Place {
    Place { region, zones, codes }
}

const EASTERN: &[&str] = &["America/New_York"];
const CENTRAL: &[&str] = &["America/Chicago"];
const MOUNTAIN: &[&str] = &["America/Denver"];
const PACIFIC: &[&str] = &["America/Los_Angeles"];
const EASTERN_CENTRAL: &[&str] = &["America/New_York", "America/Chicago"];
const CENTRAL_MOUNTAIN: &[&str] = &["America/Chicago", "America/Denver"];
const MOUNTAIN_PACIFIC: &[&str] = &["America/Boise", "America/Los_Angeles"];
const TORONTO: &[&str] = &["America/Toronto"];

const PLACES: &[Place] = &[
    // The United States.
    at("US-AL", CENTRAL, &[205, 251, 256, 334, 483, 659, 938]),
    at("US-AK", &["America/Anchorage", "America/Adak"], &[907]),
    at("US-AR", CENTRAL, &[327, 479, 501, 870]),
    at("US-AZ", &["America/Phoenix"], &[480, 520, 602, 623]),
    // The Navajo Nation moves its clocks.
    at("US-AZ", &["America/Phoenix", "America/Denver"], &[928]),
    at(
        "US-CA",
        PACIFIC,
        &[
            209, 213, 279, 310, 323, 341, 350, 357, 369, 408, 415, 424, 442, 510, 530, 559, 562, 619, 626, 628, 650, 657, 661, 669, 707,
            714, 738, 747, 760, 805, 818, 820, 831, 837, 840, 858, 909, 916, 925, 949, 951,
        ],
    ),
    at("US-CO", MOUNTAIN, &[303, 719, 720, 748, 970, 983]),
    at("US-CT", EASTERN, &[203, 475, 860, 959]),
    at("US-DC", EASTERN, &[202, 771]),
    at("US-DE", EASTERN, &[302]),
    at("US-FL", EASTERN, &[239, 305, 321, 324, 352, 386, 407, 561, 645, 656, 689, 727, 728, 754, 772, 786, 813, 863, 904, 941, 954]),
    // The panhandle west of the Apalachicola.
    at("US-FL", EASTERN_CENTRAL, &[448, 850]),
    at("US-GA", EASTERN, &[229, 404, 470, 478, 565, 678, 706, 762, 770, 912, 943]),
    at("US-HI", &["Pacific/Honolulu"], &[808]),
    at("US-IA", CENTRAL, &[319, 515, 563, 641, 712]),
    at("US-ID", MOUNTAIN_PACIFIC, &[208, 986]),
    at("US-IL", CENTRAL, &[217, 224, 309, 312, 331, 447, 464, 618, 630, 708, 730, 773, 779, 815, 847, 861, 872]),
    at("US-IN", EASTERN, &[260, 317, 463, 765]),
    // Around Gary and around Evansville.
    at("US-IN", EASTERN_CENTRAL, &[219, 574, 812, 930]),
    at("US-KS", CENTRAL, &[316, 913]),
    // Four counties at the border of Colorado.
    at("US-KS", CENTRAL_MOUNTAIN, &[620, 785]),
    at("US-KY", EASTERN, &[502, 859]),
    at("US-KY", EASTERN_CENTRAL, &[270, 364, 606]),
    at("US-LA", CENTRAL, &[225, 318, 337, 457, 504, 985]),
    at("US-MA", EASTERN, &[339, 351, 413, 508, 617, 774, 781, 857, 978]),
    at("US-MD", EASTERN, &[227, 240, 301, 410, 443, 667]),
    at("US-ME", EASTERN, &[207]),
    at("US-MI", EASTERN, &[231, 248, 269, 313, 517, 586, 616, 679, 734, 810, 947, 989]),
    // Four counties at the border of Wisconsin.
    at("US-MI", EASTERN_CENTRAL, &[906]),
    at("US-MN", CENTRAL, &[218, 320, 507, 612, 651, 763, 924, 952]),
    at("US-MO", CENTRAL, &[235, 314, 417, 557, 573, 636, 660, 816, 975]),
    at("US-MS", CENTRAL, &[228, 471, 601, 662, 769]),
    at("US-MT", MOUNTAIN, &[406]),
    at("US-NC", EASTERN, &[252, 336, 472, 704, 743, 828, 910, 919, 980, 984]),
    at("US-ND", CENTRAL_MOUNTAIN, &[701]),
    at("US-NE", CENTRAL, &[402, 531]),
    at("US-NE", CENTRAL_MOUNTAIN, &[308]),
    at("US-NH", EASTERN, &[603]),
    at("US-NJ", EASTERN, &[201, 551, 609, 640, 732, 848, 856, 862, 908, 973]),
    at("US-NM", MOUNTAIN, &[505, 575]),
    at("US-NV", PACIFIC, &[702, 725]),
    // West Wendover.
    at("US-NV", MOUNTAIN_PACIFIC, &[775]),
    at(
        "US-NY",
        EASTERN,
        &[212, 315, 329, 332, 347, 363, 465, 516, 518, 585, 607, 624, 631, 646, 680, 716, 718, 838, 845, 914, 917, 929, 934],
    ),
    at("US-OH", EASTERN, &[216, 220, 234, 283, 326, 330, 380, 419, 436, 440, 513, 567, 614, 740, 937]),
    at("US-OK", CENTRAL, &[405, 539, 572, 580, 918]),
    at("US-OR", PACIFIC, &[503, 971]),
    // Malheur County.
    at("US-OR", MOUNTAIN_PACIFIC, &[458, 541]),
    at("US-PA", EASTERN, &[215, 223, 267, 272, 412, 445, 484, 570, 582, 610, 717, 724, 814, 835, 878]),
    at("US-RI", EASTERN, &[401]),
    at("US-SC", EASTERN, &[803, 821, 839, 843, 854, 864]),
    at("US-SD", CENTRAL_MOUNTAIN, &[605]),
    at("US-TN", EASTERN, &[865]),
    at("US-TN", CENTRAL, &[615, 629, 731, 901, 931]),
    // Counties west of Chattanooga.
    at("US-TN", EASTERN_CENTRAL, &[423, 729]),
    at(
        "US-TX",
        CENTRAL,
        &[
            210, 214, 254, 281, 325, 346, 361, 409, 430, 432, 469, 512, 621, 682, 713, 726, 737, 806, 817, 830, 832, 903, 936, 940, 945,
            956, 972, 979,
        ],
    ),
    // El Paso and Hudspeth County.
    at("US-TX", MOUNTAIN, &[915]),
    at("US-UT", MOUNTAIN, &[385, 435, 801]),
    at("US-VA", EASTERN, &[276, 434, 540, 571, 686, 703, 757, 804, 826, 948]),
    at("US-VT", EASTERN, &[802]),
    at("US-WA", PACIFIC, &[206, 253, 360, 425, 509, 564]),
    at("US-WI", CENTRAL, &[262, 274, 353, 414, 534, 608, 715, 920]),
    at("US-WV", EASTERN, &[304, 681]),
    at("US-WY", MOUNTAIN, &[307]),
    // Their territories.
    at("US-AS", &["Pacific/Pago_Pago"], &[684]),
    at("US-GU", &["Pacific/Guam"], &[671]),
    at("US-MP", &["Pacific/Saipan"], &[670]),
    at("US-PR", &["America/Puerto_Rico"], &[787, 939]),
    at("US-VI", &["America/St_Thomas"], &[340]),
    // Canada.
    at("CA-AB", &["America/Edmonton"], &[368, 403, 587, 780, 825]),
    at("CA-BC", &["America/Vancouver"], &[604]),
    // The Kootenays and the Peace River.
    at("CA-BC", &["America/Edmonton", "America/Vancouver"], &[236, 250, 257, 672, 778]),
    at("CA-MB", &["America/Winnipeg"], &[204, 431, 584]),
    at("CA-NB", &["America/Moncton"], &[428, 506]),
    // Labrador.
    at("CA-NL", &["America/St_Johns", "America/Goose_Bay"], &[709, 879]),
    at("CA-NS", &["America/Halifax"], &[782, 902]),
    // Yukon, the Northwest Territories and Nunavut.
    at("CA-NT", &["America/Iqaluit", "America/Whitehorse"], &[867]),
    at("CA-ON", TORONTO, &[226, 249, 289, 343, 365, 382, 416, 437, 519, 548, 613, 647, 683, 705, 742, 753, 905, 942]),
    // West of Thunder Bay.
    at("CA-ON", &["America/Toronto", "America/Winnipeg"], &[807]),
    at("CA-QC", TORONTO, &[263, 354, 438, 450, 468, 514, 579, 819, 873]),
    // The Magdalen Islands.
    at("CA-QC", &["America/Toronto", "America/Halifax"], &[273, 367, 418, 581]),
    at("CA-SK", &["America/Regina"], &[306, 474, 639]),
    // The Caribbean, and Bermuda.
    at("AG", &["America/Antigua"], &[268]),
    at("AI", &["America/Anguilla"], &[264]),
    at("BB", &["America/Barbados"], &[246]),
    at("BM", &["Atlantic/Bermuda"], &[441]),
    at("BS", &["America/Nassau"], &[242]),
    at("DM", &["America/Dominica"], &[767]),
    at("DO", &["America/Santo_Domingo"], &[809, 829, 849]),
    at("GD", &["America/Grenada"], &[473]),
    at("JM", &["America/Jamaica"], &[658, 876]),
    at("KN", &["America/St_Kitts"], &[869]),
    at("KY", &["America/Cayman"], &[345]),
    at("LC", &["America/St_Lucia"], &[758]),
    at("MS", &["America/Montserrat"], &[664]),
    at("SX", &["America/Lower_Princes"], &[721]),
    at("TC", &["America/Grand_Turk"], &[649]),
    at("TT", &["America/Port_of_Spain"], &[868]),
    at("VC", &["America/St_Vincent"], &[784]),
    at("VG", &["America/Tortola"], &[284]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::tz::TimeZone;

    use super::*;

    fn of(area: u16) -> Option<&'static Place> {
        place(&PhoneNumber::parse(&format!("+1{area}5550100")).unwrap())
    }

    #[test]
    fn every_code_finds_its_place_and_every_place_its_zones() {
        let codes: Vec<(u16, &Place)> = all().collect();
        assert_eq!(codes.len(), 456);
        for (code, place) in &codes {
            assert_eq!(of(*code), Some(*place), "{code}");
            assert!((1..=2).contains(&place.zones.len()), "{code}");
            for zone in place.zones {
                let found = TimeZone::get(zone).unwrap();
                assert_eq!(found.iana_name(), Some(*zone));
            }
        }
        let known: BTreeSet<u16> = codes.iter().map(|(code, _)| *code).collect();
        assert!((200..1000).filter(|code| !known.contains(code)).all(|code| of(code).is_none()));
    }

    #[test]
    fn overlays_are_where_the_codes_below_them_are() {
        for (place, codes) in [
            ("US-NY", &[212, 332, 646, 917, 465][..]),
            ("US-TX", &[713, 281, 832, 346, 621]),
            ("US-FL", &[850, 448]),
            ("US-ID", &[208, 986]),
            ("US-OH", &[440, 436]),
            ("CA-SK", &[306, 639, 474]),
            ("DO", &[809, 829, 849]),
            ("JM", &[876, 658]),
        ] {
            let places: Vec<_> = codes.iter().map(|code| of(*code).unwrap()).collect();
            assert!(places.iter().all(|found| found.region == place && *found == places[0]), "{place}");
        }
        assert_eq!(of(689).unwrap().zones, EASTERN);
        assert_eq!(of(915).unwrap().zones, MOUNTAIN);
        assert_eq!(of(907).unwrap().zones, ["America/Anchorage", "America/Adak"]);
    }

    #[test]
    fn codes_of_no_place_have_none() {
        for code in [800, 833, 844, 855, 866, 877, 888, 822, 500, 521, 533, 588, 600, 622, 633, 700, 710, 900, 211, 911, 555, 999] {
            assert_eq!(of(code), None, "{code}");
        }
        for other in ["+41791234567", "+1212555010", "+121255501000", "+442125550100", "+10125550100", "+11995550100"] {
            assert_eq!(place(&PhoneNumber::parse(other).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn two_zones_of_a_place_differ_and_leave_common_hours() {
        for (code, place) in all().filter(|(_, place)| place.zones.len() == 2) {
            let apart = |moment: &str| {
                let offset = |zone: &str| TimeZone::get(zone).unwrap().to_offset(moment.parse().unwrap()).seconds();
                offset(place.zones[0]).abs_diff(offset(place.zones[1])) / 60
            };
            let most = apart("2027-01-15T12:00:00Z").max(apart("2027-07-15T12:00:00Z"));
            assert!((30..=180).contains(&most), "{code}: {most} minutes");
        }
    }
}
