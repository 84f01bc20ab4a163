//! From what a test measured to its metrics and its file.

use std::net::SocketAddr;
use std::sync::Arc;

use groma_experiment::{NameValue, ResultFile, Test};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Shared;
use super::record::Record;
use crate::protocol::Direction;
use crate::result::{ArchivalData, DATATYPE, ResultBody, file_name};

/// A test that has ended.
pub(crate) struct Outcome {
    pub(crate) uuid: String,
    pub(crate) direction: Direction,
    pub(crate) secure: bool,
    pub(crate) server: SocketAddr,
    pub(crate) client: SocketAddr,
    pub(crate) start_time: Timestamp,
    pub(crate) congestion_control: String,
    pub(crate) record: Record,
}

impl Outcome {
    /// Counts the test and writes its file. A failure to write is logged and costs this result alone.
    pub(crate) async fn finish(self, shared: Arc<Shared>, test: Test) {
        let uuid = self.uuid.clone();
        let finishing = tokio::task::spawn_blocking(move || self.write(&shared, test));
        match finishing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%uuid, %error, "finish test"),
            Err(error) => tracing::error!(%uuid, %error, "finish test"),
        }
    }

    fn write(
        self,
        shared: &Shared,
        test: Test,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (direction, record) = (self.direction, &self.record);
        let label = record.result_label(direction);
        let rate_mbps = record.rate_mbps(direction);
        shared
            .metrics
            .result(self.secure, direction, label, rate_mbps);
        record.count_ignored(direction, &shared.metrics);
        shared.metrics.samples(&record.late);
        test.bytes(record.sent_bytes, record.received_bytes);

        let written = Timestamp::now();
        let name = file_name(direction, written, &self.uuid).parse()?;
        let body = self.body(shared, &test);
        let file = ResultFile {
            datatype: DATATYPE.parse()?,
            name,
            date: written.to_zoned(TimeZone::UTC).date(),
            body: body.to_json(),
        };
        let path = test.finish(&shared.experiment.outcome(label)?, Some(file))?;
        tracing::debug!(label, rate_mbps, path = ?path, "test ended");
        Ok(())
    }

    fn body(self, shared: &Shared, test: &Test) -> ResultBody {
        let ended = self
            .record
            .ended
            .map_or_else(Timestamp::now, |(time, _)| time);
        let mut server_metadata = test.server_metadata().to_vec();
        server_metadata.push(NameValue {
            name: "congestion_control".to_owned(),
            value: self.congestion_control,
        });
        let data = ArchivalData {
            uuid: self.uuid,
            start_time: self.start_time,
            end_time: ended,
            server_measurements: self.record.server,
            client_measurements: self.record.client,
            client_metadata: test.client_metadata().to_vec(),
            server_metadata,
        };
        let times = (self.start_time, ended);
        ResultBody::new(
            &shared.build,
            self.server,
            self.client,
            times,
            self.direction,
            data,
        )
    }
}
