//! Amounts as people write them: `4096`, `8k` = 8000, `8K` = 8192, `2G`, `1.5g`.

/// An amount that is not one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an amount: {0} (write a number, with k, m, g for thousands or K, M, G for powers of 1024)"
)]
pub struct BadSize(String);

/// Small letters count in thousands, capital ones in powers of 1024.
pub fn parse(text: &str) -> Result<u64, BadSize> {
    let bad = || BadSize(text.to_owned());
    let (digits, unit) = match text.char_indices().last() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => {
            (&text[..at], unit(letter).ok_or_else(bad)?)
        }
        _ => (text, 1),
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(bad);
    }
    let (whole, fraction) = digits.split_once('.').ok_or_else(bad)?;
    let plain = |part: &str| {
        !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if unit == 1 || !plain(whole) || !plain(fraction) {
        return Err(bad());
    }
    let amount: f64 = digits.parse().map_err(|_| bad())?;
    Ok((amount * unit as f64) as u64)
}

fn unit(letter: char) -> Option<u64> {
    Some(match letter {
        'k' => 1000,
        'm' => 1_000_000,
        'g' => 1_000_000_000,
        't' => 1_000_000_000_000,
        'K' => 1 << 10,
        'M' => 1 << 20,
        'G' => 1 << 30,
        'T' => 1 << 40,
        _ => return None,
    })
}

/// For people: `1.4 GiB`.
pub fn display(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_letters_are_thousands_and_capitals_powers_of_1024() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("8k", 8000),
            ("8K", 8192),
            ("1m", 1_000_000),
            ("2G", 2 << 30),
            ("1.5g", 1_500_000_000),
            ("0.5K", 512),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "k",
            "-1",
            "1.5",
            "1..5k",
            "1e3k",
            "8kk",
            "8KB",
            "inf",
            "99999999999999999999",
            "20000000T",
            "8 k",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(display(512), "512 B");
        assert_eq!(display(1536), "1.5 KiB");
        assert_eq!(display(3 << 30), "3.0 GiB");
    }
}
