//! The connections that are known now.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use groma_diag::{Key, Record};

use super::change::{changed, info_range};

/// Length and type in front of a payload (`struct nlattr`).
const ATTRIBUTE_HEAD_BYTES: usize = 4;

/// One connection: its last message, to compare the next with.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) cookie: u64,
    body: Vec<u8>,
    info: Range<usize>,
    key: Key,
    /// Complete looks in a row that did not find it.
    absent: u32,
}

impl Flow {
    /// The last `tcp_info`; empty when there was none.
    pub(crate) fn info(&self) -> &[u8] {
        &self.body[self.info.clone()]
    }
}

/// Hashes socket cookies. The kernel chooses them, so they need no protection against collisions made on purpose.
#[derive(Debug, Default)]
struct CookieHasher(u64);

impl Hasher for CookieHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let spread = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Connections by cookie, each in a slot that it keeps for life. At most `limit` of them.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Option<Flow>>,
    /// The look that saw the slot's flow last; beside the flows, so that finding the unseen touches little memory.
    seen: Vec<u32>,
    free: Vec<u32>,
    by_cookie: HashMap<u64, u32, BuildHasherDefault<CookieHasher>>,
    look: u32,
    seen_now: usize,
    limit: usize,
}

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            seen: Vec::new(),
            free: Vec::new(),
            by_cookie: HashMap::default(),
            look: 0,
            seen_now: 0,
            limit,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_cookie.len()
    }

    pub(crate) fn slot_of(&self, cookie: u64) -> Option<u32> {
        self.by_cookie.get(&cookie).copied()
    }

    pub(crate) fn flow(&self, slot: u32) -> &Flow {
        self.slots[slot as usize]
            .as_ref()
            .expect("slots that are handed out are filled")
    }

    fn flow_mut(&mut self, slot: u32) -> &mut Flow {
        self.slots[slot as usize]
            .as_mut()
            .expect("slots that are handed out are filled")
    }

    /// Begins a look at all connections.
    pub(crate) fn begin_look(&mut self) {
        self.look = self.look.wrapping_add(1);
        self.seen_now = 0;
    }

    /// Whether what the kernel says about a known connection is worth a record after the last one.
    pub(crate) fn is_change(&self, slot: u32, record: Record<'_>) -> bool {
        let flow = self.flow(slot);
        changed(&flow.body, record.body(), &flow.info)
    }

    /// Whether the message certainly has a `tcp_info`, because it is where that of the previous message was.
    pub(crate) fn has_info(&self, slot: u32, record: Record<'_>) -> bool {
        let (old, new) = (self.flow(slot), record.body());
        let head = old.info.start.saturating_sub(ATTRIBUTE_HEAD_BYTES)..old.info.start;
        old.body.len() == new.len() && !old.info.is_empty() && old.body[head.clone()] == new[head]
    }

    /// Puts it in place of the last one.
    pub(crate) fn replace(&mut self, slot: u32, record: Record<'_>) {
        let flow = self.flow_mut(slot);
        flow.body.clear();
        flow.body.extend_from_slice(record.body());
        flow.info = info_range(record);
    }

    /// The connection was found, whatever was said about it.
    pub(crate) fn mark_seen(&mut self, slot: u32) {
        if self.seen[slot as usize] != self.look {
            self.seen[slot as usize] = self.look;
            self.seen_now += 1;
            self.flow_mut(slot).absent = 0;
        }
    }

    /// Adds an unknown connection; `None` when the table is full.
    pub(crate) fn insert(&mut self, record: Record<'_>) -> Option<u32> {
        if self.len() >= self.limit {
            return None;
        }
        let flow = Flow {
            cookie: record.cookie(),
            body: record.body().to_vec(),
            info: info_range(record),
            key: record.key(),
            absent: 0,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.seen.push(0);
            (self.slots.len() - 1) as u32
        });
        self.by_cookie.insert(flow.cookie, slot);
        self.slots[slot as usize] = Some(flow);
        self.seen[slot as usize] = self.look;
        self.seen_now += 1;
        Some(slot)
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(flow) = self.slots[slot as usize].take() {
            self.by_cookie.remove(&flow.cookie);
            self.free.push(slot);
            if self.seen[slot as usize] == self.look {
                self.seen_now -= 1;
            }
        }
    }

    /// Ends a complete look: shows every connection that it did not find, with how often in a row now.
    pub(crate) fn end_look(&mut self, unseen: &mut Vec<(u32, u32)>) {
        unseen.clear();
        if self.seen_now == self.len() {
            return;
        }
        for (slot, (flow, seen)) in self.slots.iter_mut().zip(&self.seen).enumerate() {
            if let Some(flow) = flow
                && *seen != self.look
            {
                flow.absent += 1;
                unseen.push((slot as u32, flow.absent));
            }
        }
    }

    /// The slots and keys of all connections, to ask for each.
    pub(crate) fn keys(&self, slots: &mut Vec<u32>, keys: &mut Vec<Key>) {
        slots.clear();
        keys.clear();
        for (slot, flow) in self.slots.iter().enumerate() {
            if let Some(flow) = flow {
                slots.push(slot as u32);
                keys.push(flow.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(cookie: u8, state: u8) -> Vec<u8> {
        let mut body = vec![0; groma_diag::MESSAGE_BYTES];
        (body[1], body[44]) = (state, cookie);
        body
    }

    #[derive(Debug, PartialEq)]
    enum Update {
        New(u32),
        Changed(u32),
        Same,
        Full,
    }

    /// Handles a message as the sampler does.
    fn update(table: &mut Table, cookie: u8, state: u8) -> Update {
        let body = body(cookie, state);
        let record = Record::parse(&body).unwrap();
        let Some(slot) = table.slot_of(record.cookie()) else {
            return table.insert(record).map_or(Update::Full, Update::New);
        };
        table.mark_seen(slot);
        if !table.is_change(slot, record) {
            return Update::Same;
        }
        table.replace(slot, record);
        Update::Changed(slot)
    }

    #[test]
    fn the_unseen_are_found_and_slots_are_used_again() {
        let mut table = Table::new(2);
        table.begin_look();
        assert_eq!(update(&mut table, 1, 1), Update::New(0));
        assert_eq!(update(&mut table, 2, 1), Update::New(1));
        assert_eq!(update(&mut table, 3, 1), Update::Full);
        let mut unseen = Vec::new();
        for look in 1..=2 {
            table.begin_look();
            assert_eq!(update(&mut table, 2, 1), Update::Same);
            table.end_look(&mut unseen);
            assert_eq!(unseen, [(0, look)]);
        }
        table.begin_look();
        assert_eq!(update(&mut table, 1, 8), Update::Changed(0));
        table.remove(1);
        table.end_look(&mut unseen);
        assert_eq!((unseen.len(), table.len(), table.flow(0).absent), (0, 1, 0));
        assert_eq!(update(&mut table, 9, 1), Update::New(1));
    }
}
