//! Numbers of bytes, as people write and read them.

const SUFFIXES: [char; 4] = ['K', 'M', 'G', 'T'];

/// Reads `4096`, `64K`, `1.5G`: powers of 1024, upper or lower case.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size; write bytes, or a number with K, M, G or T, as in 4G");
    let power =
        text.chars().last().and_then(|last| SUFFIXES.iter().position(|suffix| last.eq_ignore_ascii_case(suffix)));
    let (digits, unit) = match power {
        Some(power) => (&text[..text.len() - 1], 1_u64 << (10 * (power + 1))),
        None => (text, 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    // A fraction of a byte is a mistake, and so is one that is finer than a byte of the unit can be.
    if !are_digits(whole) || !are_digits(fraction) || fraction.len() > 6 || (unit == 1 && digits.contains('.')) {
        return Err(wrong());
    }
    let scale = 10_u64.pow(fraction.len() as u32);
    let too_large = || format!("'{text}' is more than 64 bits can count");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let fraction: u64 = fraction.parse().map_err(|_| wrong())?;
    let part = (u128::from(fraction) * u128::from(unit) / u128::from(scale)) as u64;
    whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(part)).ok_or_else(too_large)
}

/// Writes `512 B`, `1.5 KiB`, `64 MiB`: three digits are enough to know how large something is.
pub(crate) fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = SUFFIXES.iter().chain(&['P', 'E']);
    let mut unit = units.next();
    // From here on it would be written as 1024.
    while size >= 1023.5 {
        size /= 1024.0;
        unit = units.next();
    }
    let unit = unit.unwrap_or(&'E');
    // 9.96 is written as 10, not as 10.0.
    if size < 9.95 { format!("{size:.1} {unit}iB") } else { format!("{size:.0} {unit}iB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64K"), Ok(64 << 10));
        assert_eq!(parse("64k"), Ok(64 << 10));
        assert_eq!(parse("1.5G"), Ok(3 << 29));
        assert_eq!(parse("2T"), Ok(2 << 40));
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "K",
            "4X",
            "-1",
            "+1",
            "1.5",
            ".5G",
            "1.G",
            "1e9",
            "4 G",
            "4GB",
            "1.2.3M",
            "１K",
            "ä",
            "20000000T",
            "18446744073709551616",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written() {
        let written = [0, 1023, 1024, 1536, 10 << 10, (1 << 20) - 1, 64 << 20, 1 << 30, u64::MAX].map(human);
        assert_eq!(
            written,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10 KiB", "1.0 MiB", "64 MiB", "1.0 GiB", "16 EiB"]
        );
    }
}
