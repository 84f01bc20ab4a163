use super::*;

const PORT: u32 = 77;

fn message(kind: u16, flags: u16, sequence: u32, port: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&port.to_ne_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn dump(datagram: &[u8]) -> (Result<bool, DiagError>, Dumped) {
    let mut dumped = Dumped {
        sockets: 0,
        interrupted: false,
    };
    let end = scan_dump(datagram, 5, PORT, &mut dumped, &mut |_| {});
    (end, dumped)
}

fn label(datagram: &[u8]) -> &'static str {
    dump(datagram).0.unwrap_err().label()
}

#[test]
fn a_dump_ends_with_done_and_not_before() {
    let one = message(20, 2, 5, PORT, &[0; 72]);
    assert!(matches!(dump(&one), (Ok(false), Dumped { sockets: 1, .. })));
    let both = [one, message(3, 2, 5, PORT, &[0; 4])].concat();
    assert!(matches!(dump(&both), (Ok(true), Dumped { sockets: 1, .. })));
}

#[test]
fn an_interrupted_dump_says_so_even_in_its_last_message() {
    for datagram in [
        message(3, 0x12, 5, PORT, &[0; 4]),
        [
            message(20, 0x12, 5, PORT, &[0; 72]),
            message(3, 2, 5, PORT, &[0; 4]),
        ]
        .concat(),
    ] {
        let (end, dumped) = dump(&datagram);
        assert!(end.unwrap() && dumped.interrupted);
    }
}

#[test]
fn everything_wrong_is_an_error_and_none_looks_like_the_end() {
    let enobufs = (-libc::ENOBUFS).to_ne_bytes();
    assert_eq!(label(&message(2, 0, 5, PORT, &enobufs)), "NLMSG_ERROR");
    assert_eq!(label(&message(3, 0, 5, PORT, &enobufs)), "NLMSG_ERROR");
    assert_eq!(label(&message(20, 2, 4, PORT, &[0; 72])), "wrong seq num");
    assert_eq!(label(&message(20, 2, 5, 1, &[0; 72])), "wrong pid");
    assert_eq!(label(&message(20, 2, 5, PORT, &[0; 71])), "malformed");
    assert_eq!(label(&message(2, 2, 5, PORT, &[0; 3])), "malformed");
    assert_eq!(label(&message(99, 2, 5, PORT, &[0; 72])), "malformed");
    let cut = &message(20, 2, 5, PORT, &[0; 72])[..60];
    assert_eq!(label(cut), "malformed");
    // A length below that of the header would never advance.
    assert_eq!(
        label(&[1, 0, 0, 0, 20, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]),
        "malformed"
    );
}

#[test]
fn answers_come_back_to_their_keys() {
    let enoent = (-libc::ENOENT).to_ne_bytes();
    let datagram = [
        message(20, 0, 11, PORT, &[0; 72]),
        message(2, 0, 10, PORT, &enoent),
    ]
    .concat();
    let mut seen = Vec::new();
    let answered = scan_gets(&datagram, 10, 2, PORT, &mut |index, answer| {
        seen.push((index, matches!(answer, Answer::Gone)));
    });
    assert_eq!((answered.unwrap(), seen), (2, vec![(1, false), (0, true)]));
    let stray = message(20, 0, 12, PORT, &[0; 72]);
    let error = scan_gets(&stray, 10, 2, PORT, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.label(), "wrong seq num");
}

#[test]
fn a_broken_socket_is_replaced() {
    let mut diag = Diag::open().unwrap();
    diag.socket = None;
    assert!(!diag.dump(|_| {}).unwrap().interrupted);
    assert!(diag.socket.is_some());
}
