//! Master URLs: who supplies the executors.

use crate::{Error, Result};
use std::{fmt, num::NonZeroU32, thread};

/// Who supplies the executors, read from a master URL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Master {
    /// Threads of this process.
    Local {
        /// How many; none for as many as the machine has cores.
        threads: Option<NonZeroU32>,
        /// How often one task may fail before its job does, if the URL says so; 1 if not.
        max_failures: NonZeroU32,
    },
    /// Executors in processes of this machine.
    LocalCluster {
        /// How many.
        executors: NonZeroU32,
        /// How many tasks each runs at a time.
        cores: NonZeroU32,
        /// How much memory each may take, in MiB.
        memory: NonZeroU32,
    },
    /// The workers of a standalone cluster.
    Standalone {
        /// Where its masters listen, `host:port` each: one leads, and the others take its place.
        masters: Vec<String>,
    },
}

/// Where a master listens if its URL does not say.
pub const MASTER_PORT: u16 = 7077;

impl Master {
    /// `local[*]`
    pub const ALL_CORES: Master = Master::Local { threads: None, max_failures: NonZeroU32::MIN };

    /// Reads a master URL: `local`, `local[N]`, `local[*]`, `local[N,F]` or `local[*,F]`, where N is a number of
    /// threads and F how often one task may fail; `local-cluster[N,C,M]`: N executor processes of C cores and M MiB each;
    /// `firesteel://HOST:PORT[,HOST:PORT...]` or `spark://`: a standalone cluster.
    ///
    /// # Errors
    /// [`Error::Config`]: a master that Spark or Firesteel has but this version has not, and anything else.
    ///
    /// ```
    /// use firesteel_model::conf::Master;
    /// assert_eq!(Master::parse("local[4,2]")?.to_string(), "local[4,2]");
    /// assert!(Master::parse("lokal").unwrap_err().to_string().contains("Could not parse master URL: 'lokal'"));
    /// # Ok::<(), firesteel_model::Error>(())
    /// ```
    pub fn parse(url: &str) -> Result<Self> {
        const FORMS: &str =
            "local, local[N], local[*], local[N,F], local[*,F], local-cluster[N,C,M] and firesteel://HOST:PORT";
        const LATER: [&str; 3] = ["yarn", "k8s://", "mesos://"];
        let url = url.trim();
        if LATER.iter().any(|other| url.starts_with(other)) {
            return Err(Error::Config(format!(
                "the master '{url}' is not available in this version, which has {FORMS}"
            )));
        }
        let garbage = || Error::Config(format!("Could not parse master URL: '{url}'. This version has {FORMS}"));
        let positive = |text: &str, what| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_| digits).ok_or_else(garbage)?;
            NonZeroU32::new(number)
                .ok_or_else(|| Error::Config(format!("the master '{url}' asks for 0 {what}: at least 1 is needed")))
        };
        if let Some(sizes) = url.strip_prefix("local-cluster[").and_then(|rest| rest.strip_suffix(']')) {
            let sizes: Vec<&str> = sizes.split(',').map(str::trim).collect();
            let [executors, cores, memory] = sizes[..] else { return Err(garbage()) };
            return Ok(Master::LocalCluster {
                executors: positive(executors, "executors")?,
                cores: positive(cores, "cores")?,
                memory: positive(memory, "MiB")?,
            });
        }
        if let Some(hosts) = url.strip_prefix("firesteel://").or_else(|| url.strip_prefix("spark://")) {
            let masters = hosts.split(',').map(|host| master_address(host.trim()).ok_or_else(garbage));
            return Ok(Master::Standalone { masters: masters.collect::<Result<_>>()? });
        }
        if url == "local" {
            return Ok(Master::Local { threads: Some(NonZeroU32::MIN), max_failures: NonZeroU32::MIN });
        }
        let inside = url.strip_prefix("local[").and_then(|rest| rest.strip_suffix(']')).ok_or_else(garbage)?;
        let (threads, failures) = match inside.split_once(',') {
            Some((threads, failures)) => (threads.trim(), Some(failures.trim())),
            None => (inside, None),
        };
        Ok(Master::Local {
            threads: if threads == "*" { None } else { Some(positive(threads, "threads")?) },
            max_failures: failures.map_or(Ok(NonZeroU32::MIN), |failures| positive(failures, "failures"))?,
        })
    }

    /// How many tasks this master runs at a time on this machine; 2 where other machines run them, as in Spark before any is there.
    pub fn threads(&self) -> NonZeroU32 {
        let threads = match self {
            Master::Local { threads, .. } => *threads,
            Master::LocalCluster { executors, cores, .. } => Some(executors.saturating_mul(*cores)),
            Master::Standalone { .. } => NonZeroU32::new(2),
        };
        threads.or_else(|| thread::available_parallelism().ok()?.try_into().ok()).unwrap_or(NonZeroU32::MIN)
    }
}

