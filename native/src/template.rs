//! A message without its variable parts, so that equal errors have equal text.
//!
//! The rules are written down in `docs/templates.md` and stated readably by the pure Python core
//! (`faultplane/_pure/template.py`); this is the same scan over UTF-8 bytes. A letter of U+00C0
//! to U+07FF begins with a byte of 0xC3 to 0xDF, so a table of 256 bytes knows every class of
//! character that a rule asks for. Any bytes are accepted; bytes that are not UTF-8 are copied.

use crate::classes::{
    ASCII_WORD, CLASS, DIGIT, HEX_LETTER, HEXADECIMAL, IN_PATH, IN_URL, LEAD, LETTER, PATH_START,
    SPECIAL, WORD, digit_run_count, is, is_authority, is_continuation, is_path_end,
    is_prefixed_hex, is_sign_before, is_space,
};

/// Bytes of a message that are read, and bytes that its template has at most.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024;

const UUID: &[u8] = b"<uuid>";
const IP: &[u8] = b"<ip>";
const HEX: &[u8] = b"<hex>";
const NUM: &[u8] = b"<num>";
const PATH: &[u8] = b"<path>";
const STR: &[u8] = b"<str>";
const ID: &[u8] = b"<id>";
const CUT: &[u8] = b"<cut>";
const PLACEHOLDERS: [&[u8]; 8] = [UUID, IP, HEX, NUM, PATH, STR, ID, CUT];
const PLACEHOLDER_BYTES_MAX: usize = UUID.len();

/// Shorter words of hex digits (`cafe1`, `ad2`) are left as words.
const HEX_LENGTH_MIN: usize = 8;
/// Shorter words of mixed letters and digits are left to the rules for numbers.
const ID_LENGTH_MIN: usize = 16;
const ID_DIGITS_MIN: usize = 4;
/// A word that starts with a letter (`utf8`, `sha256`) may keep this many digits.
const WORD_DIGITS_MAX: usize = 4;

/// Appends the template of `message` to `out`: at most [`MESSAGE_BYTES_MAX`] bytes.
pub(crate) fn template_into(message: &[u8], out: &mut Vec<u8>) {
    limited_into(message, out, MESSAGE_BYTES_MAX);
}

fn limited_into(message: &[u8], out: &mut Vec<u8>, limit: usize) {
    let begin = out.len();
    let source = source(message);
    let cut = source.len() < message.len();
    Scan::new(source, cut, out).run();
    if cut {
        out.extend_from_slice(CUT);
    }
    if out.len() - begin > limit {
        cut_output(out, begin, limit);
    }
}

/// The part of `message` that is read: up to the last white space of its first
/// `MESSAGE_BYTES_MAX` bytes, because half an identifier would make a template of its own.
fn source(message: &[u8]) -> &[u8] {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message;
    }
    let head = &message[..MESSAGE_BYTES_MAX];
    if let Some(last) = head.iter().rposition(|&byte| is_space(byte)) {
        return &head[..=last];
    }
    let mut end = MESSAGE_BYTES_MAX;
    while end > 0 && is_continuation(message[end]) {
        end -= 1;
    }
    &head[..end]
}

/// Shortens `out[begin..]` to `limit` bytes, `<cut>` included, inside no code point and no
/// placeholder.
fn cut_output(out: &mut Vec<u8>, begin: usize, limit: usize) {
    let mut end = begin + limit.saturating_sub(CUT.len());
    while end > begin && is_continuation(out[end]) {
        end -= 1;
    }
    let first = end.saturating_sub(PLACEHOLDER_BYTES_MAX - 1).max(begin);
    for start in first..end {
        if start + placeholder_length(&out[start..]) > end {
            end = start;
            break;
        }
    }
    out.truncate(end);
    out.extend_from_slice(CUT);
}

