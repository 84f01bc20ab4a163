use crate::cursor::Cursor;
use crate::error::{Fault, NameError};
use crate::label::{Label, is_lower_or_digit};
use crate::node::Node;
use std::fmt;
use std::str::FromStr;

const DOMAIN: &str = "measurement-lab.org";
/// Longest DNS name (RFC 1035 section 2.3.4).
const LONGEST_BYTES: usize = 253;

/// The DNS name of a measurement server, in any of the forms that M-Lab has used.
///
/// | version | form |
/// |---|---|
/// | 1 | `[<service>.]<machine>.<site>.measurement-lab.org`, or the first labels joined by `-` |
/// | 2 | `[<service>-]<machine>-<site>.<project>.measurement-lab.org[-<4 characters>]` |
/// | 3 | `[<service>-]<site>-<machine>.<organization>.<project>.measurement-lab.org` |
/// | | `third-party` |
///
/// Version 3 differs from the others by its five labels, as in all readers of these names; a version 1
/// service of one dotted label would have five as well and is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName {
    form: Form,
    service: Option<String>,
    node: Node,
    organization: Option<String>,
    project: Option<String>,
    suffix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Dotted,
    Flat,
    Project,
    Organization,
    ThirdParty,
}

impl HostName {
    /// The experiment's name in front, such as `ndt`, or `ndt-iupui` and `ndt.iupui` in version 1.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Machine and site.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The operator of the server; `mlab` for every managed one.
    pub fn organization(&self) -> &str {
        self.organization.as_deref().unwrap_or("mlab")
    }

    /// The project, such as `mlab-oti` or `autojoin`; none in version 1.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The four characters after the domain that distinguish replicas.
    pub fn suffix(&self) -> Option<&str> {
        self.suffix.as_deref()
    }

    /// 1, 2 or 3; `third-party` counts as 2.
    pub fn version(&self) -> u8 {
        match self.form {
            Form::Dotted | Form::Flat => 1,
            Form::Project | Form::ThirdParty => 2,
            Form::Organization => 3,
        }
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let whole = Cursor::new(text, LONGEST_BYTES, &[])?;
        if text == "third-party" {
            return Ok(Self::of(Form::ThirdParty, None, Node::third_party()));
        }
        let labels = labels(whole);
        match labels[..] {
            [first, organization, project, domain, tld] => {
                read_v3(first, [organization, project, domain, tld])
            }
            [first, project, domain, tld] if first.text.len() > 6 => {
                read_v2(first, project, [domain, tld])
            }
            [first, domain, tld] => read_flat_v1(first, [domain, tld]),
            [machine, site, domain, tld] => read_v1(None, [machine, site, domain, tld]),
            [name, sponsor, machine, site, domain, tld] => {
                read_v1(Some([name, sponsor]), [machine, site, domain, tld])
            }
            _ => whole.fault("labels", "a host name has 3 to 6"),
        }
    }

    fn of(form: Form, service: Option<String>, node: Node) -> Self {
        Self {
            form,
            service,
            node,
            organization: None,
            project: None,
            suffix: None,
        }
    }
}

fn labels(mut whole: Cursor<'_>) -> Vec<Cursor<'_>> {
    let mut out = vec![whole.until('.')];
    while whole.skip(".") {
        out.push(whole.until('.'));
    }
    out
}

fn read_v1(service: Option<[Cursor<'_>; 2]>, rest: [Cursor<'_>; 4]) -> Result<HostName, Fault> {
    let [machine, site, domain, tld] = rest;
    let service = match service {
        Some([name, sponsor]) => Some(format!(
            "{}.{}",
            read_service(name)?,
            read_service(sponsor)?
        )),
        None => None,
    };
    let node = node_of(machine, site, false)?;
    no_suffix(read_domain([domain, tld])?.as_deref(), tld)?;
    Ok(HostName::of(Form::Dotted, service, node))
}

fn read_flat_v1(first: Cursor<'_>, domain: [Cursor<'_>; 2]) -> Result<HostName, Fault> {
    let (service, machine, site) = split_first(first)?;
    let node = node_of(machine, site, false)?;
    no_suffix(read_domain(domain)?.as_deref(), domain[1])?;
    Ok(HostName::of(Form::Flat, service, node))
}

