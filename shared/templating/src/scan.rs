//! The scanner: finds the tags in what a person wrote, reads them by a small grammar, and writes them anew for the engine. Only what the grammar
//! knows gets through, so nothing that the engine could do beyond it is in reach. Positions are those of the person's source.

use std::fmt::Write;

use crate::{BODY, Fault, Field, STANDARD, SUBJECT, TEXT};

/// Blocks within blocks, each `elif` counted, and brackets within brackets.
pub const NESTING: usize = 20;

/// One part of a template, read.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// What the engine renders. Only complete if there are no faults.
    pub engine: String,
    /// Canonical names and where they stand, in the order of the source.
    pub variables: Vec<(String, usize)>,
    /// Words that became fallback texts, but are filters elsewhere.
    pub suspects: Vec<(String, usize)>,
    pub faults: Vec<Fault>,
}

pub(crate) fn scan(field: Field, source: &str) -> Scanned {
    let mut scanner = Scanner { source, done: Scanned::default(), blocks: Vec::new(), locals: Vec::new(), elifs: 0, pieces: 0 };
    let mut faults: Vec<(usize, String)> = Vec::new();
    let (length, limit, unit) = match field {
        Field::Subject => (source.chars().count(), SUBJECT, "characters"),
        Field::Html => (source.len(), BODY, "bytes"),
        Field::Text => (source.len(), TEXT, "bytes"),
    };
    if length > limit {
        faults.push((0, format!("This is longer than {limit} {unit}.")));
    } else {
        scanner.scan(&mut faults);
    }
    let fault = |(at, message)| {
        let (line, column) = place(source, at);
        Fault { field, message, line, column }
    };
    Scanned { faults: faults.into_iter().map(fault).collect(), ..scanner.done }
}

/// Line and column of a byte, counted from 1; columns are characters.
pub(crate) fn place(source: &str, at: usize) -> (u32, u32) {
    let before = &source[..at];
    let line = before.matches('\n').count() + 1;
    let column = before[before.rfind('\n').map_or(0, |newline| newline + 1)..].chars().count() + 1;
    (line as u32, column as u32)
}

/// The standard name for its snake_case and camelCase spelling.
pub(crate) fn standard(name: &str) -> Option<&'static str> {
    let camel = |snake: &str| {
        let mut words = snake.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |camel, word| camel + &word[..1].to_uppercase() + &word[1..])
    };
    STANDARD.into_iter().find(|snake| name == *snake || name == camel(snake))
}

// A tag is short, so that an unclosed one is found at once. Operands in a tag become nested calls of the engine's compiler. Pieces bound its memory.
const TAG: usize = 2_048;
const OPERANDS: usize = 50;
const PIECES: usize = 5_000;
const FAULTS: usize = 20;
const NAME: usize = 100;
const FILTERS: [&str; 8] = ["upper", "lower", "title", "trim", "truncate", "date", "urlencode", "default"];
const FILTERS_IN_A_ROW: usize = 8;
const RESERVED: &str = "and or not in is if else elif for true false none null endif";
/// Filters of Liquid and Jinja that a person may expect here.
const ELSEWHERE: &str = "capitalize downcase e escape first int join last length replace round safe size strip upcase url_encode";

/// Where, and what is wrong there.
type Read<T> = Result<T, (usize, String)>;

struct Scanner<'a> {
    source: &'a str,
    done: Scanned,
    blocks: Vec<Block>,
    /// Names of the loops around, with the canonical name of their list. The engine knows them as `v0`, `v1`, ….
    locals: Vec<(String, String)>,
    elifs: usize,
    pieces: usize,
}

struct Block {
    word: &'static str,
    at: usize,
    elifs: usize,
    has_else: bool,
}

