//! The connections that are measured, in processes of their own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Subcommand;

const ADDRESS: &str = "10.78.0.1:5001";
/// The core of the load; the recorder has the other one.
const CORE: &str = "1";

#[derive(Subcommand)]
pub(crate) enum Part {
    /// Holds connections until the input ends.
    #[command(hide = true)]
    Hold { namespace: PathBuf, sockets: usize },
    /// Opens connections and sends a byte on a tenth of them every 10 ms, until the input ends.
    #[command(hide = true)]
    Send { namespace: PathBuf, sockets: usize },
}

impl Part {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Hold { namespace, sockets } => {
                groma_diag::enter_namespace(&namespace)?;
                let listener = TcpListener::bind(ADDRESS)?;
                println!("ready");
                let held: Vec<_> = listener
                    .incoming()
                    .take(sockets)
                    .collect::<Result<_, _>>()?;
                println!("ready");
                std::io::stdin().read_to_end(&mut Vec::new())?;
                drop::<Vec<TcpStream>>(held);
                Ok(())
            }
            Self::Send { namespace, sockets } => {
                groma_diag::enter_namespace(&namespace)?;
                send(sockets)
            }
        }
    }
}

fn send(sockets: usize) -> anyhow::Result<()> {
    let mut streams: Vec<_> = (0..sockets)
        .map(|_| TcpStream::connect(ADDRESS))
        .collect::<Result<_, _>>()?;
    for stream in &streams {
        stream.set_nodelay(true)?;
    }
    println!("ready");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut next = 0;
    let mut due = Instant::now();
    loop {
        for _ in 0..sockets / 10 {
            streams[next].write_all(b"x")?;
            next = (next + 1) % sockets;
        }
        due += Duration::from_millis(10);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Two namespaces and the two processes.
pub(crate) struct Load {
    names: [String; 2],
    children: Vec<Child>,
}

impl Load {
    pub(crate) fn start(sockets: usize) -> anyhow::Result<Self> {
        let names = ["a", "b"].map(|end| format!("groma-bench-{}-{end}", std::process::id()));
        let mut load = Self {
            names,
            children: Vec::new(),
        };
        let [a, b] = load.names.clone();
        for name in [&a, &b] {
            ip(&format!("netns add {name}"))?;
        }
        ip(&format!(
            "-n {a} link add eth0 type veth peer name eth0 netns {b}"
        ))?;
        for (name, number) in [(&a, 1), (&b, 2)] {
            ip(&format!(
                "-n {name} address add 10.78.0.{number}/24 dev eth0"
            ))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        // Bytes are acknowledged at once: a delayed acknowledgement would be a second change of the same socket.
        ip(&format!(
            "-n {a} route change 10.78.0.0/24 dev eth0 proto kernel scope link src 10.78.0.1 quickack 1"
        ))?;
        load.spawn("hold", 0, sockets)?;
        load.await_ready(0)?;
        load.spawn("send", 1, sockets)?;
        load.await_ready(1)?;
        load.await_ready(0)?;
        Ok(load)
    }

    /// The recorded namespace.
    pub(crate) fn namespace(&self, end: usize) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.names[end])
    }

    fn spawn(&mut self, part: &str, end: usize, sockets: usize) -> anyhow::Result<()> {
        let child = Command::new("taskset")
            .args(["-c", CORE])
            .arg(std::env::current_exe()?)
            .arg(part)
            .arg(self.namespace(end))
            .arg(sockets.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the load with taskset")?;
        self.children.push(child);
        Ok(())
    }

    fn await_ready(&mut self, child: usize) -> anyhow::Result<()> {
        let mut line = [0; 6];
        let output = self.children[child]
            .stdout
            .as_mut()
            .context("stdout is piped")?;
        output
            .read_exact(&mut line)
            .context("the load ended early")?;
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .context("run ip")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {error}");
    Ok(())
}
