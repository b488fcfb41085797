//! Users, by their numbers or names.

use std::process::Command;

/// The number of a user. Names are looked up by `id`, which knows all places where users are listed.
pub(crate) fn parse(text: &str) -> Result<u32, String> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    let found =
        Command::new("id").args(["-u", "--", text]).output().map_err(|error| format!("cannot run id: {error}"))?;
    let number = String::from_utf8_lossy(&found.stdout).trim().parse();
    number.map_err(|_| format!("there is no user '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_user_is_a_number_or_a_name() {
        assert_eq!(parse("65534"), Ok(65534));
        assert_eq!(parse("root"), Ok(0));
        assert_eq!(parse("no such user"), Err("there is no user 'no such user'".into()));
        assert!(parse("-x").is_err() && parse("").is_err());
    }
}
