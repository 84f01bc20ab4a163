//! Numbers of a record into its columns, many rows at once.

use super::record::Key;
use super::serialize::{Unfit, given_twice};
use super::{Column, Path, Place, Record, Report};

/// Rows that are gathered; of a hundred numbers each they still lie in a core's nearest cache.
const ROWS: usize = 32;

/// Rows of numbers, gathered one behind the other and put column by column. Put one by one, each number would touch the end of
/// a column of its own, and the ends of a hundred columns do not stay in a core's nearest cache.
pub struct Block<const N: usize> {
    /// The record below the place that is given; that one itself without a name.
    record: Option<&'static str>,
    names: &'static [&'static str],
    /// Where each name was found the last time.
    fields: [usize; N],
    /// Row of the record where the first one belongs.
    first: usize,
    rows: Vec<[i64; N]>,
}

impl<const N: usize> Block<N> {
    /// Numbers of the fields `names` of a record.
    pub fn new(record: Option<&'static str>, names: &'static [&'static str]) -> Self {
        debug_assert_eq!(names.len(), N);
        Block {
            record,
            names,
            fields: [0; N],
            first: 0,
            rows: Vec::new(),
        }
    }

    /// Takes the numbers of the row at `place`, and puts those from before when there are many, or a row lies between.
    #[inline]
    pub fn take(&mut self, place: &mut Place<'_, '_>, row: [i64; N]) -> Result<(), Unfit> {
        if self.rows.len() == ROWS || self.first + self.rows.len() != place.at {
            self.put(place)?;
            self.first = place.at;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Puts what was gathered into the columns at `place`.
    pub fn put(&mut self, place: &mut Place<'_, '_>) -> Result<(), Unfit> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let Column::Record(record) = &mut *place.column else {
            return Err(place.again().refuse("an object"));
        };
        let Some(name) = self.record else {
            return self.put_in(record, place.path, place.report);
        };
        let Some(Key::Field(field)) = record.key(name, 0) else {
            self.leave_out(name, place.path, place.report);
            return Ok(());
        };
        let mut below = Place {
            column: &mut record.fields[field].1,
            at: place.at,
            path: &place.path.below(name),
            report: &mut *place.report,
        };
        match &mut *below.column {
            Column::Record(record) => self.put_in(record, below.path, below.report),
            _ => Err(below.again().refuse("an object")),
        }
    }

    /// The schema does not have the record.
    fn leave_out(&mut self, name: &str, path: &Path<'_>, report: &mut Report) {
        for _ in self.rows.drain(..) {
            report.unknown(path, name);
        }
    }

    fn put_in(
        &mut self,
        record: &mut Record,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Result<(), Unfit> {
        record.put_run(self.first, self.rows.len());
        for (number, name) in self.names.iter().enumerate() {
            let Some(Key::Field(field)) = record.key(name, self.fields[number]) else {
                self.rows.iter().for_each(|_| report.unknown(path, name));
                continue;
            };
            self.fields[number] = field;
            let column = &mut record.fields[field].1;
            let path = path.below(name);
            if column.len() > self.first {
                return Err(given_twice(report, &path));
            }
            let values = self.rows.iter().map(|row| row[number]);
            if let Column::Integer(plain) = column {
                plain.put_run(self.first, values);
                continue;
            }
            for (at, value) in (self.first..).zip(values) {
                let place = Place {
                    column: &mut *column,
                    at,
                    path: &path,
                    report: &mut *report,
                };
                serde::de::Visitor::visit_i64::<Unfit>(place, value)?;
            }
        }
        self.rows.clear();
        Ok(())
    }
}