impl Scanner<'_> {
    fn scan(&mut self, faults: &mut Vec<(usize, String)>) {
        let source = self.source;
        let mut at = 0;
        while faults.len() < FAULTS {
            let Some(open) = next_tag(source, at) else {
                self.done.engine.push_str(&source[at..]);
                break;
            };
            self.done.engine.push_str(&source[at..open]);
            let read = match source.as_bytes()[open + 1] {
                b'#' => self.comment(open),
                _ => self.tag(open, faults),
            };
            at = read.unwrap_or_else(|fault| {
                faults.push(fault);
                open + 2
            });
            if self.pieces > PIECES {
                faults.push((open, format!("There are more than {PIECES} names, values and filters.")));
                break;
            }
        }
        if faults.is_empty()
            && let Some(block) = self.blocks.last()
        {
            faults.push((block.at, format!("{{% {0} %}} has no {{% end{0} %}}.", block.word)));
        }
    }

    /// `{# … #}` is left out. Style sheets contain `{#id{…}`, which is text.
    fn comment(&mut self, open: usize) -> Read<usize> {
        let inner = &self.source[open + 2..];
        let text_until = inner.find(['{', '}']).unwrap_or(inner.len());
        if inner.starts_with(char::is_whitespace) {
            let end = inner.find("#}").ok_or_else(|| (open, "This comment has no end: #}.".to_owned()))?;
            return Ok(open + 2 + end + 2);
        }
        if inner[..text_until].ends_with('#') && inner[text_until..].starts_with('}') {
            return Ok(open + 2 + text_until + 1);
        }
        self.pieces += 1;
        self.done.engine.push_str("{{ \"{\" }}#");
        Ok(open + 2)
    }

    /// Reads the tag at `open`, and returns where the source continues. A fault within the tag does not end the scan.
    fn tag(&mut self, open: usize, faults: &mut Vec<(usize, String)>) -> Read<usize> {
        let is_output = self.source.as_bytes()[open + 1] == b'{';
        let (opener, closer) = if is_output { ("{{", "}}") } else { ("{%", "%}") };
        let inner = &self.source[open + 2..];
        let inner = &inner[..inner.floor_char_boundary(TAG)];
        let end = inner.find(closer).filter(|end| !inner[..*end].contains("{{") && !inner[..*end].contains("{%"));
        let end = end.ok_or_else(|| (open, format!("This {opener} has no {closer} within {TAG} characters and before the next tag.")))?;
        let after = open + 2 + end + 2;
        let (mut from, mut to) = (open + 2, open + 2 + end);
        let (mut left, mut right) = ("", "");
        if self.source[from..to].starts_with('-') {
            (from, left) = (from + 1, "-");
        }
        if self.source[from..to].ends_with('-') {
            (to, right) = (to - 1, "-");
        }
        let mut cursor = Cursor { source: self.source, at: from, end: to, operands: 0 };
        let read = if is_output { self.output(&mut cursor) } else { self.statement(&mut cursor, open) };
        self.pieces += 1 + cursor.operands;
        match read {
            Ok(inner) => _ = write!(self.done.engine, "{opener}{left} {inner} {right}{closer}"),
            Err(fault) => faults.push(fault),
        }
        Ok(after)
    }

    fn output(&mut self, cursor: &mut Cursor) -> Read<String> {
        cursor.operand()?;
        let (path, name) = self.path(cursor)?;
        let (filters, has_fallback) = self.filters(cursor, true)?;
        cursor.finish()?;
        // The name is noted when it has no value, unless something stands in for it.
        let noted = if has_fallback { String::new() } else { format!("|noted({})", quoted(&name)) };
        Ok(format!("{path}{noted}{filters}"))
    }

    fn statement(&mut self, cursor: &mut Cursor, open: usize) -> Read<String> {
        cursor.skip();
        let start = cursor.at;
        match cursor.word() {
            "if" => {
                self.open_block("if", open, start)?;
                self.condition(cursor).map(|condition| format!("if {condition}"))
            }
            "elif" => {
                let block = self.blocks.last_mut().filter(|block| block.word == "if" && !block.has_else);
                block.ok_or_else(|| (start, "elif belongs between if and else.".to_owned()))?.elifs += 1;
                self.elifs += 1;
                self.deep(start)?;
                self.condition(cursor).map(|condition| format!("elif {condition}"))
            }
            "else" => {
                let block = self.blocks.last_mut().filter(|block| !block.has_else);
                block.ok_or_else(|| (start, "else belongs once between if or for and its end.".to_owned()))?.has_else = true;
                cursor.finish().map(|()| "else".to_owned())
            }
            "for" => {
                self.open_block("for", open, start)?;
                // The end of the loop takes a name off, also when this line is at fault.
                let (name, list) = self.for_in(cursor).inspect_err(|_| self.locals.push(Default::default()))?;
                let local = self.locals.len();
                self.locals.push(name);
                Ok(format!("for v{local} in {list}|list"))
            }
            word @ ("endif" | "endfor") => {
                let block = self.blocks.pop_if(|block| block.word == &word[3..]);
                let block = block.ok_or_else(|| (start, format!("There is no open {} here that {word} could end.", &word[3..])))?;
                self.elifs -= block.elifs;
                if block.word == "for" {
                    self.locals.pop();
                }
                cursor.finish().map(|()| word.to_owned())
            }
            "" => Err((start, "A word such as if or for is expected here.".to_owned())),
            word => Err((start, format!("There is no {word} in a template, only if, elif, else, endif, for and endfor."))),
        }
    }

    fn open_block(&mut self, word: &'static str, open: usize, start: usize) -> Read<()> {
        self.blocks.push(Block { word, at: open, elifs: 0, has_else: false });
        self.deep(start)
    }

    fn deep(&self, at: usize) -> Read<()> {
        match self.blocks.len() + self.elifs > NESTING {
            true => Err((at, format!("Blocks are nested more than {NESTING} deep; each elif counts."))),
            false => Ok(()),
        }
    }

    /// `item in custom.items`: the new name with its list, and the list for the engine.
    fn for_in(&mut self, cursor: &mut Cursor) -> Read<((String, String), String)> {
        cursor.skip();
        let start = cursor.at;
        let local = cursor.name()?;
        if standard(local).is_some() || ["custom", "contact", "loop"].contains(&local) {
            return Err((start, format!("{local} is a name already; call the item something else.")));
        }
        cursor.skip();
        let start = cursor.at;
        if cursor.word() != "in" {
            return Err((start, "A loop is written {% for item in custom.list %}.".to_owned()));
        }
        cursor.skip();
        let start = cursor.at;
        let (path, list) = self.path(cursor)?;
        if standard(&list).is_some() || path.starts_with("loop") {
            return Err((start, format!("{list} is no list; a loop goes over a custom one.")));
        }
        cursor.finish()?;
        Ok(((local.to_owned(), list), path))
    }

    /// A name: as the engine finds it, and its canonical spelling.
    fn path(&mut self, cursor: &mut Cursor) -> Read<(String, String)> {
        let start = cursor.at;
        let first = cursor.name()?;
        let mut parts = vec![first];
        while cursor.take(".") {
            parts.push(cursor.key()?);
            if parts.len() > 6 {
                return Err((start, "A name has at most 6 parts.".to_owned()));
            }
        }
        let subscripts = |parts: &[&str]| parts.iter().map(|part| format!("[{}]", quoted(part))).collect::<String>();
        if let Some(local) = self.locals.iter().rposition(|(name, _)| name == first) {
            let list = &self.locals[local].1;
            let name = [&[list.as_str()], &parts[1..]].concat().join(".");
            return Ok((format!("v{local}{}", subscripts(&parts[1..])), name));
        }
        if first == "loop" && !self.locals.is_empty() {
            return match parts[1..] {
                [part @ ("index" | "first" | "last")] => Ok((format!("loop.{part}"), format!("loop.{part}"))),
                _ => Err((start, "Of a loop there are loop.index, loop.first and loop.last.".to_owned())),
            };
        }
        if first == "contact" {
            parts.remove(0);
        }
        let found = match parts[..] {
            [name] if let Some(standard) = standard(name) => Ok((standard.to_owned(), standard.to_owned())),
            [name, _, ..] if standard(name).is_some() => Err((start, format!("{name} has no parts."))),
            ["custom"] if cursor.rest().starts_with('[') => return cursor.finish().map(|()| Default::default()),
            [] | ["custom"] => Err((start, format!("A name is missing after {first}, such as {first}.colour."))),
            ["custom", ..] => Ok((format!("custom{}", subscripts(&parts[1..])), parts.join("."))),
            _ => Ok((format!("custom{}", subscripts(&parts)), format!("custom.{}", parts.join(".")))),
        };
        if let Ok((_, name)) = &found {
            self.done.variables.push((name.clone(), start));
        }
        found
    }

    /// All `| filter`s, for the engine, and whether one of them is a fallback. Only in an output may a fallback be a bare word.
    fn filters(&mut self, cursor: &mut Cursor, words: bool) -> Read<(String, bool)> {
        let mut filters = String::new();
        let mut has_fallback = false;
        for count in 0.. {
            cursor.skip();
            if !cursor.take("|") {
                break;
            }
            cursor.operand()?;
            let start = cursor.at;
            if count == FILTERS_IN_A_ROW {
                return Err((start, format!("There are more than {FILTERS_IN_A_ROW} filters in a row.")));
            }
            if cursor.rest().starts_with(['"', '\'']) {
                _ = write!(filters, "|default({})", quoted(cursor.string()?));
                has_fallback = true;
                continue;
            }
            let word = cursor.word();
            cursor.skip();
            if FILTERS.contains(&word) {
                let argument = cursor.argument()?;
                check_argument(word, argument.as_ref()).map_err(|message| (start, message))?;
                has_fallback |= word == "default";
                _ = write!(filters, "|{word}({})", argument.map(|value| value.engine()).unwrap_or_default());
            } else if !words || cursor.rest().starts_with(['(', ':']) {
                return Err((start, format!("There is no filter {word}. There are {}.", FILTERS.join(", "))));
            } else {
                cursor.at = start;
                let text = cursor.bare()?;
                if ELSEWHERE.split(' ').any(|word| word == text) {
                    self.done.suspects.push((text.to_owned(), start));
                }
                _ = write!(filters, "|default({})", quoted(text));
                has_fallback = true;
            }
        }
        Ok((filters, has_fallback))
    }

    fn condition(&mut self, cursor: &mut Cursor) -> Read<String> {
        let condition = self.any(cursor, 0)?;
        cursor.finish()?;
        Ok(condition)
    }

    fn any(&mut self, cursor: &mut Cursor, depth: usize) -> Read<String> {
        let mut all = self.all(cursor, depth)?;
        while cursor.keyword("or") {
            all = format!("({all} or {})", self.all(cursor, depth)?);
        }
        Ok(all)
    }

    fn all(&mut self, cursor: &mut Cursor, depth: usize) -> Read<String> {
        let mut one = self.one(cursor, depth)?;
        while cursor.keyword("and") {
            one = format!("({one} and {})", self.one(cursor, depth)?);
        }
        Ok(one)
    }

    fn one(&mut self, cursor: &mut Cursor, depth: usize) -> Read<String> {
        cursor.skip();
        if depth > NESTING {
            return Err((cursor.at, format!("A condition is nested more than {NESTING} deep.")));
        }
        if cursor.keyword("not") {
            return Ok(format!("(not {})", self.one(cursor, depth + 1)?));
        }
        if cursor.take("(") {
            let inner = self.any(cursor, depth + 1)?;
            cursor.skip();
            return match cursor.take(")") {
                true => Ok(inner),
                false => Err((cursor.at, "A ) is missing here.".to_owned())),
            };
        }
        let left = self.value(cursor)?;
        cursor.skip();
        // The longer signs first.
        for (sign, filter) in [("==", "equal"), ("!=", "unequal"), ("<=", "at_most"), (">=", "at_least"), ("<", "less"), (">", "more")] {
            if cursor.take(sign) {
                return Ok(format!("({left}|{filter}({}))", self.value(cursor)?));
            }
        }
        let negated = cursor.keyword("not");
        if cursor.keyword("in") {
            let within = format!("({left}|within({}))", self.value(cursor)?);
            return Ok(if negated { format!("(not {within})") } else { within });
        }
        match negated {
            true => Err((cursor.at, "The word in is expected here.".to_owned())),
            false => Ok(format!("({left}|given)")),
        }
    }

    /// One side of a comparison: a name with filters, a literal, or a list of literals.
    fn value(&mut self, cursor: &mut Cursor) -> Read<String> {
        cursor.operand()?;
        if let Some(literal) = cursor.literal()? {
            return Ok(literal.engine());
        }
        if !cursor.take("[") {
            let (path, _) = self.path(cursor)?;
            let (filters, _) = self.filters(cursor, false)?;
            return Ok(format!("{path}{filters}"));
        }
        let mut items = Vec::new();
        while !cursor.take("]") {
            cursor.operand()?;
            let item = cursor.literal()?.ok_or_else(|| (cursor.at, "A list is written [\"a\", \"b\"].".to_owned()))?;
            items.push(item.engine());
            cursor.skip();
            if !cursor.take(",") && !cursor.rest().starts_with(']') {
                return Err((cursor.at, "A , or ] is expected here.".to_owned()));
            }
            cursor.skip();
        }
        Ok(format!("[{}]", items.join(", ")))
    }
}

