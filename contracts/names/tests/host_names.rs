//! Every host name of the format references, and names that look like one.

use groma_names::{HostName, Node};

/// Host name, version, service, node, organization, project and suffix; `-` where there is none.
#[rustfmt::skip]
const ACCEPTED: &[(&str, u8, &str, &str, &str, &str, &str)] = &[
    ("mlab1.lga01.measurement-lab.org", 1, "-", "mlab1-lga01", "mlab", "-", "-"),
    ("mlab4.abc0t.measurement-lab.org", 1, "-", "mlab4-abc0t", "mlab", "-", "-"),
    ("mlab1d.lol01.measurement-lab.org", 1, "-", "mlab1d-lol01", "mlab", "-", "-"),
    ("mlab1.oma0c.measurement-lab.org", 1, "-", "mlab1-oma0c", "mlab", "-", "-"),
    ("mlab1-lga01.measurement-lab.org", 1, "-", "mlab1-lga01", "mlab", "-", "-"),
    ("ndt-iupui-mlab1-lol01.measurement-lab.org", 1, "ndt-iupui", "mlab1-lol01", "mlab", "-", "-"),
    ("ndt.iupui.mlab1.lol01.measurement-lab.org", 1, "ndt.iupui", "mlab1-lol01", "mlab", "-", "-"),
    ("mlab1-lga01.mlab-oti.measurement-lab.org", 2, "-", "mlab1-lga01", "mlab", "mlab-oti", "-"),
    ("mlab2-dfw07.mlab-oti.measurement-lab.org", 2, "-", "mlab2-dfw07", "mlab", "mlab-oti", "-"),
    ("mlab1-lga0t.mlab-sandbox.measurement-lab.org", 2, "-", "mlab1-lga0t", "mlab", "mlab-sandbox", "-"),
    ("mlab1-oma0c.mlab-staging.measurement-lab.org", 2, "-", "mlab1-oma0c", "mlab", "mlab-staging", "-"),
    ("mlab1-lga00.proj.measurement-lab.org", 2, "-", "mlab1-lga00", "mlab", "proj", "-"),
    ("ndt-mlab1-lga00.proj.measurement-lab.org", 2, "ndt", "mlab1-lga00", "mlab", "proj", "-"),
    ("ndt-mlab1-lga01.mlab-oti.measurement-lab.org", 2, "ndt", "mlab1-lga01", "mlab", "mlab-oti", "-"),
    ("mlab1-six02.mlab-sandbox.measurement-lab.org", 2, "-", "mlab1-six02", "mlab", "mlab-sandbox", "-"),
    ("mlab1d-lol01.mlab-sandbox.measurement-lab.org", 2, "-", "mlab1d-lol01", "mlab", "mlab-sandbox", "-"),
    ("mlab1-lol01.mlab-sandbox.measurement-lab.org-a9b8", 2, "-", "mlab1-lol01", "mlab", "mlab-sandbox", "a9b8"),
    ("ndt-mlab1-lol01.mlab-sandbox.measurement-lab.org-a9b8", 2, "ndt", "mlab1-lol01", "mlab", "mlab-sandbox", "a9b8"),
    ("lol12345-abcdef01.mlab.sandbox.measurement-lab.org", 3, "-", "abcdef01-lol12345", "mlab", "sandbox", "-"),
    ("ndt-lol12345-abcdef01.mlab.sandbox.measurement-lab.org", 3, "ndt", "abcdef01-lol12345", "mlab", "sandbox", "-"),
    ("ndt-lga15169-c0a80001.rnp.autojoin.measurement-lab.org", 3, "ndt", "c0a80001-lga15169", "rnp", "autojoin", "-"),
    ("gru1-00000001.rnp.autojoin.measurement-lab.org", 3, "-", "00000001-gru1", "rnp", "autojoin", "-"),
    ("third-party", 2, "-", "third-party", "mlab", "-", "-"),
];

#[test]
fn every_known_host_name_is_read_and_printed_unchanged() {
    for (name, version, service, node, organization, project, suffix) in ACCEPTED {
        let host: HostName = name.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(host.to_string(), *name);
        assert_eq!(host.version(), *version, "{name}");
        assert_eq!(host.node().to_string(), *node, "{name}");
        assert_eq!(host.organization(), *organization, "{name}");
        let optional =
            [host.service(), host.project(), host.suffix()].map(|part| part.unwrap_or("-"));
        assert_eq!(optional, [*service, *project, *suffix], "{name}");
        assert_eq!(name.parse::<Node>().unwrap(), *host.node(), "{name}");
        assert_eq!(node.parse::<Node>().unwrap(), *host.node(), "{name}");
    }
}

