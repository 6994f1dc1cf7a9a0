//! Who may speak with whom.

use firesteel_model::{
    Error, Result,
    conf::{Conf, keys},
};
use firesteel_net::Secret;
use std::path::Path;

/// The secret that the processes of a cluster share, as the configuration says; none where it has none.
///
/// ```
/// use firesteel_model::conf::Conf;
/// let mut conf = Conf::new();
/// assert!(firesteel_cluster::security::secret(&conf)?.is_none());
/// conf.set("firesteel.authenticate.secret", "9f3a0c1e5b7d2468acbd");
/// assert!(firesteel_cluster::security::secret(&conf)?.is_some());
/// # Ok::<(), firesteel_model::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`]: `authenticate` asks for one and there is none, its file cannot be read or is everybody's to read, or what
/// there is is no secret.
pub fn secret(conf: &Conf) -> Result<Option<Secret>> {
    let secret = match (conf.get(keys::AUTHENTICATE_SECRET_FILE)?, conf.get(keys::AUTHENTICATE_SECRET)?) {
        (Some(path), _) => Some(Secret::from_file(Path::new(&path))),
        (None, Some(text)) => Some(Secret::from_bytes(text.as_bytes())),
        (None, None) => None,
    };
    if secret.is_none() && conf.get(keys::AUTHENTICATE)? {
        return Err(Error::Config(format!(
            "{} asks for a secret, and there is none: name its file in {} (`openssl rand -hex 32` makes one)",
            keys::AUTHENTICATE.info.key(),
            keys::AUTHENTICATE_SECRET_FILE.info.key()
        )));
    }
    secret.transpose().map_err(|e| Error::Config(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    fn conf(settings: &[(&str, &str)]) -> Conf {
        let mut conf = Conf::new();
        for (key, value) in settings {
            conf.set(format!("firesteel.{key}"), *value);
        }
        conf
    }

    #[test]
    fn a_secret_that_is_asked_for_must_be_there() {
        let said = secret(&conf(&[("authenticate", "true")])).unwrap_err().to_string();
        assert!(said.contains("authenticate.secret.file") && said.contains("openssl"), "{said}");
    }

    #[test]
    fn words_are_no_secrets() {
        let said = secret(&conf(&[("authenticate.secret", "hunter2")])).unwrap_err().to_string();
        assert!(said.contains("7 bytes") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn the_file_wins_and_must_not_be_everybodys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let set = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            secret(&conf(&[("authenticate.secret", "x"), ("authenticate.secret.file", path.to_str().unwrap())]))
        };
        assert_eq!(set(0o600).unwrap().unwrap().expose(), b"0123456789abcdef");
        assert!(set(0o644).unwrap_err().to_string().contains("chmod 600"));
    }
}
