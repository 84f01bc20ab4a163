//! A proxy between a client and an object store, in which requests and answers get lost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A fault that is injected into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach the store; this status is the answer.
    Refused(u16),
    /// The store does it; this status is the answer all the same.
    Denied(u16),
    /// The store does it; the connection ends without an answer.
    AnswerLost,
    /// Nothing happens and nothing is answered.
    Hang,
    /// The store gets half of the body as the whole, and its answer passes.
    BodyCut,
    /// The store does it; half of the answer comes.
    AnswerCut,
}

/// Which fault befalls the request of this number (from 0), method and path.
pub type Choice = dyn Fn(u64, &str, &str) -> Option<Fault> + Send + Sync;

/// A proxy that runs until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    store: SocketAddr,
    choose: Box<Choice>,
    requests: AtomicU64,
    faults: AtomicU64,
    is_down: AtomicBool,
    stop: AtomicBool,
}

impl Proxy {
    /// Starts a proxy before the store at `store`.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub fn start(
        store: SocketAddr,
        choose: impl Fn(u64, &str, &str) -> Option<Fault> + Send + Sync + 'static,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            store,
            choose: Box::new(choose),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if of_thread.stop.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&of_thread);
                // A client or a store that goes away ends the connection, as it does without a proxy.
                std::thread::spawn(move || shared.serve(client).ok());
            }
        });
        Proxy { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// While it is down, connections end at once, those that wait for an answer too.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that listens.
        let _ = TcpStream::connect(self.address);
    }
}

/// A request or an answer: everything before the body with the empty line, and the body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn read(stream: &mut TcpStream, is_answer: bool) -> io::Result<Message> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => bytes.extend_from_slice(&buffer[..read]),
            }
        };
        let mut body = bytes.split_off(end);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let length = header(&head, "content-length").and_then(|text| text.parse::<usize>().ok());
        // The store closes after its answer, as it was asked to.
        let wanted = length.unwrap_or(if is_answer { usize::MAX } else { 0 });
        while body.len() < wanted {
            match stream.read(&mut buffer)? {
                0 => break,
                read => body.extend_from_slice(&buffer[..read]),
            }
        }
        Ok(Message { head, body })
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The head without some headers, and with others.
fn changed(head: &str, without: &[&str], with: &str) -> String {
    let kept = head.trim_end().lines().filter(|line| {
        let key = line.split(':').next().unwrap_or(line);
        !without.iter().any(|name| key.eq_ignore_ascii_case(name))
    });
    kept.fold(String::new(), |head, line| head + line + "\r\n") + with + "\r\n"
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let mut request = Message::read(&mut client, false)?;
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut words = request.head.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let fault = (self.choose)(number, &method, words.next().unwrap_or_default());
        self.faults
            .fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
        match fault {
            Some(Fault::Refused(status)) => return answer(&mut client, status),
            Some(Fault::Hang) => {
                self.hang();
                return Ok(());
            }
            Some(Fault::BodyCut) => {
                request.body.truncate(request.body.len() / 2);
                let length = format!("Content-Length: {}\r\n", request.body.len());
                // Else the store would find out by itself.
                let checksums = ["content-length", "content-md5", "x-amz-checksum-sha256"];
                request.head = changed(&request.head, &checksums, &length);
            }
            _ => {}
        }
        if self.is_down.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut store = TcpStream::connect(self.store)?;
        let head = changed(&request.head, &["connection"], "Connection: close\r\n");
        store.write_all(head.as_bytes())?;
        store.write_all(&request.body)?;
        let mut got = Message::read(&mut store, method != "HEAD")?;
        if self.is_down.load(Ordering::Relaxed) || fault == Some(Fault::AnswerLost) {
            return Ok(());
        }
        if let Some(Fault::Denied(status)) = fault {
            return answer(&mut client, status);
        }
        if fault == Some(Fault::AnswerCut) {
            got.body.truncate(got.body.len() / 2);
        }
        let head = changed(&got.head, &["connection"], "Connection: close\r\n");
        client.write_all(head.as_bytes())?;
        client.write_all(&got.body)
    }

    fn hang(&self) {
        for _ in 0..600 {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn answer(client: &mut TcpStream, status: u16) -> io::Result<()> {
    write!(
        client,
        "HTTP/1.1 {status} Injected\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}
