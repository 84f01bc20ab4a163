//! Decides when a server samples, answers and ends.

use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep_until};

use super::record::{Ending, Record};
use super::sampler::Sampler;
use crate::protocol::channel::{Inbox, News, PeerEnd, Pilot, lock};
use crate::protocol::frame::{Opcode, close, encode};
use crate::protocol::ticker::Ticker;
use crate::protocol::{Direction, EARLY_EXIT_BYTES, Measurement};

/// How often a download with early exit looks, at least, whether enough is acknowledged.
const EARLY_EXIT_CHECK: Duration = Duration::from_millis(25);

/// The server's side of a test.
pub(crate) struct ServerPilot<'a> {
    direction: Direction,
    sampler: Sampler,
    ticker: Ticker,
    over: Pin<Box<Sleep>>,
    early_exit: Option<Interval>,
    inbox: &'a Inbox,
    record: &'a Mutex<Record>,
    load_ended: &'a watch::Sender<Option<Instant>>,
    outgoing: Vec<u8>,
    /// The ping to answer. One place, so that pings cannot pile up behind a blocked write.
    ping: Option<Vec<u8>>,
    ended: bool,
}

enum Happened {
    Tick(Duration),
    Over,
    EarlyExitCheck,
    News(News),
}

impl<'a> ServerPilot<'a> {
    pub(crate) fn new(
        direction: Direction,
        sampler: Sampler,
        latest_end: Instant,
        early_exit: bool,
        inbox: &'a Inbox,
        record: &'a Mutex<Record>,
        load_ended: &'a watch::Sender<Option<Instant>>,
    ) -> Self {
        let early_exit = (early_exit && direction == Direction::Download).then(|| {
            let mut interval = interval(EARLY_EXIT_CHECK);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self {
            direction,
            ticker: Ticker::new(),
            over: Box::pin(sleep_until(latest_end)),
            sampler,
            early_exit,
            inbox,
            record,
            load_ended,
            outgoing: Vec::new(),
            ping: None,
            ended: false,
        }
    }

    /// Notes that the connection broke while something was written.
    pub(crate) fn broken(&mut self) {
        if !self.ended {
            self.end(Ending::Broken);
        }
    }

    async fn happened(&mut self) -> Happened {
        tokio::select! {
            biased;
            () = &mut self.over => Happened::Over,
            news = self.inbox.news() => Happened::News(news),
            late = self.ticker.tick() => Happened::Tick(late),
            () = tick(self.early_exit.as_mut()) => Happened::EarlyExitCheck,
        }
    }

    fn sample(&mut self) -> Measurement {
        let mut record = lock(self.record);
        let num_bytes = match self.direction {
            Direction::Download => record.sent_bytes,
            Direction::Upload => record.received_bytes,
        };
        let measurement = self.sampler.sample(num_bytes);
        record.server.push(measurement.clone());
        measurement
    }

    /// Queues a measurement and the ping that follows each.
    fn report(&mut self, measurement: &Measurement) {
        let mut text =
            serde_json::to_vec(measurement).expect("a measurement has no map keys but strings");
        text.push(b'\n');
        encode(&mut self.outgoing, Opcode::Text, &text, None);
        let now_ns = Timestamp::now().as_nanosecond().to_string();
        encode(&mut self.outgoing, Opcode::Ping, now_ns.as_bytes(), None);
    }

    fn news(&mut self, news: News) {
        if news.ping.is_some() {
            self.ping = news.ping;
        }
        if let Some(end) = news.end {
            self.end(Ending::Peer(end));
        }
    }

    fn check_early_exit(&mut self) {
        if self.sampler.bytes_acked() >= EARLY_EXIT_BYTES {
            self.end(Ending::EarlyExit);
        }
    }

    /// Ends the load: takes the last sample, whatever a blocked write does meanwhile, and queues the last words.
    fn end(&mut self, ending: Ending) {
        let last = self.sample();
        match ending {
            Ending::Runtime | Ending::EarlyExit => {
                self.report(&last);
                self.close(close::NORMAL, "Done sending");
            }
            Ending::Peer(PeerEnd::Closed(code)) => self.close(code, ""),
            Ending::Peer(PeerEnd::Violated(violation)) => self.close(violation.code(), ""),
            Ending::Peer(PeerEnd::Gone) | Ending::Broken => self.outgoing.clear(),
        }
        self.ended = true;
        lock(self.record).ended = Some((Timestamp::now(), ending));
        self.load_ended.send_replace(Some(Instant::now()));
    }

    fn close(&mut self, code: u16, reason: &str) {
        let mut payload = Vec::new();
        // A close frame without code is answered by one without code: 1005 must not be sent.
        if code != close::NO_STATUS {
            payload.extend(code.to_be_bytes());
            payload.extend(reason.as_bytes());
        }
        encode(&mut self.outgoing, Opcode::Close, &payload, None);
    }
}

impl Pilot for ServerPilot<'_> {
    async fn step(&mut self) {
        match self.happened().await {
            Happened::Tick(late) => {
                lock(self.record).late.push(late);
                let measurement = self.sample();
                self.report(&measurement);
            }
            Happened::Over => self.end(Ending::Runtime),
            Happened::EarlyExitCheck => self.check_early_exit(),
            Happened::News(news) => self.news(news),
        }
    }

    fn take_outgoing(&mut self) -> Vec<u8> {
        let mut outgoing = Vec::new();
        if let Some(payload) = self.ping.take() {
            encode(&mut outgoing, Opcode::Pong, &payload, None);
        }
        // After the pong: the last of these may be the close frame.
        outgoing.append(&mut self.outgoing);
        outgoing
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn sent(&mut self, bytes: usize) {
        let sent_bytes = {
            let mut record = lock(self.record);
            record.sent_bytes += bytes as u64;
            record.sent_bytes
        };
        // The kernel is asked only when the answer can be yes.
        if self.early_exit.is_some() && sent_bytes >= EARLY_EXIT_BYTES && !self.ended {
            self.check_early_exit();
        }
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