fn read_v2(
    first: Cursor<'_>,
    project: Cursor<'_>,
    domain: [Cursor<'_>; 2],
) -> Result<HostName, Fault> {
    let (service, machine, site) = split_first(first)?;
    let node = node_of(machine, site, false)?;
    let project = Some(Label::read("project", project)?.as_str().to_owned());
    let suffix = read_domain(domain)?;
    Ok(HostName {
        project,
        suffix,
        ..HostName::of(Form::Project, service, node)
    })
}

fn read_v3(first: Cursor<'_>, rest: [Cursor<'_>; 4]) -> Result<HostName, Fault> {
    let [organization, project, domain, tld] = rest;
    let (service, site, machine) = split_first(first)?;
    let node = node_of(machine, site, true)?;
    if organization.text.is_empty() || !organization.text.bytes().all(is_lower_or_digit) {
        return organization.fault("organization", "must match [a-z0-9]+");
    }
    let organization = Some(organization.text.to_owned());
    let project = Some(Label::read("project", project)?.as_str().to_owned());
    no_suffix(read_domain([domain, tld])?.as_deref(), tld)?;
    Ok(HostName {
        organization,
        project,
        ..HostName::of(Form::Organization, service, node)
    })
}

/// `[<service>-]<a>-<b>`, read from the right because a service may have hyphens.
fn split_first(mut first: Cursor<'_>) -> Result<(Option<String>, Cursor<'_>, Cursor<'_>), Fault> {
    let Some(last) = first.text.rfind('-') else {
        return first.fault("site", "expected `-` before it");
    };
    let before = first.text[..last].rfind('-');
    let service = match before {
        Some(at) => {
            let service = read_service(first.take(at))?;
            first.skip("-");
            Some(service)
        }
        None => None,
    };
    let left = first.until('-');
    first.skip("-");
    Ok((service, left, first))
}

fn read_service(from: Cursor<'_>) -> Result<String, Fault> {
    Label::read("service", from).map(|label| label.as_str().to_owned())
}

fn node_of(machine: Cursor<'_>, site: Cursor<'_>, host_managed: bool) -> Result<Node, Fault> {
    let joined = format!("{}-{}", machine.text, site.text);
    let mut cursor = Cursor {
        text: &joined,
        at: 0,
    };
    // The two may be in either order, so offsets in the joined text mean nothing to the reader.
    let node = Node::read(&mut cursor).map_err(|fault| Fault {
        at: if fault.piece == "machine" {
            machine.at
        } else {
            site.at
        },
        ..fault
    })?;
    cursor.end().map_err(|fault| Fault {
        at: site.at,
        ..fault
    })?;
    if node.machine() == "third" || node.is_host_managed() != host_managed {
        return machine.fault("machine", "not one of this version of host names");
    }
    Ok(node)
}

/// Checks `measurement-lab.org` and returns the four characters that may follow it.
fn read_domain([domain, mut tld]: [Cursor<'_>; 2]) -> Result<Option<String>, Fault> {
    let (name, top) = DOMAIN.split_once('.').expect("the domain has two labels");
    let label = tld.until('-');
    if (domain.text, label.text) != (name, top) {
        return domain.fault("domain", format!("must be {DOMAIN}"));
    }
    if !tld.skip("-") {
        return Ok(None);
    }
    if tld.text.len() != 4 || !tld.text.bytes().all(is_lower_or_digit) {
        return tld.fault("suffix", "must match [a-z0-9]{4}");
    }
    Ok(Some(tld.text.to_owned()))
}

fn no_suffix(suffix: Option<&str>, tld: Cursor<'_>) -> Result<(), Fault> {
    match suffix {
        Some(_) => tld.fault("suffix", "only version 2 has one"),
        None => Ok(()),
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::read(text).map_err(|fault| fault.in_name(text))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, site) = (self.node.machine(), self.node.site());
        let separator = if self.form == Form::Dotted { '.' } else { '-' };
        if let Some(service) = &self.service {
            write!(f, "{service}{separator}")?;
        }
        match self.form {
            Form::ThirdParty => return write!(f, "{machine}-{site}"),
            Form::Organization => write!(f, "{site}-{machine}.{}", self.organization())?,
            Form::Dotted | Form::Flat | Form::Project => write!(f, "{machine}{separator}{site}")?,
        }
        if let Some(project) = &self.project {
            write!(f, ".{project}")?;
        }
        write!(f, ".{DOMAIN}")?;
        self.suffix
            .as_ref()
            .map_or(Ok(()), |suffix| write!(f, "-{suffix}"))
    }
}
