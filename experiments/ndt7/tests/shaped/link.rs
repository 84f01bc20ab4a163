//! Two network namespaces, and between them a link that is shaped both ways.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static LINKS: AtomicU32 = AtomicU32::new(0);

/// The link; dropped, it is gone with both namespaces.
pub(crate) struct Link {
    pub(crate) server: Ipv4Addr,
    namespaces: [String; 2],
}

impl Link {
    /// A link with this rate in each direction, Ethernet headers included.
    pub(crate) fn new(rate_kbps: u64) -> Self {
        let number = LINKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("groma{}n{number}", std::process::id());
        let link = Self {
            server: Ipv4Addr::new(10, 99, 0, 1),
            namespaces: ["s", "c"].map(|end| format!("{name}{end}")),
        };
        for namespace in &link.namespaces {
            run(&format!("ip netns add {namespace}"));
        }
        let [server, client] = &link.namespaces;
        run(&format!(
            "ip -n {server} link add veth0 type veth peer name veth0 netns {client}"
        ));
        // A burst of 5 ms, or one packet: a shaper that is woken late must still reach its rate.
        let burst = (rate_kbps / 8 * 5).max(1600);
        // Half a second of queue: what is tested is our numbers, not what TCP makes of a path that loses packets.
        let limit = (rate_kbps / 8 * 500).max(4 * burst);
        for (namespace, host) in [(server, 1), (client, 2)] {
            run(&format!(
                "ip -n {namespace} address add 10.99.0.{host}/24 dev veth0"
            ));
            run(&format!("ip -n {namespace} link set veth0 up"));
            run(&format!(
                "tc -n {namespace} qdisc add dev veth0 root tbf rate {rate_kbps}kbit burst {burst} limit {limit}"
            ));
        }
        link
    }

    pub(crate) fn in_server_namespace<F, T>(
        &self,
        run: impl FnOnce() -> F + Send + 'static,
    ) -> JoinHandle<T>
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        inside(&self.namespaces[0], run)
    }

    pub(crate) fn in_client_namespace<F, T>(
        &self,
        run: impl FnOnce() -> F + Send + 'static,
    ) -> JoinHandle<T>
    where
        F: Future<Output = T>,
        T: Send + 'static,
    {
        inside(&self.namespaces[1], run)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = Command::new("ip")
                .args(["netns", "delete", namespace])
                .status();
        }
    }
}

/// A thread with a runtime whose sockets are in the namespace.
fn inside<F, T>(namespace: &str, run: impl FnOnce() -> F + Send + 'static) -> JoinHandle<T>
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::spawn(move || {
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(LinkNameSpaceType::Network),
        )
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(run())
    })
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
}
