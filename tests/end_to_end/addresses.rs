//! A server's name with an address that swallows packets.

use std::path::Path;

use crate::groma::{command, program, run, told};

/// The namespace has a route to both addresses; the neighbour of the IPv6 one does not exist. Names come from a file of its own
/// mount namespace.
const SCRIPT: &str = r#"
set -e
ip link set lo up
ip link add black type veth peer name hole
ip link set black up
ip link set hole up
ip -6 addr add fd09::2/64 dev black nodad
ip -6 neigh add fd09::99 lladdr 02:00:00:00:00:99 dev black
printf 'fd09::99 both\n127.0.0.1 both\n' > "$2/hosts"
mount --bind "$2/hosts" /etc/hosts
"$1" ndt7 --datadir "$2/ndt" --ndt7_addr_cleartext 127.0.0.1:18001 --prometheusx.listen-address off &
server=$!
for try in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/18001) 2>/dev/null && break; sleep 0.1; done
code=0
"$1" measure ws://both:18001 --accept-data-policy --direction download --json || code=$?
kill $server
wait $server
exit $code
"#;

#[test]
fn an_address_that_does_not_answer_does_not_stop_a_measurement() {
    if !groma_tests::root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let program = program().to_str().unwrap();
    let dir = temporary.path().to_str().unwrap();
    let arguments = ["-m", "-n", "bash", "-c", SCRIPT, "bash", program, dir];
    let output = run(&mut command(Path::new("unshare"), arguments));
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let server = report["tests"][0]["server"].as_str().unwrap();
    assert_eq!(server, "127.0.0.1:18001");
}
