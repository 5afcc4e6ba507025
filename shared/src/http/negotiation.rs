//! The form of answers that the caller accepts: `Accept` as in RFC 9110. An error is normally JSON in our envelope.

const JSON: (&str, &str) = ("application", "json");
const PROBLEM: (&str, &str) = ("application", "problem+json");

/// An accepted form and its preference.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
}

/// Whether errors should be problem details (RFC 9457): if they are preferred to our envelope, or equally preferred and named.
pub(crate) fn wants_problem<'a>(accept: impl Iterator<Item = &'a str>) -> bool {
    let ranges: Vec<Range<'_>> = accept.flat_map(|field| parts(field, ',')).filter_map(range).collect();
    let named = ranges.iter().any(|range| is(range, PROBLEM));
    let (problem, json) = (quality(&ranges, PROBLEM), quality(&ranges, JSON));
    problem > 0.0 && (problem > json || (problem == json && named))
}

/// The preference of the closest range that includes the form. 0 if there is none.
fn quality(ranges: &[Range<'_>], form: (&str, &str)) -> f32 {
    let of = |fits: &dyn Fn(&Range<'_>) -> bool| ranges.iter().filter(|range| fits(range)).map(|range| range.quality).reduce(f32::max);
    of(&|range| is(range, form))
        .or_else(|| of(&|range| range.kind.eq_ignore_ascii_case(form.0) && range.subtype == "*"))
        .or_else(|| of(&|range| range.kind == "*" && range.subtype == "*"))
        .unwrap_or(0.0)
}

fn is(range: &Range<'_>, (kind, subtype): (&str, &str)) -> bool {
    range.kind.eq_ignore_ascii_case(kind) && range.subtype.eq_ignore_ascii_case(subtype)
}

/// `type/subtype;q=0.5`. Parameters other than `q` are ignored. `None` if it is not a range.
fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = parts(text, ';').into_iter();
    let (kind, subtype) = parts.next()?.trim().split_once('/')?;
    let mut quality = 1.0;
    for parameter in parts {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("q")
        {
            quality = value.trim().parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
        }
    }
    Some(Range { kind: kind.trim(), subtype: subtype.trim(), quality })
}

/// Splits at the separator, except inside quotes.
fn parts(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (vec![], 0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if letter == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_details_are_for_who_likes_them() {
        for (accept, wanted) in [
            ("application/problem+json", true),
            ("Application/Problem+JSON", true),
            ("application/problem+json; charset=utf-8", true),
            ("application/json, application/problem+json", true),
            ("application/problem+json;q=0.5", true),
            ("application/problem+json;q=0.5, */*;q=0.1", true),
            ("application/problem+json, */*", true),
            ("text/html, application/problem+json ; Q=0.9", true),
            ("*/*, application/json;q=0", true),
            ("application/*, application/json;q=0.2", true),
            ("", false),
            ("*/*", false),
            ("application/*", false),
            ("application/json", false),
            ("application/problem+json;q=0", false),
            ("application/problem+json;q=0.000, */*", false),
            ("application/problem+json;q=0.5, application/json", false),
            ("application/problem+json;q=0.5, */*;q=0.8", false),
            ("application/problem+json;q=2", false),
            ("application/problem+json;q=x", false),
            ("application/problem+jsonp", false),
            ("text/x;a=\"application/problem+json\"", false),
            ("text/x;a=\",application/problem+json\"", false),
            ("/, ;, ,=;q=", false),
        ] {
            assert_eq!(wants_problem([accept].into_iter()), wanted, "{accept}");
        }
        assert!(wants_problem(["text/html", "application/problem+json"].into_iter()));
    }
}
