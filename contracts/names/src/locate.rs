use crate::error::{Fault, NameError};
use crate::object::{LONGEST_BYTES, ObjectName};

/// A URL or path may be this long before anybody looks for an object name in it.
const LONGEST_LOCATION_BYTES: usize = 4096;
const SCHEMES: [&str; 5] = ["gs", "s3", "http", "https", "file"];

impl ObjectName {
    /// Splits `gs://bucket/…`, `https://host/…` or a plain path into the base, with its last slash, and the object name.
    ///
    /// The base is as short as the grammar allows, except that an autoload prefix begins at the last directory called
    /// `autoload` where there is one.
    pub fn strip_base(location: &str) -> Result<(&str, Self), NameError> {
        if location.len() > LONGEST_LOCATION_BYTES {
            let problem = format!("longer than {LONGEST_LOCATION_BYTES} bytes");
            return Err(Fault::new("location", 0, problem).in_name(location));
        }
        let first = first_start(location).map_err(|fault| fault.in_name(location))?;
        let autoload = location[first..]
            .rfind("/autoload/")
            .map(|at| first + at + 1);
        let starts = autoload
            .into_iter()
            .chain(starts(location, first))
            .filter(|at| location.len() - at <= LONGEST_BYTES);
        // The attempt that got farthest knows best what is wrong.
        let mut farthest = Fault::new("location", first, "no object name in it");
        for at in starts {
            match Self::read(&location[at..]) {
                Ok(name) => return Ok((&location[..at], name)),
                Err(fault) if at + fault.at > farthest.at => {
                    farthest = Fault {
                        at: at + fault.at,
                        ..fault
                    }
                }
                Err(_) => {}
            }
        }
        Err(farthest.in_name(location))
    }
}

/// The first byte that can belong to an object name: after the host or the bucket, or after the root of a path.
fn first_start(location: &str) -> Result<usize, Fault> {
    let Some((scheme, rest)) = location.split_once("://") else {
        return Ok(usize::from(location.starts_with('/')));
    };
    if !SCHEMES.contains(&scheme) {
        return Err(Fault::new(
            "scheme",
            0,
            format!("must be one of {}", SCHEMES.join(", ")),
        ));
    }
    let after_scheme = scheme.len() + "://".len();
    match rest.find('/') {
        Some(slash) => Ok(after_scheme + slash + 1),
        None => Err(Fault::new(
            "location",
            after_scheme,
            "no object name after the host",
        )),
    }
}

fn starts(location: &str, first: usize) -> impl Iterator<Item = usize> {
    std::iter::once(first).chain(
        location[first..]
            .match_indices('/')
            .map(move |(at, _)| first + at + 1),
    )
}
