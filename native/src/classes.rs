//! What a byte, or a word, may be part of, by the rules of `docs/templates.md`.

pub(crate) const HEX_LETTER: u8 = 1;
pub(crate) const LETTER: u8 = 2;
pub(crate) const DIGIT: u8 = 4;
/// First byte of a letter of U+00C0 to U+07FF.
pub(crate) const LEAD: u8 = 8;
pub(crate) const IN_PATH: u8 = 16;
/// In the path, query or fragment of a URL.
pub(crate) const IN_URL: u8 = 32;
/// Right after the first slash of a path.
pub(crate) const PATH_START: u8 = 64;
/// Something other than a word may begin here.
pub(crate) const SPECIAL: u8 = 128;
pub(crate) const HEXADECIMAL: u8 = HEX_LETTER | DIGIT;
pub(crate) const ASCII_WORD: u8 = HEX_LETTER | LETTER | DIGIT;
pub(crate) const WORD: u8 = ASCII_WORD | LEAD;

pub(crate) const CLASS: [u8; 256] = classes();

#[allow(clippy::as_conversions)] // From is not const yet; u8 always fits usize
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    loop {
        let anywhere = IN_PATH | IN_URL | PATH_START;
        table[byte as usize] = match byte {
            b'0'..=b'9' => DIGIT | anywhere,
            b'a'..=b'f' | b'A'..=b'F' => HEX_LETTER | anywhere,
            b'a'..=b'z' | b'A'..=b'Z' => LETTER | anywhere,
            0xC3..=0xDF => LEAD | anywhere,
            0x80..=0xFF | b'_' | b'.' | b'~' | b'%' | b'$' | b'@' => anywhere,
            b'/' | b'?' | b'#' | b'+' | b'-' => SPECIAL | IN_PATH | IN_URL,
            b'&' | b'=' | b'*' | b'!' | b'^' | b'\\' => IN_PATH | IN_URL,
            b':' | b'[' => SPECIAL | IN_URL,
            b',' | b';' | b'(' | b')' | b']' => IN_URL,
            b'\'' | b'"' | b'`' | b'<' => SPECIAL,
            _ => 0,
        };
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

pub(crate) fn is(byte: u8, classes: u8) -> bool {
    CLASS[usize::from(byte)] & classes != 0
}

pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

pub(crate) fn is_sign_before(byte: u8) -> bool {
    is_space(byte) || b"([{=:,;<>".contains(&byte)
}

/// Punctuation that at the end of a path is the sentence's.
pub(crate) fn is_path_end(byte: u8) -> bool {
    b".,:;!?)]\\".contains(&byte)
}

pub(crate) fn is_authority(byte: u8) -> bool {
    is(byte, IN_URL) && !b"/?#,;()^\\".contains(&byte)
}

pub(crate) fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Whether `word` is `0x` and hex digits.
pub(crate) fn is_prefixed_hex(word: &[u8]) -> bool {
    match word {
        [b'0', b'x' | b'X', digits @ ..] => {
            !digits.is_empty() && digits.iter().all(|&byte| is(byte, HEXADECIMAL))
        }
        _ => false,
    }
}

/// Runs of digits in `word`.
pub(crate) fn digit_run_count(word: &[u8]) -> usize {
    word.chunk_by(|&a, &b| is(a, DIGIT) == is(b, DIGIT))
        .filter(|run| is(run[0], DIGIT))
        .count()
}
