//! Sizes as people write them.

/// Parses `4096`, `64K`, `1.5M`, `4G`, `1T` (powers of 1024, an `iB` or `B` behind is fine).
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        other => return Err(format!("'{other}' is no unit: use K, M, G or T")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is not a size, as 512M or 4G"))?;
    let bytes = number * (1_u64 << shift) as f64;
    if bytes < 1.0 || bytes > (1_u64 << 50) as f64 {
        return Err(format!("'{text}' is out of range"));
    }
    Ok(bytes as u64)
}

/// A size in the unit that suits it.
pub(crate) fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("4096", 4096), ("64K", 65536), ("1.5m", 3 << 19), ("4GiB", 4 << 30), (" 1 T", 1 << 40)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "0", "4X", "1e9", "9999999T"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!((human(5), human(1536), human(3 << 30)), ("5 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
    }
}