#[derive(Debug)]
enum Literal<'a> {
    Text(&'a str),
    Number(&'a str),
    Word(&'static str),
}

impl Literal<'_> {
    fn engine(&self) -> String {
        match self {
            Literal::Text(text) => quoted(text),
            Literal::Number(number) => (*number).to_owned(),
            Literal::Word(word) => (*word).to_owned(),
        }
    }
}

/// Reads one tag, from `at` to `end`.
struct Cursor<'a> {
    source: &'a str,
    at: usize,
    end: usize,
    operands: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..self.end]
    }

    fn skip(&mut self) {
        self.at = self.end - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let word = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.skip();
        let start = self.at;
        let found = self.word() == keyword;
        if !found {
            self.at = start;
        }
        found
    }

    /// To be called before each operand and filter.
    fn operand(&mut self) -> Read<()> {
        self.skip();
        self.operands += 1;
        match self.operands > OPERANDS {
            true => Err((self.at, format!("There are more than {OPERANDS} names, values and filters in one tag."))),
            false => Ok(()),
        }
    }

    fn name(&mut self) -> Read<&'a str> {
        let start = self.at;
        let name = self.key()?;
        if name.starts_with(char::is_numeric) || RESERVED.split(' ').any(|word| word == name) {
            return Err((start, "A name such as first_name is expected here.".to_owned()));
        }
        Ok(name)
    }

    /// A name after a point, which may be any word.
    fn key(&mut self) -> Read<&'a str> {
        let start = self.at;
        let name = self.word();
        if name.is_empty() {
            return Err((start, "A name such as first_name is expected here.".to_owned()));
        }
        if name.len() > NAME {
            return Err((start, format!("A name is longer than {NAME} characters.")));
        }
        Ok(name)
    }

    fn literal(&mut self) -> Read<Option<Literal<'a>>> {
        let start = self.at;
        let rest = self.rest();
        if rest.starts_with(['"', '\'']) {
            return self.string().map(|text| Some(Literal::Text(text)));
        }
        if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            let digits = |c: char| !c.is_ascii_digit() && c != '.';
            let length = rest[1..].find(digits).map_or(rest.len(), |end| end + 1);
            let number = &rest[..length];
            self.at += length;
            // Digits on both sides of a point, and few enough for the engine.
            let fits = number.len() <= 15 && number.parse::<f64>().is_ok() && !number.ends_with('.') && !number.contains("-.");
            return if fits { Ok(Some(Literal::Number(number))) } else { Err((start, "This is no number.".to_owned())) };
        }
        let word = match self.word() {
            "true" => "true",
            "false" => "false",
            "none" | "null" => "none",
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        Ok(Some(Literal::Word(word)))
    }

    /// `"…"` or `'…'`. A backslash is a character like others.
    fn string(&mut self) -> Read<&'a str> {
        let start = self.at;
        let rest = self.rest();
        let inner = &rest[1..];
        let end = inner.find(&rest[..1]).ok_or_else(|| (start, "This quotation mark has no second one in the tag.".to_owned()))?;
        self.at += end + 2;
        Ok(&inner[..end])
    }

    /// `("there")` or `: "there"` after a filter.
    fn argument(&mut self) -> Read<Option<Literal<'a>>> {
        let in_brackets = self.take("(");
        if !in_brackets && !self.take(":") {
            return Ok(None);
        }
        self.operand()?;
        if in_brackets && self.take(")") {
            return Ok(None);
        }
        let literal = self.literal()?.ok_or_else(|| (self.at, "A text in quotation marks or a number is expected here.".to_owned()))?;
        self.skip();
        if in_brackets && !self.take(")") {
            return Err((self.at, "A ) is missing here.".to_owned()));
        }
        Ok(Some(literal))
    }

    /// A fallback without quotation marks: up to the next `|` or the end of the tag.
    fn bare(&mut self) -> Read<&'a str> {
        let rest = self.rest();
        let text = rest[..rest.find('|').unwrap_or(rest.len())].trim_end();
        let fits = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.,!?'’&@+-".contains(c);
        if let Some(bad) = text.find(|c| !fits(c)) {
            return Err((self.at + bad, "Put a fallback with such characters in quotation marks.".to_owned()));
        }
        if text.is_empty() {
            return Err((self.at, "A filter or a fallback text is missing after |.".to_owned()));
        }
        self.at += text.len();
        Ok(text)
    }

    fn finish(&mut self) -> Read<()> {
        self.skip();
        match self.rest().chars().next() {
            None => Ok(()),
            Some('+' | '-' | '*' | '/' | '%' | '~') => Err((self.at, "A template does not calculate.".to_owned())),
            Some('(') => Err((self.at, "A template calls no functions.".to_owned())),
            Some('[') => Err((self.at, "Parts are written with a point, such as custom.colour.".to_owned())),
            Some(other) => Err((self.at, format!("{other} is not expected here."))),
        }
    }
}

