//! The rules one by one, and what holds for any bytes: a template is a fixed point, short enough,
//! and made in a time that grows with the text. The table that all three implementations share is
//! in `tests/unit/test_template.py`.

use std::time::Instant;

use super::{CUT, MESSAGE_BYTES_MAX, NUM, PLACEHOLDERS, limited_into, template_into};

fn template(message: &str) -> String {
    let mut out = Vec::new();
    template_into(message.as_bytes(), &mut out);
    String::from_utf8(out).expect("a template of UTF-8 is UTF-8")
}

fn limited(message: &[u8], limit: usize) -> Vec<u8> {
    let mut out = b"before".to_vec();
    limited_into(message, &mut out, limit);
    out.split_off(6)
}

/// A splitmix64 generator: the same texts in every run and on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn text(&mut self) -> Vec<u8> {
        let pieces = 1 + self.below(24);
        (0..pieces)
            .flat_map(|_| ATOMS[self.below(ATOMS.len())].bytes())
            .collect()
    }
}

const ATOMS: &[&str] = &[
    "'",
    "\"",
    "`",
    "<",
    ">",
    "/",
    "\\",
    ":",
    ".",
    ",",
    "-",
    "+",
    "@",
    "#",
    "?",
    "%",
    "[",
    "]",
    "(",
    ")",
    "=",
    "_",
    " ",
    "\n",
    "\0",
    "0",
    "1",
    "5",
    "9",
    "a",
    "b",
    "e",
    "f",
    "g",
    "x",
    "E",
    "é",
    "用",
    "µ",
    "😀",
    "::",
    "://",
    "0x",
    "deadbeef12",
    "10.0.0.1",
    "255",
    "256",
    "fe80",
    "a1",
    "<num>",
    "<str>",
    "<path>",
    "<cut>",
    "<nu",
    "http",
    "C:\\",
    "C:/",
    "/usr/x",
    "b'",
    "e-5",
    "12345",
    "aa:bb:cc:dd:ee:ff",
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "550e8400-e29b-41d4-a716-446655440000",
];

#[test]
fn each_kind_has_its_placeholder() {
    for (message, expected) in [
        ("id 550e8400-e29b-41d4-a716-446655440000.", "id <uuid>."),
        (
            "10.0.0.7:5432 or [2001:db8::1]:80 or ::1",
            "<ip> or <ip> or <ip>",
        ),
        (
            "at 0x7f3a, commit 9fceb02d, 00:1b:44:11:3a:b7",
            "at <hex>, commit <hex>, <hex>",
        ),
        ("-3 of 2.5e-7 in 12ms", "<num> of <num> in <num>ms"),
        (
            "/var/lib/x.db:12 and C:\\temp\\y",
            "<path>:<num> and <path>",
        ),
        (
            "'it isn't so' and b'x' and `y`",
            "<str> and b<str> and <str>",
        ),
        ("task 01ARZ3NDEKTSV4RRFFQ69G5FAV", "task <id>"),
        (
            "https://u:p@db.example.com:80/a?b=1",
            "https://<str>@db.example.com:<num><path>",
        ),
        (
            "utf8 sha256 python3 worker12",
            "utf8 sha256 python3 worker12",
        ),
    ] {
        assert_eq!(template(message), expected);
    }
}

#[test]
fn a_template_is_a_fixed_point_at_any_limit() {
    let mut random = Random(2);
    for _ in 0..200_000 {
        let message = random.text();
        let limit = 6 + random.below(60);
        let once = limited(&message, limit);
        assert!(once.len() <= limit, "{message:?} made {once:?}");
        let twice = limited(&once, limit);
        assert_eq!(
            String::from_utf8_lossy(&once),
            String::from_utf8_lossy(&twice),
            "limit {limit}, message {:?}",
            String::from_utf8_lossy(&message),
        );
    }
}

#[test]
fn utf_8_stays_utf_8_at_any_limit() {
    let mut random = Random(3);
    for _ in 0..50_000 {
        let message = random.text();
        let limit = 6 + random.below(60);
        assert!(std::str::from_utf8(&limited(&message, limit)).is_ok());
    }
}

#[test]
fn any_bytes_are_accepted() {
    let mut random = Random(4);
    for _ in 0..100_000 {
        let length = random.below(40);
        let message: Vec<u8> = (0..length)
            .map(|_| random.next().to_le_bytes()[0])
            .collect();
        limited(&message, MESSAGE_BYTES_MAX);
    }
}

#[test]
fn a_long_message_is_cut_at_white_space() {
    let message = "word ".repeat(400) + "'never read'";
    let result = template(&message);
    assert_eq!(result, "word ".repeat(203) + "word<cut>");
    assert_eq!(result.len(), MESSAGE_BYTES_MAX);
}

#[test]
fn a_long_message_without_white_space_is_cut_at_a_code_point() {
    let result = template(&"é".repeat(600));
    assert_eq!(result, "é".repeat(509) + "<cut>");
    let message = "a ".to_owned() + &"x".repeat(2000);
    assert_eq!(template(&message), "a <cut>");
}

#[test]
fn a_quote_that_the_cut_left_open_is_quoted_text() {
    let message = format!("payload 'begins {} and ends'", "x ".repeat(1000));
    assert_eq!(template(&message), "payload <str><cut>");
}

#[test]
fn a_template_longer_than_its_message_is_cut_before_a_placeholder() {
    for length in 0..6 {
        let before = "x".repeat(length) + " ";
        let result = template(&(before.clone() + &"1 ".repeat(500)));
        let kept = result.strip_suffix("<cut>").expect("something is left out");
        assert!(result.len() <= MESSAGE_BYTES_MAX);
        assert!(kept.len() > MESSAGE_BYTES_MAX - CUT.len() - NUM.len());
        assert_eq!(kept.trim_end(), (before + &"<num> ".repeat(169)).trim_end());
    }
}

#[test]
fn placeholders_are_read_as_they_stand() {
    for placeholder in PLACEHOLDERS {
        let text = String::from_utf8(placeholder.to_vec()).unwrap();
        assert_eq!(template(&text), text);
    }
    assert_eq!(template("<number> <num"), "<number> <num");
}

#[test]
fn hard_cases_take_no_longer_per_byte() {
    // Ratios in one run: the worst text for each look-ahead against plain words.
    let plain = "word and word ".repeat(73);
    let price = |text: &str| {
        let mut out = Vec::new();
        (0..20)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..20 {
                    out.clear();
                    template_into(text.as_bytes(), &mut out);
                }
                start.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min)
    };
    let base = price(&plain);
    for hard in [
        "'", " '", "a:", "a1:", "::", "://", "x://", "/.", "1.", "b'", "[", "<", "ab:cd:",
    ] {
        let text = hard.repeat(1022 / hard.len());
        let ratio = price(&text) / base;
        println!("{hard:?}: {ratio:.1} times the price of words");
        assert!(
            ratio < 100.0,
            "{hard:?} costs {ratio:.0} times as much as words"
        );
    }
}