impl fmt::Display for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, max_failures) = match self {
            Master::Local { threads, max_failures } => (threads, max_failures),
            Master::LocalCluster { executors, cores, memory } => {
                return write!(f, "local-cluster[{executors},{cores},{memory}]");
            }
            Master::Standalone { masters } => return write!(f, "firesteel://{}", masters.join(",")),
        };
        f.write_str("local[")?;
        match threads {
            Some(threads) => write!(f, "{threads}")?,
            None => f.write_str("*")?,
        }
        if *max_failures > NonZeroU32::MIN {
            write!(f, ",{max_failures}")?;
        }
        f.write_str("]")
    }
}

/// `host:port` of a host that may have a port; none for what is no address.
fn master_address(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // In brackets an address of version 6 has colons of its own.
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (text, MASTER_PORT),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let named = !host.is_empty() && host.chars().all(plain);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = named || bracketed.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    valid.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_masters() {
        for (url, shown) in [
            ("local", "local[1]"),
            ("local[4]", "local[4]"),
            (" local[*] ", "local[*]"),
            ("local[4,2]", "local[4,2]"),
            ("local[*, 2]", "local[*,2]"),
            ("local-cluster[2, 1,1024]", "local-cluster[2,1,1024]"),
        ] {
            assert_eq!(Master::parse(url).unwrap().to_string(), shown, "{url}");
        }
        assert_eq!(Master::parse("local[3]").unwrap().threads().get(), 3);
        assert!(Master::ALL_CORES.threads().get() >= 1);
    }

    #[test]
    fn standalone_masters() {
        for (url, shown) in [
            ("spark://h:7077", "firesteel://h:7077"),
            ("firesteel://h", "firesteel://h:7077"),
            ("firesteel://a.b-c:1, [::1]:2,[::2]", "firesteel://a.b-c:1,[::1]:2,[::2]:7077"),
        ] {
            let master = Master::parse(url).unwrap();
            assert_eq!(master.to_string(), shown, "{url}");
            assert_eq!(Master::parse(shown).unwrap(), master);
        }
        for url in [
            "firesteel://",
            "firesteel://h:",
            "firesteel://h:0",
            "firesteel://h:70777",
            "spark://a,,b",
            "spark://a b",
            "spark://::1",
        ] {
            let error = Master::parse(url).unwrap_err().to_string();
            assert!(error.contains("Could not parse") && error.contains("firesteel://HOST:PORT"), "{url}: {error}");
        }
    }

    #[test]
    fn masters_of_later_versions_are_named_as_such() {
        for url in ["mesos://h:5050", "yarn", "k8s://https://h"] {
            let error = Master::parse(url).unwrap_err().to_string();
            assert!(error.contains(url) && error.contains("not available in this version"), "{error}");
        }
    }

    #[test]
    fn garbage_and_zero_are_refused() {
        for url in [
            "",
            "Local",
            "local[]",
            "local[-1]",
            "local[+1]",
            "local[4",
            "local[4,]",
            "local[1,2,3]",
            "local[99999999999]",
        ] {
            let error = Master::parse(url).unwrap_err().to_string();
            assert!(error.contains(&format!("Could not parse master URL: '{url}'")), "{error}");
        }
        assert!(Master::parse("local[0]").unwrap_err().to_string().contains("0 threads"));
        assert!(Master::parse("local[1,0]").unwrap_err().to_string().contains("0 failures"));
    }
}
