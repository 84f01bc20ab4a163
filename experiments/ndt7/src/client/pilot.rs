//! Decides when a client answers, reports its progress, and ends.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use groma_sock::tcp_info;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Event;
use crate::protocol::channel::{Inbox, Listener, News, PeerEnd, Pilot, lock};
use crate::protocol::frame::{Opcode, close, encode};
use crate::protocol::ticker::Ticker;
use crate::protocol::{AppInfo, Direction, Measurement, RUNTIME};

/// How long an upload goes on when the server does not end it; later than any server that does.
const LONGEST_UPLOAD: Duration = RUNTIME.saturating_add(Duration::from_secs(2));
/// How long a download is taken when the server does not end it.
const LONGEST_DOWNLOAD: Duration = RUNTIME.saturating_add(Duration::from_secs(4));

/// The counts of a client in a test.
pub(crate) struct Progress<F> {
    pub(crate) on_event: F,
    pub(crate) start: Instant,
    pub(crate) bytes: u64,
    /// The bytes that the server's kernel had acknowledged at the last look within the nominal time of an upload: the
    /// same bytes and the same time as in the server's own last sample.
    pub(crate) acked: Option<AppInfo>,
    /// The last measurement of the server.
    pub(crate) last: Option<Measurement>,
}

impl<F> Progress<F> {
    pub(crate) fn app_info(&self) -> AppInfo {
        AppInfo {
            num_bytes: self.bytes as i64,
            elapsed_us: self.start.elapsed().as_micros() as i64,
        }
    }

    fn note_acked(&mut self, socket: &OwnedFd) {
        let elapsed = self.start.elapsed();
        if elapsed <= RUNTIME
            && let Ok(info) = tcp_info(socket)
        {
            self.acked = Some(AppInfo {
                num_bytes: info.bytes_acked,
                elapsed_us: elapsed.as_micros() as i64,
            });
        }
    }
}

/// The listener of the client.
pub(crate) struct Watch<'a, F> {
    pub(crate) progress: &'a Mutex<Progress<F>>,
    pub(crate) direction: Direction,
}

impl<F: FnMut(Event)> Listener for Watch<'_, F> {
    fn binary(&mut self, bytes: usize) {
        if self.direction == Direction::Download {
            lock(self.progress).bytes += bytes as u64;
        }
    }

    /// Text that is not a measurement is ignored: it takes nothing from what we count ourselves.
    fn text(&mut self, text: Option<Vec<u8>>) {
        if let Some(measurement) = text.and_then(|text| Measurement::from_json(&text)) {
            let mut progress = lock(self.progress);
            progress.last = Some(measurement.clone());
            (progress.on_event)(Event::Measurement(Box::new(measurement)));
        }
    }
}

/// The client's side of a test.
pub(crate) struct ClientPilot<'a, F> {
    direction: Direction,
    ticker: Ticker,
    over: Pin<Box<Sleep>>,
    socket: &'a OwnedFd,
    inbox: &'a Inbox,
    progress: &'a Mutex<Progress<F>>,
    ping: Option<Vec<u8>>,
    last_words: Vec<u8>,
    ended: bool,
}

enum Happened {
    Tick,
    Over,
    News(News),
}

impl<'a, F: FnMut(Event)> ClientPilot<'a, F> {
    pub(crate) fn new(
        direction: Direction,
        socket: &'a OwnedFd,
        inbox: &'a Inbox,
        progress: &'a Mutex<Progress<F>>,
    ) -> Self {
        let longest = match direction {
            Direction::Download => LONGEST_DOWNLOAD,
            Direction::Upload => LONGEST_UPLOAD,
        };
        Self {
            direction,
            ticker: Ticker::new(),
            over: Box::pin(sleep_until(lock(progress).start + longest)),
            socket,
            inbox,
            progress,
            ping: None,
            last_words: Vec::new(),
            ended: false,
        }
    }

    async fn happened(&mut self) -> Happened {
        tokio::select! {
            biased;
            news = self.inbox.news() => Happened::News(news),
            () = &mut self.over => Happened::Over,
            _ = self.ticker.tick() => Happened::Tick,
        }
    }

    fn news(&mut self, news: News) {
        if news.ping.is_some() {
            self.ping = news.ping;
        }
        if let Some(end) = news.end {
            match end {
                PeerEnd::Closed(code) => self.close(code),
                PeerEnd::Violated(violation) => self.close(violation.code()),
                PeerEnd::Gone => self.ended = true,
            }
        }
    }

    fn close(&mut self, code: u16) {
        let payload = code.to_be_bytes();
        let payload = if code == close::NO_STATUS {
            &[]
        } else {
            &payload[..]
        };
        let mask = Some(rand::random());
        encode(&mut self.last_words, Opcode::Close, payload, mask);
        self.ended = true;
    }
}

impl<F: FnMut(Event) + Send> Pilot for ClientPilot<'_, F> {
    async fn step(&mut self) {
        match self.happened().await {
            Happened::Tick => {
                let mut progress = lock(self.progress);
                if self.direction == Direction::Upload {
                    progress.note_acked(self.socket);
                }
                let app_info = progress.app_info();
                (progress.on_event)(Event::Progress(app_info));
            }
            Happened::Over => self.close(close::NORMAL),
            Happened::News(news) => self.news(news),
        }
    }

    fn take_outgoing(&mut self) -> Vec<u8> {
        let mut outgoing = Vec::new();
        if let Some(payload) = self.ping.take() {
            let mask = Some(rand::random());
            encode(&mut outgoing, Opcode::Pong, &payload, mask);
        }
        outgoing.append(&mut self.last_words);
        outgoing
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn sent(&mut self, bytes: usize) {
        if self.direction == Direction::Upload {
            lock(self.progress).bytes += bytes as u64;
        }
    }
}