/// Length of the placeholder that `text` begins with, else 0.
fn placeholder_length(text: &[u8]) -> usize {
    if text.first() != Some(&b'<') {
        return 0;
    }
    PLACEHOLDERS
        .iter()
        .find(|placeholder| text.starts_with(placeholder))
        .map_or(0, |placeholder| placeholder.len())
}

/// The character before the one looked at, as far as the rules ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// A word or a placeholder, whichever it was.
    Word,
    Byte(u8),
}

/// One pass over one text.
struct Scan<'a> {
    text: &'a [u8],
    /// `text` is only the beginning of the message.
    cut: bool,
    out: &'a mut Vec<u8>,
    /// The next byte to look at.
    at: usize,
    /// Start of what is kept as it is and not yet in `out`.
    kept: usize,
    previous: Previous,
    /// Where a number would start whose sign was read.
    signed: Option<usize>,
    /// Where the path of the last URL starts.
    url_path: Option<usize>,
    /// For each kind of quote: up to where it is known to have no end.
    unclosed: [usize; 3],
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8], cut: bool, out: &'a mut Vec<u8>) -> Self {
        Self {
            text,
            cut,
            out,
            at: 0,
            kept: 0,
            previous: Previous::Byte(b' '),
            signed: None,
            url_path: None,
            unclosed: [0; 3],
        }
    }

    fn run(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            if is(byte, WORD) {
                self.word();
                self.previous = Previous::Word;
            } else if !is(byte, SPECIAL) || !self.special(byte) {
                self.previous = Previous::Byte(byte);
                self.at += 1;
            }
        }
        self.out.extend_from_slice(&self.text[self.kept..]);
    }

    /// Replaces `start..end` and goes on after it.
    fn put(&mut self, placeholder: &[u8], start: usize, end: usize) -> bool {
        self.out.extend_from_slice(&self.text[self.kept..start]);
        self.out.extend_from_slice(placeholder);
        self.at = end;
        self.kept = end;
        self.previous = Previous::Word;
        true
    }

    /// [`Scan::put`] if there is an end.
    fn put_found(&mut self, placeholder: &[u8], start: usize, end: Option<usize>) -> bool {
        end.is_some_and(|end| self.put(placeholder, start, end))
    }

    // ------------------------------------------------------------------------ looking ahead

    /// The byte at `at`; 0 past the end, which no rule tells from other punctuation.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn is_at(&self, at: usize, classes: u8) -> bool {
        is(self.byte(at), classes)
    }

    /// Whether a word character or a placeholder stands at `at`.
    fn word_at(&self, at: usize) -> bool {
        match self.text.get(at) {
            None => false,
            Some(b'<') => placeholder_length(&self.text[at..]) > 0,
            Some(&byte) => is(byte, WORD),
        }
    }

    /// End of the run of `classes` at `at`.
    fn run_end(&self, at: usize, classes: u8) -> usize {
        let rest = &self.text[at.min(self.text.len())..];
        at + rest.iter().take_while(|&&byte| is(byte, classes)).count()
    }

    /// End of the text quoted from `opening`.
    ///
    /// A closing quote stands on the same line, not after a backslash, and not before a word
    /// character. A quote that found no end is remembered up to where it looked: no later one
    /// of its kind has an end before there, which keeps the scan linear.
    fn closing(&mut self, opening: usize) -> Option<usize> {
        let quote = self.text[opening];
        let kind = match quote {
            b'\'' => 0,
            b'"' => 1,
            _ => 2,
        };
        if opening < self.unclosed[kind] {
            return None;
        }
        let mut at = opening + 1;
        while at < self.text.len() && self.text[at] != b'\n' {
            if self.text[at] == b'\\' && self.byte(at + 1) != b'\n' {
                at += 1;
            } else if self.text[at] == quote && !self.word_at(at + 1) {
                return Some(at + 1);
            }
            at += 1;
        }
        if at >= self.text.len() && self.cut {
            return Some(self.text.len());
        }
        self.unclosed[kind] = at;
        None
    }

    /// End of the path at `start` that has at least `shortest` bytes. Punctuation at the end is
    /// the sentence's, not the path's.
    fn path_end(&self, start: usize, shortest: usize, classes: u8) -> Option<usize> {
        let mut end = self.run_end(start, classes);
        while end > start && is_path_end(self.text[end - 1]) {
            end -= 1;
        }
        (end >= start + shortest).then_some(end)
    }

    fn uuid_end(&self, start: usize) -> Option<usize> {
        let bytes = self.text.get(start..start + 36)?;
        let fits = bytes.iter().enumerate().all(|(i, &byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is(byte, HEXADECIMAL),
        });
        (fits && !self.word_at(start + 36)).then_some(start + 36)
    }

    fn ipv4_end(&self, start: usize) -> Option<usize> {
        let mut end = start;
        for part in 0..4 {
            let at = end;
            let mut value: u16 = 0;
            while end < at + 3 && self.is_at(end, DIGIT) {
                value = value * 10 + u16::from(self.text[end] - b'0');
                end += 1;
            }
            if end == at || value > 255 {
                return None;
            }
            if part < 3 {
                if self.byte(end) != b'.' {
                    return None;
                }
                end += 1;
            }
        }
        let goes_on = self.byte(end) == b'.' && self.is_at(end + 1, DIGIT);
        (!goes_on && !self.word_at(end)).then_some(end)
    }

    /// End of six or more pairs of hex digits (a MAC address).
    fn pairs_end(&self, start: usize) -> Option<usize> {
        let (mut at, mut end, mut pairs) = (start, start, 0);
        while self.is_at(at, HEXADECIMAL)
            && self.is_at(at + 1, HEXADECIMAL)
            && !self.word_at(at + 2)
        {
            pairs += 1;
            end = at + 2;
            if self.byte(end) != b':' {
                break;
            }
            at = end + 1;
        }
        (pairs >= 6).then_some(end)
    }

    /// End of an IPv6 address.
    ///
    /// Eight groups, or fewer around one `::`; the last two may be an IPv4 address. One group
    /// has a digit, else `a::b` would be an address.
    fn ipv6_end(&self, start: usize) -> Option<usize> {
        let (mut at, mut groups, mut gap, mut digit) = (start, 0, false, false);
        while groups < 8 {
            if self.byte(at) == b':' && self.byte(at + 1) == b':' {
                if gap {
                    return None;
                }
                gap = true;
                at += 2;
                if !self.is_at(at, HEXADECIMAL) {
                    break;
                }
            } else if groups > 0 {
                if self.byte(at) != b':' || !self.is_at(at + 1, HEXADECIMAL) {
                    break;
                }
                at += 1;
            }
            if groups <= 6
                && let Some(end) = self.ipv4_end(at)
            {
                groups += 2;
                digit = true;
                at = end;
                break;
            }
            let mut end = at;
            while end < at + 4 && self.is_at(end, HEXADECIMAL) {
                digit = digit || self.is_at(end, DIGIT);
                end += 1;
            }
            if end == at || self.word_at(end) {
                return None;
            }
            groups += 1;
            at = end;
        }
        let complete = if gap {
            (1..=7).contains(&groups)
        } else {
            groups == 8
        };
        // After eight groups nothing has looked at what follows a colon yet.
        let goes_on = self.byte(at) == b':' && (self.word_at(at + 1) || self.byte(at + 1) == b':');
        (complete && digit && !goes_on && !self.word_at(at)).then_some(at)
    }

    /// End of the zone (`%eth0`) after an IPv6 address.
    fn zone_end(&self, at: usize) -> usize {
        let end = self.run_end(at + 1, ASCII_WORD);
        if self.byte(at) != b'%' || end == at + 1 || self.word_at(end) {
            at
        } else {
            end
        }
    }

    /// End of the port after an address.
    fn port_end(&self, at: usize) -> usize {
        let end = self.run_end(at + 1, DIGIT);
        let fits = (1..=5).contains(&(end - at - 1)) && !self.word_at(end);
        if self.byte(at) == b':' && fits {
            end
        } else {
            at
        }
    }

    // -------------------------------------------------------------------------------- words

    /// Reads the word at `at`: letters and digits without anything between.
    fn word(&mut self) {
        let start = self.at;
        let mut end = start;
        let mut seen = 0;
        while let Some(&byte) = self.text.get(end) {
            let class = CLASS[usize::from(byte)];
            if class & WORD == 0 {
                break;
            }
            seen |= class & WORD;
            end += if class & LEAD == 0 { 1 } else { 2 };
        }
        let end = end.min(self.text.len());
        if self.previous != Previous::Word && self.address(start, end, seen) {
            return;
        }
        if seen & DIGIT == 0 {
            self.at = end;
        } else {
            self.number_word(start, end, seen);
        }
    }

    /// Replaces what a word of the classes `seen` can be the beginning of, besides a number.
    fn address(&mut self, start: usize, end: usize, seen: u8) -> bool {
        let length = end - start;
        let only_hex = seen & !HEXADECIMAL == 0;
        match self.byte(end) {
            b'-' => length == 8 && only_hex && self.put_found(UUID, start, self.uuid_end(start)),
            b'.' if length <= 3 && seen == DIGIT => {
                let found = self.ipv4_end(start).map(|end| self.port_end(end));
                self.put_found(IP, start, found)
            }
            b':' => self.colon_address(start, length, only_hex),
            b'\'' | b'"' if length == 1 && self.text[start] == b'b' => {
                let found = self.closing(end);
                self.put_found(STR, end, found)
            }
            _ => false,
        }
    }

    /// What a word before a colon can be the beginning of.
    fn colon_address(&mut self, start: usize, length: usize, only_hex: bool) -> bool {
        if only_hex && length <= 4 {
            let pairs = if length == 2 {
                self.pairs_end(start)
            } else {
                None
            };
            let ip = || self.ipv6_end(start).map(|end| self.zone_end(end));
            if let Some(end) = pairs {
                return self.put(HEX, start, end);
            }
            if let Some(end) = ip() {
                return self.put(IP, start, end);
            }
        }
        let drive = length == 1
            && self.is_at(start, LETTER | HEX_LETTER)
            && matches!(self.byte(start + 2), b'/' | b'\\')
            && self.is_at(start + 3, PATH_START);
        drive && self.put_found(PATH, start, self.path_end(start + 3, 1, IN_PATH))
    }

    /// Decides about a word that has digits.
    fn number_word(&mut self, start: usize, end: usize, seen: u8) {
        let word = &self.text[start..end];
        let long_hex = seen == HEXADECIMAL && word.len() >= HEX_LENGTH_MIN && !self.word_at(end);
        if long_hex || is_prefixed_hex(word) {
            // Long hex before a placeholder may be half of a longer word that <cut> cut.
            self.put(HEX, start, end);
            return;
        }
        let digits = word.iter().filter(|&&byte| is(byte, DIGIT)).count();
        if seen & LEAD == 0
            && word.len() >= ID_LENGTH_MIN
            && digits >= ID_DIGITS_MIN
            && digit_run_count(word) > 1
        {
            self.put(ID, start, end);
        } else if is(word[0], DIGIT) {
            self.number(start);
        } else if digits > WORD_DIGITS_MAX {
            self.digit_runs(start);
        } else {
            self.at = end;
        }
    }

    /// Replaces the number at `start`, and the digits of the unit that sticks to it.
    fn number(&mut self, start: usize) {
        let mut end = self.run_end(start, DIGIT);
        while self.byte(end) == b'.' && self.is_at(end + 1, DIGIT) {
            end = self.run_end(end + 1, DIGIT);
        }
        if matches!(self.byte(end), b'e' | b'E') {
            let signed = matches!(self.byte(end + 1), b'+' | b'-');
            let power = end + 1 + usize::from(signed);
            let power_end = self.run_end(power, DIGIT);
            if power_end > power && !self.word_at(power_end) {
                end = power_end;
            }
        }
        let signed = self.signed == Some(start);
        self.put(NUM, start - usize::from(signed), end);
        self.digit_runs(end);
    }

    /// Replaces each run of digits in the rest of a word, keeps the letters.
    fn digit_runs(&mut self, start: usize) {
        self.at = start;
        while let Some(&byte) = self.text.get(self.at) {
            if is(byte, DIGIT) {
                self.put(NUM, self.at, self.run_end(self.at, DIGIT));
            } else if is(byte, WORD) {
                let width = if is(byte, LEAD) { 2 } else { 1 };
                self.at = (self.at + width).min(self.text.len());
            } else {
                break;
            }
        }
    }

    // --------------------------------------------------- punctuation that begins something
    // Each returns whether it has moved `at`; else the character is kept as it is.

    fn special(&mut self, byte: u8) -> bool {
        match byte {
            b'<' => self.placeholder(),
            b'/' if self.url_path != Some(self.at) => self.unix_path(),
            b'/' | b'?' | b'#' => self.url_path(),
            b':' => self.colon(),
            b'[' => self.bracket(),
            b'+' | b'-' => self.sign(),
            _ => self.quoted(),
        }
    }

    fn placeholder(&mut self) -> bool {
        let length = placeholder_length(&self.text[self.at..]);
        if length > 0 {
            self.at += length;
            self.previous = Previous::Word;
        }
        length > 0
    }

    fn quoted(&mut self) -> bool {
        if self.previous == Previous::Word {
            return false;
        }
        let found = self.closing(self.at);
        self.put_found(STR, self.at, found)
    }

    fn unix_path(&mut self) -> bool {
        if matches!(self.previous, Previous::Word | Previous::Byte(b'<'))
            || !self.is_at(self.at + 1, PATH_START)
        {
            return false;
        }
        self.put_found(PATH, self.at, self.path_end(self.at, 2, IN_PATH))
    }

    fn url_path(&mut self) -> bool {
        if self.url_path != Some(self.at) {
            return false;
        }
        match self.path_end(self.at, 1, IN_URL) {
            // Half of the next :// may be left before <cut>.
            Some(end) if end == self.at + 1 && self.word_at(end) => false,
            found => self.put_found(PATH, self.at, found),
        }
    }

    fn colon(&mut self) -> bool {
        if self.previous == Previous::Word {
            let url = self.text[self.at..].starts_with(b"://");
            if url {
                self.authority(self.at + 3);
            }
            return url;
        }
        if self.byte(self.at + 1) != b':' {
            return false;
        }
        let found = self.ipv6_end(self.at).map(|end| self.zone_end(end));
        self.put_found(IP, self.at, found)
    }

    /// Finds where the host of a URL ends; the host itself is read like any other text.
    fn authority(&mut self, start: usize) {
        let length = self.text[start..]
            .iter()
            .take_while(|&&byte| is_authority(byte))
            .count();
        let end = start + length;
        if matches!(self.byte(end), b'/' | b'?' | b'#') {
            self.url_path = Some(end);
        }
        match self.text[start..end].iter().rposition(|&byte| byte == b'@') {
            Some(user) if user > 0 => {
                self.put(STR, start, start + user);
            }
            _ => {
                self.at = start;
                self.previous = Previous::Byte(b'/');
            }
        }
    }

    fn bracket(&mut self) -> bool {
        let address = self.ipv6_end(self.at + 1).map(|end| self.zone_end(end));
        let closed = address.filter(|&end| self.byte(end) == b']');
        self.put_found(IP, self.at, closed.map(|end| self.port_end(end + 1)))
    }

    fn sign(&mut self) -> bool {
        let Previous::Byte(before) = self.previous else {
            return false;
        };
        if is_sign_before(before) && self.is_at(self.at + 1, DIGIT) {
            self.signed = Some(self.at + 1);
        }
        false
    }
}

#[cfg(test)]
mod tests;
