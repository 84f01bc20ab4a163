//! The connections that are known now.

use std::collections::HashMap;
use std::ops::Range;

use groma_diag::{Key, Record};

use super::change::{changed, info_range};

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

/// Connections by cookie, each in a slot that it keeps for life. At most `limit` of them.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Option<Flow>>,
    /// The look that saw the slot's flow last; beside the flows, so that finding the unseen touches little memory.
    seen: Vec<u32>,
    free: Vec<u32>,
    by_cookie: HashMap<u64, u32>,
    look: u32,
    seen_now: usize,
    limit: usize,
}

/// What a message means for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// A connection that was not known; it has this slot now.
    New(u32),
    /// A change worth a record.
    Changed(u32),
    /// Nothing worth a record.
    Same,
    /// The table is full.
    Full,
}

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            seen: Vec::new(),
            free: Vec::new(),
            by_cookie: HashMap::new(),
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

    /// Takes in what the kernel says about a connection.
    pub(crate) fn update(&mut self, record: Record<'_>) -> Update {
        let cookie = record.cookie();
        let Some(slot) = self.slot_of(cookie) else {
            return self.insert(record).map_or(Update::Full, Update::New);
        };
        self.mark_seen(slot);
        let flow = self.flow_mut(slot);
        if !changed(&flow.body, record.body(), &flow.info) {
            return Update::Same;
        }
        flow.body.clear();
        flow.body.extend_from_slice(record.body());
        flow.info = info_range(record);
        Update::Changed(slot)
    }

    /// The connection was found, whatever was said about it.
    pub(crate) fn mark_seen(&mut self, slot: u32) {
        if self.seen[slot as usize] != self.look {
            self.seen[slot as usize] = self.look;
            self.seen_now += 1;
            self.flow_mut(slot).absent = 0;
        }
    }

    fn insert(&mut self, record: Record<'_>) -> Option<u32> {
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

    fn update(table: &mut Table, cookie: u8, state: u8) -> Update {
        table.update(Record::parse(&body(cookie, state)).unwrap())
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