/// Host name, the piece that is blamed, and the byte where that piece begins.
#[rustfmt::skip]
const REFUSED: &[(&str, &str, usize)] = &[
    ("", "labels", 0),
    ("mlab1-lol01-measurement-lab.org", "labels", 0),
    ("a.b.c.d.e.measurement-lab.org.x", "labels", 0),
    ("mlab1\u{0}.lol01.measurement-lab.org", "character", 5),
    ("mlab1=lol01.measurement-lab.org", "character", 5),
    ("Mlab1.lol01.measurement-lab.org", "machine", 0),
    ("lol01.measurement-lab.org", "site", 0),
    ("third-party.measurement-lab.org", "machine", 0),
    ("third.party.measurement-lab.org", "machine", 0),
    ("mlab1.lol01.measurement-lab.org-a9b8", "suffix", 28),
    ("ndt.mlab1.lol01.measurement-lab.org", "site", 0),
    ("mlab1.lol01.mlab-staging.measurement-lab.org", "site", 0),
    ("ndtmlab1lol01.mlab-sandbox.measurement-lab.org", "site", 0),
    ("ndt-mlab12-lol01.mlab-sandbox.measurement-lab.org", "machine", 4),
    ("mlab1-lol01-rofl.mlab-staging.measurement-lab.org", "machine", 6),
    ("mlab1-lol01.mlab-sandbox.measurementlab.net", "domain", 25),
    ("mlab1-lol01..measurement-lab.org", "project", 12),
    ("ndt-mlab1-lol01.mlab-sandbox.measurement-lab.org-a9b8-abcd", "suffix", 49),
    ("abcdef01-lol12345.mlab-sandbox.measurement-lab.org", "machine", 0),
    ("lol12345678901-abcdef01.mlab.sandbox.measurement-lab.org", "site", 0),
    ("ndt-lol12345678901-abcdef01.mlab.sandbox.measurement-lab.org", "site", 4),
    ("abcd12345-abcdef01.mlab.sandbox.measurement-lab.org", "site", 0),
    ("ab12345-abcdef01.mlab.sandbox.measurement-lab.org", "site", 0),
    ("-abc12345-abcdef01.mlab.sandbox.measurement-lab.org", "service", 0),
    ("ndt--abcdef01.mlab.sandbox.measurement-lab.org", "site", 4),
    ("ndt-abc1234-.mlab.sandbox.measurement-lab.org", "machine", 12),
    ("abc12345-abcdef789.mlab.sandbox.measurement-lab.org", "machine", 9),
    ("lol01-mlab1.mlab.sandbox.measurement-lab.org", "machine", 6),
    ("lol12345-abcdef01.m-lab.sandbox.measurement-lab.org", "organization", 18),
    ("lol12345-abcdef01.mlab.sandbox.measurement-lab.org-a9b8", "suffix", 47),
    ("s1-dfw07.measurement-lab.org", "machine", 0),
];

#[test]
fn host_names_outside_the_grammar_are_refused_with_the_place() {
    let mut wrong = Vec::new();
    for (name, piece, at) in REFUSED {
        match name.parse::<HostName>() {
            Err(error) if (error.piece, error.at) == (*piece, *at) => {}
            other => wrong.push(format!("{name:?}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nodes_read_themselves_or_a_host_name() {
    let node: Node = "mlab1d-lga01".parse().unwrap();
    assert_eq!(
        (node.machine(), node.site(), node.is_bmc()),
        ("mlab1d", "lga01", true)
    );
    // A hexadecimal address may end in `d` as well.
    assert!(!"abcdef0d-lga1".parse::<Node>().unwrap().is_bmc());
    assert_eq!(Node::new("third", "party").unwrap(), Node::third_party());
    for bad in [
        "",
        "mlab1",
        "mlab1-",
        "mlab1-lga01-ndt",
        "mlab1-lga1",
        "lga01-mlab1",
        "mlab1-lga01\n",
        "third-lga01",
    ] {
        assert!(bad.parse::<Node>().is_err(), "{bad:?} was accepted");
    }
    assert!(Node::new("mlab1-lga01", "ndt").is_err());
}