/// The next `{{`, `{%` or `{#`.
fn next_tag(source: &str, from: usize) -> Option<usize> {
    let pairs = source.as_bytes()[from..].windows(2);
    pairs.zip(from..).find(|(pair, _)| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#')).map(|(_, at)| at)
}

/// A text as a literal of the engine, whose strings are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn check_argument(filter: &str, argument: Option<&Literal>) -> Result<(), String> {
    match (filter, argument) {
        ("default", Some(_)) => Ok(()),
        ("default", None) => Err("default needs a text: default(\"there\").".to_owned()),
        ("truncate", Some(Literal::Number(number))) if matches!(number.parse(), Ok(1..=10_000_u32)) => Ok(()),
        ("truncate", _) => Err("truncate needs a number from 1 to 10000: truncate(50).".to_owned()),
        ("date", None) => Ok(()),
        ("date", Some(Literal::Text(format))) if crate::filters::is_date_format(format) => Ok(()),
        ("date", _) => Err("date takes a format such as \"%d %B %Y\", without time zones.".to_owned()),
        (_, None) => Ok(()),
        (filter, Some(_)) => Err(format!("{filter} takes nothing.")),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Field, Source, check};

    /// The first fault of an HTML body, as `line:column message`.
    fn fault(html: &str) -> String {
        let faults = check(Source { subject: "", html, text: None }, |_| true).expect_err(html);
        format!("{}:{} {}", faults[0].line, faults[0].column, faults[0].message)
    }

    #[test]
    fn what_is_refused_is_told_with_its_place() {
        let only = "in a template, only if, elif, else, endif, for and endfor.";
        for (html, expected) in [
            ("ä\n  {% include 'x' %}", format!("2:6 There is no include {only}")),
            ("{% macro x() %}", format!("1:4 There is no macro {only}")),
            ("{% call x() %}", format!("1:4 There is no call {only}")),
            ("{% extends 'x' %}", format!("1:4 There is no extends {only}")),
            ("{%set x = 1%}", format!("1:3 There is no set {only}")),
            ("{% import 'x' as y %}", format!("1:4 There is no import {only}")),
            ("{% block x %}{% endblock %}", format!("1:4 There is no block {only}")),
            ("{%- raw %}{{x}}{% endraw %}", format!("1:5 There is no raw {only}")),
            ("{% unless x %}", format!("1:4 There is no unless {only}")),
            ("{%%}", "1:3 A word such as if or for is expected here.".to_owned()),
        ] {
            assert_eq!(fault(html), expected);
        }
        for (html, expected) in [
            ("öö {{ 1 + 1 }}", "1:7 A name such as first_name is expected here."),
            ("{{ lead_score + 1 }}", "1:15 A template does not calculate."),
            ("{{ lead_score-1 }}", "1:14 A template does not calculate."),
            ("{{ a ~ b }}", "1:6 A template does not calculate."),
            ("{{ range(9) }}", "1:9 A template calls no functions."),
            ("{{ custom.x.upper() }}", "1:18 A template calls no functions."),
            ("{{ custom['x'] }}", "1:10 Parts are written with a point, such as custom.colour."),
            ("{{ custom }}", "1:4 A name is missing after custom, such as custom.colour."),
            ("{{ contact }}", "1:4 A name is missing after contact, such as contact.colour."),
            ("{{ first_name.x }}", "1:4 first_name has no parts."),
            ("{{ custom.x. }}", "1:13 A name such as first_name is expected here."),
            ("{{ 'text' }}", "1:4 A name such as first_name is expected here."),
            ("{{}}", "1:3 A name such as first_name is expected here."),
            ("{{{first_name}}}", "1:3 A name such as first_name is expected here."),
            ("{{ __class__.a.b.c.d.e.f }}", "1:4 A name has at most 6 parts."),
            ("{{ a if b else c }}", "1:6 i is not expected here."),
            ("{{ a is defined }}", "1:6 i is not expected here."),
            (
                "{{ loop.index }}{% for a in b %}{{ loop.depth }}{% endfor %}",
                "1:36 Of a loop there are loop.index, loop.first and loop.last.",
            ),
            ("{{ a|safe('x') }}", "1:6 There is no filter safe. There are upper, lower, title, trim, truncate, date, urlencode, default."),
            ("{{ a|attr: 'x' }}", "1:6 There is no filter attr. There are upper, lower, title, trim, truncate, date, urlencode, default."),
            ("{{ a| }}", "1:7 A filter or a fallback text is missing after |."),
            ("{{ a|<b> }}", "1:6 Put a fallback with such characters in quotation marks."),
            ("{{ a|upper b }}", "1:12 b is not expected here."),
            ("{{ a|upper(1) }}", "1:6 upper takes nothing."),
            ("{{ a|default }}", "1:6 default needs a text: default(\"there\")."),
            ("{{ a|default(b) }}", "1:14 A text in quotation marks or a number is expected here."),
            ("{{ a|default('b' }}", "1:18 A ) is missing here."),
            ("{{ a|truncate }}", "1:6 truncate needs a number from 1 to 10000: truncate(50)."),
            ("{{ a|truncate(99999999999) }}", "1:6 truncate needs a number from 1 to 10000: truncate(50)."),
            ("{{ a|truncate(1e9) }}", "1:16 A ) is missing here."),
            ("{{ a|date('%Q %Z') }}", "1:6 date takes a format such as \"%d %B %Y\", without time zones."),
            ("{{ a|date('%999999999d') }}", "1:6 date takes a format such as \"%d %B %Y\", without time zones."),
            ("{{ \"", "1:1 This {{ has no }} within 2048 characters and before the next tag."),
            ("{{ a|\" }}", "1:6 This quotation mark has no second one in the tag."),
            ("{{ a {{ b }}", "1:1 This {{ has no }} within 2048 characters and before the next tag."),
            ("\n\n{% if a }}", "3:1 This {% has no %} within 2048 characters and before the next tag."),
            ("{# a", "1:1 This comment has no end: #}."),
            ("{% if %}{% endif %}", "1:7 A name such as first_name is expected here."),
            ("{% if a b %}{% endif %}", "1:9 b is not expected here."),
            ("{% if a = b %}{% endif %}", "1:9 = is not expected here."),
            ("{% if a == %}{% endif %}", "1:12 A name such as first_name is expected here."),
            ("{% if (a %}{% endif %}", "1:10 A ) is missing here."),
            ("{% if a not b %}{% endif %}", "1:13 The word in is expected here."),
            (
                "{% if a|there %}{% endif %}",
                "1:9 There is no filter there. There are upper, lower, title, trim, truncate, date, urlencode, default.",
            ),
            ("{% if a in ['x' 'y'] %}{% endif %}", "1:17 A , or ] is expected here."),
            ("{% if a in [b] %}{% endif %}", "1:13 A list is written [\"a\", \"b\"]."),
            ("{% if a > 1.2.3 %}{% endif %}", "1:11 This is no number."),
            ("{% if a %}", "1:1 {% if %} has no {% endif %}."),
            ("x{% for a in b %}{% if c %}{% endif %}", "1:2 {% for %} has no {% endfor %}."),
            ("{% for a in b %}{% endif %}", "1:20 There is no open if here that endif could end."),
            ("{% endfor %}", "1:4 There is no open for here that endfor could end."),
            ("{% else %}", "1:4 else belongs once between if or for and its end."),
            ("{% if a %}{% else %}{% else %}{% endif %}", "1:24 else belongs once between if or for and its end."),
            ("{% if a %}{% else %}{% elif b %}{% endif %}", "1:24 elif belongs between if and else."),
            ("{% for a, b in c %}{% endfor %}", "1:9 A loop is written {% for item in custom.list %}."),
            ("{% for email in c %}{% endfor %}", "1:8 email is a name already; call the item something else."),
            ("{% for a in email %}{% endfor %}", "1:13 email is no list; a loop goes over a custom one."),
            ("{% for a in b|upper %}{% endfor %}", "1:14 | is not expected here."),
            ("{% for a in range(9) %}{% endfor %}", "1:18 A template calls no functions."),
            ("{% for a in b if c %}{% endfor %}", "1:15 i is not expected here."),
            ("{% for a in b recursive %}{% endfor %}", "1:15 r is not expected here."),
        ] {
            assert_eq!(fault(html), expected, "{html}");
        }
    }

    #[test]
    fn faults_of_all_parts_are_told_at_once() {
        let source = Source { subject: "{{1}}", html: "{{a}}{{2}}\n{% if 3x %}{% endif %}{{", text: Some("{% x %}") };
        let faults = check(source, |_| true).unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| (fault.field, fault.line, fault.column)).collect();
        assert_eq!(places, [(Field::Subject, 1, 3), (Field::Html, 1, 8), (Field::Html, 2, 8), (Field::Html, 2, 23), (Field::Text, 1, 4),]);
    }

    #[test]
    fn sizes_are_bounded() {
        let nested = |count: usize| "{% if a %}".repeat(count) + &"{% endif %}".repeat(count);
        let elifs = |count: usize| "{% if a %}".to_owned() + &"{% elif a %}".repeat(count) + "{% endif %}";
        let brackets = |count: usize| format!("{{% if {}a{} %}}{{% endif %}}", "not (".repeat(count), ")".repeat(count));
        let operands = |count: usize| format!("{{% if {}a %}}{{% endif %}}", "a or ".repeat(count - 1));
        for (good, bad, expected) in [
            (nested(20), nested(21), "1:204 Blocks are nested more than 20 deep; each elif counts."),
            (elifs(19), elifs(20), "1:242 Blocks are nested more than 20 deep; each elif counts."),
            (brackets(10), brackets(11), "1:61 A condition is nested more than 20 deep."),
            (operands(50), operands(51), "1:257 There are more than 50 names, values and filters in one tag."),
            (
                format!("{{{{a{}}}}}", "|trim".repeat(8)),
                format!("{{{{a{}}}}}", "|trim".repeat(9)),
                "1:45 There are more than 8 filters in a row.",
            ),
            (format!("{{{{{}}}}}", "a".repeat(100)), format!("{{{{{}}}}}", "a".repeat(101)), "1:3 A name is longer than 100 characters."),
            (
                format!("{{{{a{}}}}}", " ".repeat(2_000)),
                format!("{{{{a{}}}}}", " ".repeat(3_000)),
                "1:1 This {{ has no }} within 2048 characters and before the next tag.",
            ),
            ("{{a}}".repeat(2_500), "{{a}}".repeat(2_501), "1:12501 There are more than 5000 names, values and filters."),
            ("x".repeat(256 * 1024), "x".repeat(256 * 1024 + 1), "1:1 This is longer than 262144 bytes."),
        ] {
            assert!(check(Source { subject: "", html: &good, text: None }, |_| true).is_ok(), "{good}");
            assert_eq!(fault(&bad), expected);
            // The engine takes what the scanner takes, at every bound.
            crate::render(Source { subject: "", html: &good, text: None }, &Default::default()).unwrap();
        }
        let faults =
            check(Source { subject: &"ä".repeat(256), html: &"{{".repeat(9_999), text: Some(&"x".repeat(65_537)) }, |_| true).unwrap_err();
        assert_eq!(faults.len(), 1 + 20 + 1);
    }
}
